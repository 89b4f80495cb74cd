//! How the session's cookie looks, and the rules that browsers have for it.

use std::fmt;
use std::str::FromStr;

use session_core::{Error, ErrorKind, Result};

/// Browsers ignore an attribute that is longer.
const MAX_ATTRIBUTE: usize = 1_024;

/// How the session's cookie looks.
///
/// The default is the safest cookie there is: `__Host-session`, `Secure`, `HttpOnly`, `SameSite=Lax`, `Path=/`, no
/// `Domain`. The `__Host-` prefix makes the browser refuse such a cookie from any other host, also from a
/// subdomain, and without encryption (RFC 6265bis, 4.1.3).
///
/// The parts are checked together when an interface takes the configuration: what a browser would drop in silence is
/// an error there.
///
/// ```
/// use session_http::{CookieConfig, SameSite};
///
/// let config = CookieConfig::default()
///     .with_name("__Secure-shop")
///     .with_domain("example.com")
///     .with_same_site(SameSite::Strict);
/// config.check()?;
/// # Ok::<(), session_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieConfig {
    pub(super) name: String,
    pub(super) domain: Option<String>,
    pub(super) path: String,
    pub(super) secure: bool,
    pub(super) http_only: bool,
    pub(super) same_site: Option<SameSite>,
    pub(super) partitioned: bool,
    pub(super) persistence: Persistence,
}

/// Whether the browser keeps the cookie when it is closed.
///
/// The server ends the session in any case: this only says how long the browser remembers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Persistence {
    /// As long as the session can live, if it is [permanent](session_core::Session::set_permanent); else until the browser
    /// is closed. As in Flask; the default.
    #[default]
    IfPermanent,
    /// As long as the session can live.
    Always,
    /// Until the browser is closed (NIST SP 800-63B wants session secrets not to persist).
    Never,
}

/// To which requests from other sites a browser adds the cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SameSite {
    /// To none, not even when a link is followed: the first page then comes as to a stranger.
    Strict,
    /// To links that are followed, not to forms that are sent or to frames. The default.
    Lax,
    /// To all. Browsers want `Secure` with it.
    None,
}

impl Default for CookieConfig {
    fn default() -> Self {
        Self {
            name: "__Host-session".to_owned(),
            domain: None,
            path: "/".to_owned(),
            secure: true,
            http_only: true,
            same_site: Some(SameSite::Lax),
            partitioned: false,
            persistence: Persistence::IfPermanent,
        }
    }
}

impl CookieConfig {
    /// A cookie for work on one's own machine over plain `http`: `session`, without `Secure` and prefix.
    ///
    /// The default cookie needs `https`: curl and Safari never send a `Secure` cookie over `http`, and Chromium
    /// takes it on 127.0.0.1 only without a prefix. Never use this one in production: whoever listens
    /// on the network then has the session.
    #[must_use]
    pub fn insecure_for_development() -> Self {
        Self { name: "session".to_owned(), secure: false, ..Self::default() }
    }

    /// The name. A name that tells nothing of the software is best (OWASP); `__Host-` and `__Secure-` in front have
    /// their rules. Default: `__Host-session`.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Shares the cookie with all subdomains of `domain`; a leading dot and a port are taken off. Default: this host
    /// alone. Needs another name than the default, since `__Host-` forbids it.
    #[must_use]
    pub fn with_domain(mut self, domain: impl AsRef<str>) -> Self {
        self.domain = Some(bare_host(domain.as_ref()));
        self
    }

    /// Sends the cookie only to paths below this one. It does not protect it: pages of one host read each
    /// other's cookies. Default: `/`.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Sends the cookie over encrypted connections only. Default: on.
    #[must_use]
    pub fn with_secure(mut self, secure: bool) -> Self {
        self.secure = secure;
        self
    }

    /// Hides the cookie from scripts. Default: on.
    #[must_use]
    pub fn with_http_only(mut self, http_only: bool) -> Self {
        self.http_only = http_only;
        self
    }

    /// To which requests from other sites the cookie goes; `None` leaves it to the browser. Default: `Lax`.
    #[must_use]
    pub fn with_same_site(mut self, same_site: impl Into<Option<SameSite>>) -> Self {
        self.same_site = same_site.into();
        self
    }

    /// Keeps one cookie per top-level site (CHIPS), for pages shown in others' frames. Implies `Secure`. Default: off.
    #[must_use]
    pub fn with_partitioned(mut self, partitioned: bool) -> Self {
        self.partitioned = partitioned;
        self
    }

