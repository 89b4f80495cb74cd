//! JSON text as values.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{BYTES, F64, MAP, RESERVED};
use crate::Value;
use crate::codec::{BELIEVED, Damaged, RawEntry, TOO_SHORT};
use crate::value::{deeper, one_more};

type Result<T, E = Damaged> = std::result::Result<T, E>;

/// The entries that are left.
pub(in crate::codec) struct Frame<'a> {
    text: Text<'a>,
    state: State,
}

#[derive(PartialEq)]
enum State {
    First,
    Later,
    Done,
}

impl<'a> Frame<'a> {
    pub(in crate::codec) fn open(frame: &'a [u8]) -> Result<Self> {
        let mut text = Text::new(frame)?;
        text.expect(b'{')?;
        Ok(Self { text, state: State::First })
    }

    pub(in crate::codec) fn next(&mut self) -> Result<Option<RawEntry<'a>>> {
        let more = match self.state {
            State::First => !self.text.accept(b'}'),
            State::Later => self.text.another(b'}')?,
            State::Done => return Ok(None),
        };
        if !more {
            self.state = State::Done;
            return self.text.end().map(|()| None);
        }
        self.state = State::Later;
        let name = self.text.string()?;
        self.text.expect(b':')?;
        let value = self.text.skip()?;
        Ok(Some((name, value.as_bytes())))
    }
}

pub(in crate::codec) fn read_value(raw: &[u8]) -> Result<Value> {
    let mut reader = Reader { text: Text::new(raw)?, count: 0 };
    let value = reader.value(0)?;
    reader.text.end().map(|()| value)
}

struct Reader<'a> {
    text: Text<'a>,
    count: usize,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<Value> {
        one_more(&mut self.count)?;
        self.text.space();
        match self.text.peek()? {
            b'{' => self.object(depth),
            b'[' => self.list(depth, Self::value).map(Value::List),
            b'"' => self.text.string().map(|text| Value::Text(text.into_owned())),
            b'-' | b'0'..=b'9' => self.text.number(),
            _ => self.text.word(),
        }
    }

    fn list<T>(&mut self, depth: usize, each: impl Fn(&mut Self, usize) -> Result<T>) -> Result<Vec<T>> {
        let depth = deeper(depth)?;
        self.text.expect(b'[')?;
        let mut items = Vec::new();
        let mut more = !self.text.accept(b']');
        while more {
            if items.is_empty() {
                items.reserve(BELIEVED);
            }
            items.push(each(self, depth)?);
            more = self.text.another(b']')?;
        }
        Ok(items)
    }

    /// An object, or what one with a reserved member stands for.
    fn object(&mut self, depth: usize) -> Result<Value> {
        let inside = deeper(depth)?;
        self.text.expect(b'{')?;
        let mut pairs = Vec::new();
        let mut more = !self.text.accept(b'}');
        while more {
            let name = self.text.string()?;
            self.text.expect(b':')?;
            if name.starts_with(RESERVED) {
                return self.tagged(&name, pairs.is_empty(), depth);
            }
            one_more(&mut self.count)?;
            let name = Value::Text(name.into_owned());
            pairs.push((name, self.value(inside)?));
            more = self.text.another(b'}')?;
        }
        Ok(Value::Map(pairs))
    }

    fn tagged(&mut self, tag: &str, first: bool, depth: usize) -> Result<Value> {
        let value = match tag {
            BYTES if first => self.text.string().and_then(|text| bytes(&text))?,
            F64 if first => self.text.string().and_then(|text| float_bits(&text))?,
            MAP if first => Value::Map(self.list(depth, Self::pair)?),
            _ => return Err(Damaged("a member whose name begins with $, where none is defined")),
        };
        self.text.expect(b'}').map(|()| value)
    }

    fn pair(&mut self, depth: usize) -> Result<(Value, Value)> {
        self.text.expect(b'[')?;
        let key = self.value(depth)?;
        self.text.expect(b',')?;
        let value = self.value(depth)?;
        self.text.expect(b']').map(|()| (key, value))
    }
}

fn bytes(text: &str) -> Result<Value> {
    STANDARD.decode(text).map(Value::Bytes).map_err(|_| Damaged("$bytes that is not padded base64"))
}

fn float_bits(text: &str) -> Result<Value> {
    let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bits = u64::from_str_radix(text, 16).ok().filter(|_| digits);
    bits.map(|bits| Value::F64(f64::from_bits(bits))).ok_or(Damaged("$f64 that is not 16 hexadecimal digits"))
}

