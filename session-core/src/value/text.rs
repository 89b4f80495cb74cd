//! A value as text, as Python writes it: what Flask's `str(session)` is made of.

use std::fmt::{self, Write as _};

use super::Value;

/// As Python's `repr`: `None`, `True`, `'text'`, `b'bytes'`, `[1, 2]`, `{'key': 1.5}`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("None"),
            Self::Bool(true) => f.write_str("True"),
            Self::Bool(false) => f.write_str("False"),
            Self::I64(number) => write!(f, "{number}"),
            Self::U64(number) => write!(f, "{number}"),
            Self::F64(number) => float(f, *number),
            Self::Text(text) => quoted(f, text.chars(), character),
            Self::Bytes(bytes) => {
                f.write_char('b')?;
                quoted(f, bytes.iter().map(|byte| char::from(*byte)), byte)
            }
            Self::List(items) => {
                f.write_char('[')?;
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if at == 0 { "" } else { ", " })?;
                }
                f.write_char(']')
            }
            Self::Map(pairs) => {
                f.write_char('{')?;
                for (at, (key, value)) in pairs.iter().enumerate() {
                    write!(f, "{}{key}: {value}", if at == 0 { "" } else { ", " })?;
                }
                f.write_char('}')
            }
        }
    }
}

fn float(f: &mut fmt::Formatter<'_>, number: f64) -> fmt::Result {
    if number.is_nan() {
        return f.write_str("nan");
    }
    if number.is_infinite() {
        return f.write_str(if number > 0.0 { "inf" } else { "-inf" });
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or(0) {
        -4..16 => write!(f, "{number:?}"),
        exponent => {
            let sign = if exponent < 0 { '-' } else { '+' };
            write!(f, "{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
    }
}

/// In single quotes, unless there are such in the text and no double ones.
fn quoted(
    f: &mut fmt::Formatter<'_>,
    text: impl Iterator<Item = char> + Clone,
    other: fn(&mut fmt::Formatter<'_>, char) -> fmt::Result,
) -> fmt::Result {
    let holds = |quote| text.clone().any(|c| c == quote);
    let quote = if holds('\'') && !holds('"') { '"' } else { '\'' };
    f.write_char(quote)?;
    for c in text {
        match c {
            '\\' => f.write_str("\\\\"),
            '\n' => f.write_str("\\n"),
            '\r' => f.write_str("\\r"),
            '\t' => f.write_str("\\t"),
            c if c == quote => write!(f, "\\{c}"),
            ' '..='~' => f.write_char(c),
            c => other(f, c),
        }?;
    }
    f.write_char(quote)
}

fn byte(f: &mut fmt::Formatter<'_>, c: char) -> fmt::Result {
    write!(f, "\\x{:02x}", u32::from(c))
}

fn character(f: &mut fmt::Formatter<'_>, c: char) -> fmt::Result {
    // After a letter, a mark that combines with it is no reason to escape.
    let is_printable = !c.is_whitespace() && format!("a{c}").escape_debug().count() == 2;
    match u32::from(c) {
        _ if is_printable => f.write_char(c),
        code @ ..0x100 => write!(f, "\\x{code:02x}"),
        code @ ..0x1_0000 => write!(f, "\\u{code:04x}"),
        code => write!(f, "\\U{code:08x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::Value;

    /// What Python 3.11 shows for the same values.
    #[test]
    fn values_look_as_in_python() {
        let text = |text: &str| Value::Text(text.to_owned());
        for (value, wanted) in [
            (Value::Null, "None"),
            (Value::Bool(true), "True"),
            (Value::I64(-7), "-7"),
            (Value::U64(u64::MAX), "18446744073709551615"),
            (Value::F64(1.0), "1.0"),
            (Value::F64(-0.0), "-0.0"),
            (Value::F64(1e16), "1e+16"),
            (Value::F64(123_456_789_012_345.6), "123456789012345.6"),
            (Value::F64(0.0001), "0.0001"),
            (Value::F64(1.5e-7), "1.5e-07"),
            (Value::F64(f64::NAN), "nan"),
            (Value::F64(f64::NEG_INFINITY), "-inf"),
            (text("it's"), "\"it's\""),
            (text("it's \"so\""), "'it\\'s \"so\"'"),
            (text("a\\b\n\t\r\u{7f}\u{0}"), "'a\\\\b\\n\\t\\r\\x7f\\x00'"),
            (text("\u{e9}\u{1f600}e\u{301}"), "'\u{e9}\u{1f600}e\u{301}'"),
            (text("\u{a0}\u{200b}\u{2028}"), "'\\xa0\\u200b\\u2028'"),
            (Value::Bytes(vec![0, b'a', b'\'', 0xff]), "b\"\\x00a'\\xff\""),
            (Value::List(vec![Value::I64(1), Value::List(vec![])]), "[1, []]"),
            (Value::Map(vec![(text("a"), Value::I64(1)), (Value::I64(2), Value::Null)]), "{'a': 1, 2: None}"),
            (Value::Map(vec![]), "{}"),
        ] {
            assert_eq!(value.to_string(), wanted);
        }
    }
}