    /// Whether the browser keeps the cookie when it is closed. Default: if the session is permanent.
    #[must_use]
    pub fn with_persistence(mut self, persistence: Persistence) -> Self {
        self.persistence = persistence;
        self
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_secure(&self) -> bool {
        self.secure || self.partitioned
    }

    /// Checks that browsers keep such a cookie.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] that names the part and says what to change.
    pub fn check(&self) -> Result<()> {
        match self.problem() {
            Some(problem) => Err(Error::new(ErrorKind::InvalidConfig, format!("session cookie: {problem}"))),
            None => Ok(()),
        }
    }

    fn problem(&self) -> Option<String> {
        if self.name.is_empty() || !self.name.bytes().all(is_token) {
            return Some(format!(
                "the name {:?} is not a token (letters, digits, `-`, `_` and such)",
                self.name
            ));
        }
        if !self.path.starts_with('/') || !is_attribute(&self.path) {
            return Some(format!(
                "the path {:?} does not begin with `/` or holds `;` or control bytes",
                self.path
            ));
        }
        if let Some(domain) = &self.domain
            && !is_host(domain)
        {
            return Some(format!("the domain {domain:?} is not a host name"));
        }
        if self.same_site == Some(SameSite::None) && !self.is_secure() {
            return Some("browsers drop SameSite=None without Secure: switch Secure on".to_owned());
        }
        self.prefix_problem()
    }

    fn prefix_problem(&self) -> Option<String> {
        let starts = |prefix: &str| {
            self.name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        let host = starts("__Host-");
        let scripts = starts("__Http-") || starts("__Host-Http-");
        let broken = if (host || scripts || starts("__Secure-")) && !self.is_secure() {
            "needs Secure: switch Secure on, or use a name without the prefix"
        } else if scripts && !self.http_only {
            "needs HttpOnly: switch HttpOnly on, or use a name without the prefix"
        } else if host && self.domain.is_some() {
            "forbids a domain: remove the domain, or use the prefix `__Secure-`"
        } else if host && self.path != "/" {
            "needs the path `/`: remove the path, or use the prefix `__Secure-`"
        } else {
            return None;
        };
        Some(format!("the prefix of the name {:?} {broken}", self.name))
    }
}

impl SameSite {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        }
    }
}

/// Reads `strict`, `lax` and `none` in any case, as configuration files have them.
impl FromStr for SameSite {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::Strict, Self::Lax, Self::None]
            .into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::InvalidConfig,
                    format!("unknown SameSite {text:?}: use Strict, Lax or None"),
                )
            })
    }
}

impl fmt::Display for SameSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn bare_host(domain: &str) -> String {
    let host = domain.strip_prefix('.').unwrap_or(domain);
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    host.to_ascii_lowercase()
}

fn is_host(host: &str) -> bool {
    host.len() <= 253
        && host.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        })
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_attribute(text: &str) -> bool {
    text.len() <= MAX_ATTRIBUTE && text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b';')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> CookieConfig {
        CookieConfig::default()
    }

    fn problem(config: &CookieConfig) -> String {
        let error = config.check().expect_err("accepted");
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        error.to_string()
    }

    #[test]
    fn the_named_configurations_are_sound() {
        config().check().unwrap();
        CookieConfig::insecure_for_development().check().unwrap();
        config().with_name("__Secure-a").with_domain("example.com").with_path("/a").check().unwrap();
    }

    #[test]
    fn what_a_browser_would_drop_is_refused_with_a_way_out() {
        let host = config();
        assert!(problem(&host.clone().with_domain("example.com")).contains("remove the domain"));
        assert!(problem(&host.clone().with_path("/shop")).contains("remove the path"));
        assert!(problem(&host.clone().with_secure(false)).contains("switch Secure on"));
        assert!(problem(&host.clone().with_name("__HOST-x").with_secure(false)).contains("Secure"));
        assert!(problem(&host.clone().with_name("__Secure-x").with_secure(false)).contains("Secure"));
        assert!(problem(&host.with_name("__Http-x").with_http_only(false)).contains("HttpOnly"));
        let plain = CookieConfig::insecure_for_development();
        assert!(problem(&plain.clone().with_same_site(SameSite::None)).contains("SameSite=None"));
        for name in ["", "a b", "a;b", "a=b", "\u{e9}", "a\n", "(a)"] {
            assert!(problem(&plain.clone().with_name(name)).contains("name"), "{name:?}");
        }
        for path in ["", "shop", "/a;b", "/\n", "/\u{e9}", &format!("/{}", "a".repeat(2_000))] {
            assert!(problem(&plain.clone().with_path(path)).contains("path"), "{path:?}");
        }
        for domain in ["", ".", "a..b", "a b", "a;b", "[::1]", "ex\u{e4}mple.com"] {
            assert!(problem(&plain.clone().with_domain(domain)).contains("domain"), "{domain:?}");
        }
    }

    #[test]
    fn a_leading_dot_and_a_port_are_taken_off_the_domain() {
        for domain in ["example.com", ".example.com", "Example.com:3000", ".example.com:80"] {
            let config = config().with_name("a").with_domain(domain);
            config.check().unwrap();
            assert_eq!(config.domain.as_deref(), Some("example.com"));
        }
    }

    #[test]
    fn partitioned_implies_secure() {
        let config =
            CookieConfig::insecure_for_development().with_partitioned(true).with_same_site(SameSite::None);
        config.check().unwrap();
        assert!(config.is_secure());
    }

    #[test]
    fn an_unknown_same_site_is_an_error() {
        assert_eq!("lax".parse::<SameSite>().unwrap(), SameSite::Lax);
        assert_eq!("Strict".parse::<SameSite>().unwrap(), SameSite::Strict);
        assert!("loose".parse::<SameSite>().unwrap_err().to_string().contains("Strict, Lax or None"));
    }
}
