//! The session's cookie: read, set, removed.

mod config;
mod date;
mod read;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use session_core::{Error, ErrorKind, Result, Timestamp};

pub use config::{CookieConfig, Persistence, SameSite};
pub(crate) use read::values_of;

/// Browsers keep 4096 bytes of name, value and attributes; the smallest limit in use is three less (RFC 6265, 6.1, and
/// Flask's default).
pub(crate) const MAX_COOKIE: usize = 4_093;

/// A checked configuration, with its attributes already in their text.
#[derive(Clone, Debug)]
pub(crate) struct Cookie(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    name: String,
    /// `; Path=/; HttpOnly` and so on: the same for setting and removing, or browsers keep the old cookie.
    attributes: String,
    persistence: Persistence,
}

/// The longest that browsers keep a cookie (RFC 6265bis, 5.5).
const LONGEST: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// Until when a browser keeps a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// Until it is closed.
    BrowserSession,
    /// Until the session cannot be live any more.
    At { end: Timestamp, now: Timestamp },
}

impl Expiry {
    /// At `end`, or as late as browsers allow.
    pub(crate) fn at(end: Option<Timestamp>, now: Timestamp) -> Self {
        let longest = now.saturating_add(LONGEST);
        Self::At { end: end.map_or(longest, |end| end.min(longest)), now }
    }
}

impl Cookie {
    pub(crate) fn new(config: &CookieConfig) -> Result<Self> {
        config.check()?;
        Ok(Self::from_checked(config))
    }

    fn from_checked(config: &CookieConfig) -> Self {
        let mut attributes = String::new();
        if let Some(domain) = &config.domain {
            attributes.push_str("; Domain=");
            attributes.push_str(domain);
        }
        attributes.push_str("; Path=");
        attributes.push_str(&config.path);
        if config.http_only {
            attributes.push_str("; HttpOnly");
        }
        if config.is_secure() {
            attributes.push_str("; Secure");
        }
        if let Some(same_site) = config.same_site {
            attributes.push_str("; SameSite=");
            attributes.push_str(same_site.as_str());
        }
        if config.partitioned {
            attributes.push_str("; Partitioned");
        }
        Self(Arc::new(Parts { name: config.name.clone(), attributes, persistence: config.persistence }))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether the cookie of such a session has an expiry.
    pub(crate) fn persists(&self, permanent: bool) -> bool {
        match self.0.persistence {
            Persistence::IfPermanent => permanent,
            Persistence::Always => true,
            Persistence::Never => false,
        }
    }

    /// The `Set-Cookie` header that gives the browser `value`.
    pub(crate) fn set(&self, value: &str, expiry: Expiry) -> Result<HeaderValue> {
        let Parts { name, attributes, .. } = &*self.0;
        let expiry = match expiry {
            Expiry::BrowserSession => String::new(),
            Expiry::At { end, now } => {
                // Both round up: the cookie never ends before its session, and outlives it by less than a second.
                let left = end.saturating_since(now).as_millis().div_ceil(1_000);
                format!("; Max-Age={left}; Expires={}", date::http_date(end))
            }
        };
        // In a text that is full a header needs no room of its own.
        let line = [name, "=", value, &expiry, attributes].concat();
        if line.len() > MAX_COOKIE {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "the session cookie {name:?} would take {} bytes and browsers drop more than {MAX_COOKIE}: put less into \
                     the session, or keep it in a store",
                    line.len()
                ),
            ));
        }
        header(line)
    }

    /// The `Set-Cookie` header that makes the browser forget the cookie.
    pub(crate) fn removal(&self) -> Result<HeaderValue> {
        let Parts { name, attributes, .. } = &*self.0;
        let expires = date::http_date(Timestamp::EPOCH);
        header(format!("{name}=; Max-Age=0; Expires={expires}{attributes}"))
    }
}

impl Default for Cookie {
    fn default() -> Self {
        Self::from_checked(&CookieConfig::default())
    }
}

