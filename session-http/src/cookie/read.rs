//! Reads the `Cookie` header of a request, as lenient as browsers and proxies make it necessary.

use http::HeaderValue;
use memchr::memchr;

/// How many cookies of one name are looked at: more are not sent by an honest browser.
const MAX_SAME_NAME: usize = 4;

/// The values of the cookies called `name`, in the order sent, of all `Cookie` headers (HTTP/2 may split them).
///
/// Names are compared exactly. Spaces and tabs around name and value and one pair of double quotes around the value
/// are taken off; pairs without `=` and values that are not visible ASCII are passed over. At most four values.
pub(crate) fn values_of<'h>(
    headers: impl IntoIterator<Item = &'h HeaderValue>,
    name: &str,
) -> impl Iterator<Item = &'h str> {
    headers
        .into_iter()
        .flat_map(|header| pairs(header.as_bytes()))
        .filter_map(move |pair| value_if(pair, name.as_bytes()))
        .filter_map(|value| std::str::from_utf8(value).ok().filter(|text| is_visible_ascii(text)))
        .take(MAX_SAME_NAME)
}

/// What lies between semicolons. Other people's cookies are most of the header, often a kilobyte: byte by byte, they cost
/// nearly half as much as all else that it takes to read a session.
fn pairs(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(header);
    std::iter::from_fn(move || {
        let left = rest.take()?;
        let (pair, after) = left.split_at(memchr(b';', left).unwrap_or(left.len()));
        rest = after.get(1..);
        Some(pair)
    })
}

fn value_if<'h>(pair: &'h [u8], name: &[u8]) -> Option<&'h [u8]> {
    let rest = trim_start(pair).strip_prefix(name)?;
    let value = trim_start(rest).strip_prefix(b"=")?;
    Some(unquote(trim_end(trim_start(value))))
}

fn trim_start(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

fn trim_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

fn unquote(bytes: &[u8]) -> &[u8] {
    match bytes {
        [b'"', inner @ .., b'"'] => inner,
        _ => bytes,
    }
}

fn is_visible_ascii(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(headers: &[&[u8]], name: &str) -> Vec<String> {
        let headers: Vec<_> = headers.iter().map(|bytes| HeaderValue::from_bytes(bytes).unwrap()).collect();
        values_of(&headers, name).map(str::to_owned).collect()
    }

    #[test]
    fn cookies_are_found_whatever_the_spacing_quotes_and_neighbours() {
        for header in [
            &b"id=abc"[..],
            b"a=1; id=abc; b=2",
            b"a=1;id=abc;b=2",
            b";;; ;id=abc;;",
            b"\tid =\t abc ; x",
            b"id=\"abc\"",
            b"noequals; id=abc",
            b"=empty name; id=abc",
            b"bad=\xff\xfe; id=abc",
            b"ID=other; Id=other; id=abc",
            b"xid=other; id2=other; id=abc",
            b"a=\"x; id=abc; y\"",
        ] {
            assert_eq!(read(&[header], "id"), ["abc"], "{}", header.escape_ascii());
        }
        assert_eq!(read(&[b"id=a=b=="], "id"), ["a=b=="]);
        assert_eq!(read(&[b"id="], "id"), [""]);
        assert_eq!(read(&[b"id=\""], "id"), ["\""]);
    }

    #[test]
    fn values_that_no_server_sets_are_passed_over() {
        assert!(read(&[b"id=\xc3\xa9t\xc3\xa9"], "id").is_empty());
        assert!(read(&[b"id=a\tb"], "id").is_empty());
        assert!(read(&[b"id=a b"], "id").is_empty());
        assert!(read(&[b"id"], "id").is_empty());
        assert!(read(&[b""], "id").is_empty());
        assert!(read(&[], "id").is_empty());
    }

    #[test]
    fn several_of_one_name_come_in_order_from_all_headers_and_are_bounded() {
        assert_eq!(read(&[b"id=a; id=b", b"x=1", b"id=c"], "id"), ["a", "b", "c"]);
        let many = "id=x; ".repeat(10_000);
        assert_eq!(read(&[many.as_bytes()], "id").len(), MAX_SAME_NAME);
    }

    proptest! {
        #[test]
        fn pairs_are_what_lies_between_semicolons(
            header in prop::collection::vec(prop_oneof![Just(b';'), any::<u8>()], 0..200),
        ) {
            let plain: Vec<&[u8]> = header.split(|&byte| byte == b';').collect();
            prop_assert_eq!(pairs(&header).collect::<Vec<_>>(), plain);
        }

        #[test]
        fn the_cookie_crate_reads_the_same_from_what_browsers_send(
            pairs in prop::collection::vec(("[a-zA-Z_-]{1,6}", "[!#-+\\--:<-\\[\\]-~]{0,12}"), 0..6),
        ) {
            let header = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
            for (name, _) in &pairs {
                let theirs: Vec<_> = cookie::Cookie::split_parse(header.clone())
                    .filter_map(Result::ok)
                    .filter(|cookie| cookie.name() == name)
                    .map(|cookie| cookie.value().to_owned())
                    .take(MAX_SAME_NAME)
                    .collect();
                prop_assert_eq!(read(&[header.as_bytes()], name), theirs);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(header) = HeaderValue::from_bytes(&bytes) {
                for value in values_of([&header], "id") {
                    prop_assert!(is_visible_ascii(value));
                }
            }
        }
    }
}
