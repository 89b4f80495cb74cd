//! Where servers are: URLs, read and shown without their secrets.

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion};
use session_core::Error;

use crate::error::invalid_config;

/// How to reach one server.
pub(crate) fn parse(url: &str) -> Result<ConnectionInfo, Error> {
    // The driver's own message may repeat parts of the URL, and with them the password: it is not kept.
    let info = url.into_connection_info().map_err(|_| {
        invalid_config("the url does not name a server: expected redis://, rediss:// or redis+unix://")
    })?;
    if !info.addr().is_supported() {
        return Err(invalid_config("the url asks for TLS, which needs the crate's feature `rustls`"));
    }
    #[cfg(feature = "rustls")]
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody else may be faster; then theirs serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    // Version 3 of the protocol tells of a closed connection before the next command is sent into it.
    let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    Ok(info.set_redis_settings(redis).set_tcp_settings(tcp))
}

/// A server's name for messages.
pub(crate) fn name(info: &ConnectionInfo) -> String {
    match info.addr() {
        ConnectionAddr::Unix(path) => path.display().to_string(),
        address => address.to_string(),
    }
}

/// The URL without user, password and query.
pub(crate) fn without_secrets(url: &str) -> String {
    let url = url.split_once('?').map_or(url, |(start, _)| start);
    let Some((scheme, rest)) = url.split_once("://") else { return "(not a url)".to_owned() };
    // A password may hold an @ that should have been encoded: the last one counts.
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    format!("{scheme}://{place}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_without_their_secrets() {
        for (url, shown) in [
            ("redis://ann:p%40ss@host:1/2", "redis://host:1/2"),
            ("rediss://:p@ss@host", "rediss://host"),
            ("redis+unix:///run/redis.sock?db=1&pass=secret", "redis+unix:///run/redis.sock"),
            ("secret", "(not a url)"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }

    #[test]
    fn a_wrong_url_is_an_error_that_does_not_repeat_it() {
        for url in
            ["", "secret", "http://:secret@host", "redis://:secret@host/secret", "redis://:secret@host:x"]
        {
            let error = parse(url).unwrap_err();
            assert_eq!(error.kind(), session_core::ErrorKind::InvalidConfig, "{url}");
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        }
    }
}