fn header(line: String) -> Result<HeaderValue> {
    let mut header = HeaderValue::try_from(line).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, "the session cookie holds bytes that no header may hold")
            .with_source(error)
    })?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(784_111_777_000);

    fn text(header: &HeaderValue) -> &str {
        header.to_str().unwrap()
    }

    fn full() -> Cookie {
        let config = CookieConfig::default()
            .with_name("__Secure-s")
            .with_domain("example.com")
            .with_path("/shop")
            .with_same_site(SameSite::None)
            .with_partitioned(true);
        Cookie::new(&config).unwrap()
    }

    #[test]
    fn the_default_cookie_has_every_protection() {
        let set = Cookie::default().set("abc", Expiry::BrowserSession).unwrap();
        assert_eq!(text(&set), "__Host-session=abc; Path=/; HttpOnly; Secure; SameSite=Lax");
        assert!(set.is_sensitive(), "the id could be logged");
    }

    #[test]
    fn max_age_and_expires_agree_with_the_record_and_round_up() {
        let until = |millis| Expiry::At { end: Timestamp::from_millis(NOW.as_millis() + millis), now: NOW };
        let cookie = Cookie::default();
        for (millis, max_age, expires) in [
            (1, 1, "Sun, 06 Nov 1994 08:49:38 GMT"),
            (1_000, 1, "Sun, 06 Nov 1994 08:49:38 GMT"),
            (3_600_000, 3_600, "Sun, 06 Nov 1994 09:49:37 GMT"),
        ] {
            let set = cookie.set("abc", until(millis)).unwrap();
            let wanted = format!("abc; Max-Age={max_age}; Expires={expires}; Path=/");
            assert!(text(&set).contains(&wanted), "{}", text(&set));
        }
    }

    #[test]
    fn no_cookie_lasts_longer_than_browsers_allow() {
        let longest = Expiry::At { end: NOW.saturating_add(LONGEST), now: NOW };
        assert_eq!(Expiry::at(None, NOW), longest);
        assert_eq!(Expiry::at(Some(Timestamp::MAX), NOW), longest);
        assert_eq!(Expiry::at(Some(NOW), NOW), Expiry::At { end: NOW, now: NOW });
    }

    #[test]
    fn removal_repeats_every_attribute() {
        let set = full().set("x", Expiry::BrowserSession).unwrap();
        let removal = full().removal().unwrap();
        let (_, attributes) = text(&set).split_once("=x").unwrap();
        assert_eq!(
            attributes,
            "; Domain=example.com; Path=/shop; HttpOnly; Secure; SameSite=None; Partitioned"
        );
        assert_eq!(
            text(&removal),
            format!("__Secure-s=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT{attributes}")
        );
    }

    #[test]
    fn the_cookie_crate_reads_back_every_part() {
        let expiry = Expiry::At { end: NOW.saturating_add(Duration::from_secs(90)), now: NOW };
        let set = full().set("value_1", expiry).unwrap();
        let theirs = cookie::Cookie::parse(text(&set)).unwrap();
        assert_eq!((theirs.name(), theirs.value()), ("__Secure-s", "value_1"));
        assert_eq!(theirs.domain(), Some("example.com"));
        assert_eq!(theirs.path(), Some("/shop"));
        assert_eq!(theirs.secure(), Some(true));
        assert_eq!(theirs.http_only(), Some(true));
        assert_eq!(theirs.partitioned(), Some(true));
        assert_eq!(theirs.same_site(), Some(cookie::SameSite::None));
        assert_eq!(theirs.max_age().map(|age| age.whole_seconds()), Some(90));
        let expires = theirs.expires_datetime().unwrap().unix_timestamp();
        assert_eq!(expires * 1_000, NOW.as_millis() + 90_000);
    }

    #[test]
    fn a_cookie_over_the_limit_is_an_error_that_says_so() {
        let cookie = Cookie::default();
        let room = MAX_COOKIE - text(&cookie.set("", Expiry::BrowserSession).unwrap()).len();
        assert_eq!(cookie.set(&"x".repeat(room), Expiry::BrowserSession).unwrap().len(), MAX_COOKIE);
        let error = cookie.set(&"x".repeat(room + 1), Expiry::BrowserSession).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert!(error.to_string().contains("4094") && error.to_string().contains("4093"), "{error}");
        assert!(!error.to_string().contains("xxx"), "the value is in the error");
    }
}
