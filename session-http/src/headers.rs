//! Response headers that several parties write.

use http::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, SET_COOKIE, VARY};

/// What a response tells the client's cookie jar.
#[derive(Debug)]
pub(crate) enum Sent {
    Nothing,
    /// A secret that the client does not hold yet.
    NewSecret(HeaderValue),
    /// The secret that the client holds already.
    Again(HeaderValue),
    Removal(HeaderValue),
}

/// Writes what the use of a session means for the response: its cookie, and what caches must know. `Set-Cookie`
/// headers of the handler stay.
pub(crate) fn note_session(headers: &mut HeaderMap, accessed: bool, vary_by: &HeaderName, sent: Sent) {
    if accessed || !matches!(sent, Sent::Nothing) {
        add_vary(headers, vary_by);
    }
    match sent {
        Sent::Nothing => {}
        Sent::NewSecret(cookie) => {
            forbid_storing(headers);
            headers.append(SET_COOKIE, cookie);
        }
        Sent::Again(cookie) | Sent::Removal(cookie) => {
            headers.append(SET_COOKIE, cookie);
        }
    }
}

/// Adds `name` to `Vary` as one merged header; nothing when it is there, or when the response varies by everything.
pub(crate) fn add_vary(headers: &mut HeaderMap, name: &HeaderName) {
    let mut present = headers.get_all(VARY).iter();
    let (first, more) = (present.next(), present.next());
    let listed = |value: &HeaderValue| {
        let mut items = value.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        items.any(|item| item == b"*" || item.eq_ignore_ascii_case(name.as_str().as_bytes()))
    };
    if more.is_none() {
        match first {
            None => {
                headers.insert(VARY, HeaderValue::from_name(name.clone()));
                return;
            }
            Some(value) if listed(value) => return,
            Some(_) => {}
        }
    }
    let mut merged: Vec<u8> = Vec::new();
    for value in headers.get_all(VARY) {
        push_item(&mut merged, value.as_bytes().trim_ascii());
    }
    if !headers.get_all(VARY).iter().any(listed) {
        push_item(&mut merged, name.as_str().as_bytes());
    }
    if let Ok(value) = HeaderValue::from_bytes(&merged) {
        headers.insert(VARY, value);
    }
}

fn push_item(list: &mut Vec<u8>, item: &[u8]) {
    if item.is_empty() {
        return;
    }
    if !list.is_empty() {
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(item);
}

/// Keeps every cache from storing this response: it carries a secret. What the handler said is replaced.
pub(crate) fn forbid_storing(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::COOKIE;

    fn vary(present: &[&str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for value in present {
            headers.append(VARY, HeaderValue::from_str(value).unwrap());
        }
        add_vary(&mut headers, &COOKIE);
        headers.get_all(VARY).iter().map(|value| value.to_str().unwrap().to_ascii_lowercase()).collect()
    }

    #[test]
    fn vary_is_one_merged_header_and_never_doubled() {
        assert_eq!(vary(&[]), ["cookie"]);
        assert_eq!(vary(&["Accept"]), ["accept, cookie"]);
        assert_eq!(vary(&["Accept", "Origin"]), ["accept, origin, cookie"]);
        assert_eq!(vary(&["Accept, COOKIE"]), ["accept, cookie"]);
        assert_eq!(vary(&["Accept", "Cookie"]), ["accept, cookie"]);
        assert_eq!(vary(&["*"]), ["*"]);
        assert_eq!(vary(&["X-Cookie"]), ["x-cookie, cookie"]);
        assert_eq!(vary(&[""]), ["cookie"]);
        assert_eq!(vary(&["", "Accept"]), ["accept, cookie"]);
    }
}
