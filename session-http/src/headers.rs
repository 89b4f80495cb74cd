//! Response headers that several parties write.

use http::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, SET_COOKIE, VARY};
use session_core::{Error, ErrorKind, Result};

/// What a response tells the client's cookie jar.
#[derive(Debug)]
pub(crate) enum Sent {
    Nothing,
    /// The session's cookie, or its removal.
    Cookie(HeaderValue),
}

/// Writes what the use of a session means for the response: its cookie, and what caches must know. `Set-Cookie`
/// headers of the handler stay.
///
/// # Errors
/// [`ErrorKind::InvalidConfig`] when the cookie is set already: browsers would keep one of both, and nobody knows which.
pub(crate) fn note_session(
    headers: &mut HeaderMap,
    accessed: bool,
    vary_by: &HeaderName,
    name: &str,
    sent: Sent,
) -> Result<()> {
    if accessed || !matches!(sent, Sent::Nothing) {
        add_vary(headers, vary_by);
    }
    let Sent::Cookie(cookie) = sent else { return Ok(()) };
    if headers.get_all(SET_COOKIE).iter().any(|other| sets(other, name)) {
        return Err(Error::new(
            ErrorKind::InvalidConfig,
            format!(
                "the response sets the cookie {name:?} already: a handler did, or two session layers lie around it with \
                 one cookie name; give each layer a name of its own (CookieConfig::with_name)"
            ),
        ));
    }
    forbid_storing(headers);
    headers.append(SET_COOKIE, cookie);
    Ok(())
}

fn sets(cookie: &HeaderValue, name: &str) -> bool {
    cookie.as_bytes().strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'='))
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

/// Keeps every cache from storing this response, for it is one client's. What the handler said is replaced, also what it
/// said to the caches of a content delivery network alone (RFC 9213), which may overrule `Cache-Control`.
pub(crate) fn forbid_storing(headers: &mut HeaderMap) {
    let targeted: Vec<HeaderName> = headers.keys().filter(|name| is_targeted(name)).cloned().collect();
    for name in targeted {
        headers.remove(name);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

fn is_targeted(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.ends_with("-cache-control")
        || ["surrogate-control", "edge-control", "x-accel-expires"].contains(&name)
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