/// The text that is left, and JSON's tokens.
struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self> {
        std::str::from_utf8(bytes).map(Self).map_err(|_| Damaged("text that is not UTF-8"))
    }

    fn space(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn peek(&self) -> Result<u8> {
        self.0.as_bytes().first().copied().ok_or(TOO_SHORT)
    }

    /// Whether `token` comes next, after any space; it is taken if so.
    fn accept(&mut self, token: u8) -> bool {
        self.space();
        match self.0.strip_prefix(char::from(token)) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: u8) -> Result<()> {
        if self.accept(token) { Ok(()) } else { Err(Damaged("it is not JSON as expected")) }
    }

    /// After an item: whether another follows, or the list or object closes.
    fn another(&mut self, close: u8) -> Result<bool> {
        if self.accept(b',') { Ok(true) } else { self.expect(close).map(|()| false) }
    }

    fn end(&mut self) -> Result<()> {
        self.space();
        if self.0.is_empty() { Ok(()) } else { Err(Damaged("text follows the end")) }
    }

    /// Takes `len` bytes, which end at a character.
    fn take(&mut self, len: usize) -> Result<&'a str> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(TOO_SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    fn word(&mut self) -> Result<Value> {
        let len = self.0.bytes().take_while(u8::is_ascii_alphabetic).count();
        match self.take(len)? {
            "null" => Ok(Value::Null),
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(Damaged("a word that JSON does not have")),
        }
    }

    /// An integer if it has neither point nor exponent, else a float.
    fn number(&mut self) -> Result<Value> {
        let len =
            self.0.bytes().take_while(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
        let len = len.count();
        let digits = self.take(len)?;
        let outside = Damaged("a number that neither a 64-bit integer nor a float holds");
        if !is_number(digits) {
            return Err(Damaged("a number that JSON does not have"));
        }
        if digits.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit()) {
            let signed = digits.parse().map(Value::I64);
            return signed.or_else(|_| digits.parse().map(Value::U64)).map_err(|_| outside);
        }
        let float = digits.parse::<f64>().ok().filter(|float| float.is_finite());
        float.map(Value::F64).ok_or(outside)
    }

    /// A string without its quotes, borrowed when nothing in it is escaped.
    fn string(&mut self) -> Result<Cow<'a, str>> {
        self.expect(b'"')?;
        let plain = self.plain()?;
        if self.accept_quote() {
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = plain.to_owned();
        while !self.accept_quote() {
            text.push(self.escaped()?);
            text.push_str(self.plain()?);
        }
        Ok(Cow::Owned(text))
    }

    /// What stands before the next quote or backslash.
    fn plain(&mut self) -> Result<&'a str> {
        let special = |byte: u8| matches!(byte, b'"' | b'\\' | 0..0x20);
        let len = self.0.bytes().position(special).ok_or(TOO_SHORT)?;
        let plain = self.take(len)?;
        if self.peek()? < 0x20 { Err(Damaged("a bare control character in text")) } else { Ok(plain) }
    }

    fn accept_quote(&mut self) -> bool {
        let rest = self.0.strip_prefix('"');
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn escaped(&mut self) -> Result<char> {
        let unknown = Damaged("an escape that JSON does not have");
        match self.take(2).map_err(|_| unknown)? {
            "\\\"" => Ok('"'),
            "\\\\" => Ok('\\'),
            "\\/" => Ok('/'),
            "\\b" => Ok('\u{8}'),
            "\\f" => Ok('\u{c}'),
            "\\n" => Ok('\n'),
            "\\r" => Ok('\r'),
            "\\t" => Ok('\t'),
            "\\u" => self.unicode(),
            _ => Err(unknown),
        }
    }

    /// The four digits after `\u`, and the other half of a surrogate pair.
    fn unicode(&mut self) -> Result<char> {
        let first = self.unit()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first).ok_or(HALF);
        }
        if self.take(2).map_err(|_| HALF)? != "\\u" {
            return Err(HALF);
        }
        let second = self.unit()?;
        if !(0xdc00..0xe000).contains(&second) {
            return Err(HALF);
        }
        char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)).ok_or(HALF)
    }

    fn unit(&mut self) -> Result<u32> {
        let digits = self.take(4).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        unit.ok_or(Damaged("an escape that is not four hexadecimal digits"))
    }

    /// Steps over one value without reading it, and without recursion: to the next comma or bracket that is not
    /// inside it. Whether it is sound shows when it is read.
    fn skip(&mut self) -> Result<&'a str> {
        self.space();
        let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
        let ends = |byte: u8| {
            if quoted {
                (quoted, escaped) = (escaped || byte != b'"', !escaped && byte == b'\\');
                return false;
            }
            match byte {
                b'"' => quoted = true,
                b'[' | b'{' => depth += 1,
                b']' | b'}' if depth > 0 => depth -= 1,
                b',' | b']' | b'}' if depth == 0 => return true,
                _ => {}
            }
            false
        };
        let len = self.0.bytes().position(ends).ok_or(TOO_SHORT)?;
        match self.take(len)?.trim_end_matches([' ', '\t', '\n', '\r']) {
            "" => Err(Damaged("a value is missing")),
            value => Ok(value),
        }
    }
}

const HALF: Damaged = Damaged("half of a surrogate pair");

/// JSON's grammar of numbers: `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`.
fn is_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = whole == "0" || !whole.starts_with('0');
    digits(whole) && canonical && fraction.is_none_or(digits) && exponent.is_none_or(digits)
}
