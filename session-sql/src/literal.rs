//! Values that stand in a statement's text, for servers behind a pooler.
//!
//! Without keeping statements prepared a driver still has each of them parsed, waits for the answer, and then binds its
//! values. On PostgreSQL a pooler with transaction pooling gives these two to any two connections: the values are then
//! bound to a statement of somebody else's. On MySQL it takes two exchanges and a farewell, after which the next
//! statement can wait 40 ms for the server's acknowledgement. A statement without values is sent and answered at once.
//!
//! Nothing needs quoting: of a value only digits, signs and the letters `a` to `f` reach the text.

#[cfg(feature = "postgres")]
use std::borrow::Cow;
use std::fmt::Write as _;

#[cfg(feature = "postgres")]
use sqlx::postgres::{PgRow, PgValueFormat};
#[cfg(feature = "postgres")]
use sqlx::{Row as _, TypeInfo as _, ValueRef as _};

use crate::layout::Arg;

/// The statement with its values in the place of `$1` to `$n`.
#[cfg(feature = "postgres")]
pub(crate) fn postgres(sql: &str, args: &[Arg<'_>]) -> String {
    let mut parts = sql.split('$');
    let mut text = with_room(parts.next().unwrap_or_default(), sql, args);
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = part.split_at(digits);
        let arg = number.parse::<usize>().ok().and_then(|number| args.get(number.checked_sub(1)?));
        // Writing to a text does not fail.
        let _ = match arg {
            Some(Arg::Key(key)) => write!(text, "'{}'::uuid", key.hyphenated()),
            Some(Arg::Number(number)) => write!(text, "'{number}'::bigint"),
            Some(Arg::Owner(None)) => write!(text, "NULL::text"),
            Some(Arg::Owner(Some(owner))) => {
                hex(&mut text, "convert_from(decode('", owner.as_bytes(), "', 'hex'), 'UTF8')");
                Ok(())
            }
            Some(Arg::Payload(payload)) => {
                hex(&mut text, "decode('", payload, "', 'hex')");
                Ok(())
            }
            // Not there: the server says which.
            None => write!(text, "${number}"),
        };
        text.push_str(rest);
    }
    text
}

/// The statement with its values in the place of one question mark after the other.
///
/// `X'..'` is bytes in whichever mode and character set a connection is: they are compared as such, like the columns.
#[cfg(feature = "mysql")]
pub(crate) fn mysql(sql: &str, args: &[Arg<'_>]) -> String {
    let mut parts = sql.split('?');
    let mut text = with_room(parts.next().unwrap_or_default(), sql, args);
    let mut args = args.iter();
    for part in parts {
        match args.next() {
            Some(Arg::Key(key)) => hex(&mut text, "X'", key.as_bytes(), "'"),
            Some(Arg::Number(number)) => {
                // Writing to a text does not fail.
                let _ = write!(text, "{number}");
            }
            Some(Arg::Owner(None)) => text.push_str("NULL"),
            Some(Arg::Owner(Some(owner))) => hex(&mut text, "X'", owner.as_bytes(), "'"),
            Some(Arg::Payload(payload)) => hex(&mut text, "X'", payload, "'"),
            // Not there: the server says so.
            None => text.push('?'),
        }
        text.push_str(part);
    }
    text
}

/// The beginning of a text that is not going to be moved when it grows.
fn with_room(beginning: &str, sql: &str, args: &[Arg<'_>]) -> String {
    let room = |arg: &Arg<'_>| match arg {
        Arg::Owner(Some(owner)) => 2 * owner.len(),
        Arg::Payload(payload) => 2 * payload.len(),
        Arg::Key(_) | Arg::Number(_) | Arg::Owner(None) => 0,
    };
    let mut text = String::with_capacity(sql.len() + args.iter().map(|arg| 48 + room(arg)).sum::<usize>());
    text.push_str(beginning);
    text
}

fn hex(text: &mut String, before: &str, bytes: &[u8], after: &str) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    text.push_str(before);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text.push_str(after);
}

/// A column of bytes or text, of a row that may be text throughout.
#[cfg(feature = "postgres")]
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
#[cfg(feature = "postgres")]
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

    const OWNER: &str = "o'neill\\ $1 \u{e9}?";

    fn args(payload: &Arc<[u8]>) -> [Arg<'_>; 5] {
        let nobody = Arg::Owner(None);
        [Arg::Key(Uuid::nil()), Arg::Number(i64::MIN), Arg::Owner(Some(OWNER)), nobody, Arg::Payload(payload)]
    }

    fn payload() -> Arc<[u8]> {
        b"\x00'\\\xff$1?".as_slice().into()
    }

    #[cfg(feature = "mysql")]
    #[test]
    fn values_stand_in_the_place_of_question_marks_and_nothing_else_does() {
        let payload = payload();
        assert_eq!(
            mysql("a ? = b, ?,(?) ?; ?", &args(&payload)),
            "a X'00000000000000000000000000000000' = b, -9223372036854775808,(X'6f276e65696c6c5c20243120c3a93f') \
             NULL; X'00275cff24313f'"
        );
        assert_eq!(mysql("? ?", &[Arg::Number(1)]), "1 ?");
        assert_eq!(mysql("?", &[Arg::Payload(&[].into())]), "X''");
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn values_stand_in_their_places_and_nothing_else_does() {
        let payload = payload();
        let args = args(&payload);
        assert_eq!(
            postgres("a $1::uuid, $2, $3, ($4) $5 $6", &args),
            "a '00000000-0000-0000-0000-000000000000'::uuid::uuid, '-9223372036854775808'::bigint, \
             convert_from(decode('6f276e65696c6c5c20243120c3a93f', 'hex'), 'UTF8'), (NULL::text) \
             decode('00275cff24313f', 'hex') $6"
        );
        let many: Vec<_> = (1..=12).map(Arg::Number).collect();
        assert_eq!(postgres("$12$1", &many), "'12'::bigint'1'::bigint");
    }

    #[cfg(feature = "postgres")]
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
