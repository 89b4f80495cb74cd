//! Values that stand in a statement's text, for PostgreSQL behind a pooler.
//!
//! The driver first has a statement parsed, waits for the answer, and then binds its values, whether or not it keeps
//! the statement. A pooler with transaction pooling gives these two to any two connections: the values are then bound
//! to a statement of somebody else's. A statement without values is sent and answered at once.
//!
//! Nothing needs quoting: of a value only digits, signs and the letters `a` to `f` reach the text.

use std::borrow::Cow;
use std::fmt::Write as _;

use sqlx::postgres::{PgRow, PgValueFormat};
use sqlx::{Row as _, TypeInfo as _, ValueRef as _};

use crate::layout::Arg;

/// The statement with its values in the place of `$1` to `$n`.
pub(crate) fn text(sql: &str, args: &[Arg<'_>]) -> String {
    let mut parts = sql.split('$');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = part.split_at(digits);
        let arg = number.parse::<usize>().ok().and_then(|number| args.get(number.checked_sub(1)?));
        match arg {
            Some(arg) => write(&mut text, arg),
            // Not there: the server says which.
            None => text.extend(["$", number]),
        }
        text.push_str(rest);
    }
    text
}

fn write(text: &mut String, arg: &Arg<'_>) {
    // Writing to a text does not fail.
    let _ = match arg {
        Arg::Key(key) => write!(text, "'{}'::uuid", key.hyphenated()),
        Arg::Number(number) => write!(text, "'{number}'::bigint"),
        Arg::Owner(None) => write!(text, "NULL::text"),
        Arg::Owner(Some(owner)) => {
            text.push_str("convert_from(");
            bytes(text, owner.as_bytes());
            write!(text, ", 'UTF8')")
        }
        Arg::Payload(payload) => {
            bytes(text, payload);
            Ok(())
        }
    };
}

fn bytes(text: &mut String, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    text.reserve(2 * bytes.len() + 16);
    text.push_str("decode('");
    for byte in bytes {
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 15)]));
    }
    text.push_str("', 'hex')");
}

/// A column of bytes or text, of a row that may be text throughout.
pub(crate) fn column(row: &PgRow, index: usize) -> Result<Option<Cow<'_, [u8]>>, sqlx::Error> {
    let value = row.try_get_raw(index)?;
    if value.is_null() {
        return Ok(None);
    }
    let failed = |source| sqlx::Error::ColumnDecode { index: index.to_string(), source };
    let as_text = value.format() == PgValueFormat::Text && value.type_info().name() == "BYTEA";
    let bytes = value.as_bytes().map_err(failed)?;
    if !as_text {
        return Ok(Some(Cow::Borrowed(bytes)));
    }
    let unescaped = unescaped(bytes).ok_or_else(|| failed("not the text of bytes".into()))?;
    Ok(Some(Cow::Owned(unescaped)))
}

/// The bytes that a text stands for, in either of PostgreSQL's two ways (`bytea_output`).
fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8, radix| char::from(byte).to_digit(radix).and_then(|digit| u8::try_from(digit).ok());
    if let Some(hex) = text.strip_prefix(b"\\x") {
        let pairs = hex.chunks(2).map(|pair| match *pair {
            [high, low] => Some(digit(high, 16)? << 4 | digit(low, 16)?),
            _ => None,
        });
        return pairs.collect();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let (byte, after) = match (first, after) {
            (b'\\', [b'\\', after @ ..]) => (b'\\', after),
            (b'\\', [high @ b'0'..=b'3', middle, low, after @ ..]) => {
                (digit(*high, 8)? << 6 | digit(*middle, 8)? << 3 | digit(*low, 8)?, after)
            }
            (b'\\', _) => return None,
            (byte, after) => (*byte, after),
        };
        bytes.push(byte);
        rest = after;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sqlx::types::Uuid;

    use super::*;

    #[test]
    fn values_stand_in_their_places_and_nothing_else_does() {
        let payload: Arc<[u8]> = b"\x00'\\\xff$1".as_slice().into();
        let owner = "o'neill\\ $1 \u{e9}";
        let args = [Arg::Number(i64::MIN), Arg::Owner(Some(owner)), Arg::Owner(None), Arg::Payload(&payload)];
        let args = [Arg::Key(Uuid::nil())].into_iter().chain(args).collect::<Vec<_>>();
        assert_eq!(
            text("a $1::uuid, $2, $3, ($4) $5 $6", &args),
            "a '00000000-0000-0000-0000-000000000000'::uuid::uuid, '-9223372036854775808'::bigint, \
             convert_from(decode('6f276e65696c6c5c20243120c3a9', 'hex'), 'UTF8'), (NULL::text) \
             decode('00275cff2431', 'hex') $6"
        );
        let many: Vec<_> = (1..=12).map(Arg::Number).collect();
        assert_eq!(text("$12$1", &many), "'12'::bigint'1'::bigint");
    }

    #[test]
    fn bytes_are_read_in_both_ways_of_writing_them() {
        assert_eq!(unescaped(b"\\x00ff5C").unwrap(), [0, 255, b'\\']);
        assert_eq!(unescaped(b"a\\000\\\\\\377b").unwrap(), *b"a\0\\\xffb");
        assert_eq!(unescaped(b"").unwrap(), b"");
        for bad in [b"\\x0".as_slice(), b"\\xzz", b"a\\", b"\\12", b"\\400", b"\\18a"] {
            assert_eq!(unescaped(bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }
}
