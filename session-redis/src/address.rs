//! Where servers are: URLs, read and shown without their secrets.

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion};
use session_core::Error;

use crate::config::RedisConfig;
use crate::error::invalid_config;

/// What a URL names.
#[derive(Debug)]
pub(crate) enum Place {
    One(Box<ConnectionInfo>),
    Sentinel(Box<SentinelPlace>),
    /// Servers that know the cluster.
    Cluster(Vec<ConnectionInfo>),
}

/// A master, and the Sentinels that know where it is.
#[derive(Debug)]
pub(crate) struct SentinelPlace {
    pub(crate) sentinels: Vec<ConnectionInfo>,
    /// The name under which the Sentinels know the master.
    pub(crate) name: String,
    /// How to reach the master, but for its address.
    pub(crate) server: ConnectionInfo,
}

/// Reads a URL.
pub(crate) fn parse(url: &str) -> Result<Place, Error> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return server(url).map(Box::new).map(Place::One);
    };
    let (plain, kind) = match scheme.split_once('+') {
        Some((plain @ ("redis" | "rediss"), kind @ ("sentinel" | "cluster"))) => (plain, kind),
        _ => return server(url).map(Box::new).map(Place::One),
    };
    let (user, rest) = rest.rsplit_once('@').map_or(("", rest), |(user, rest)| (user, rest));
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    let at = if user.is_empty() { "" } else { "@" };
    if kind == "cluster" {
        if !path.is_empty() {
            return Err(invalid_config(
                "the url of a cluster ends with the last server: it has one database, 0",
            ));
        }
        let seeds = hosts.split(',').map(|host| server(&format!("{plain}://{user}{at}{host}")));
        return seeds.collect::<Result<_, _>>().map(Place::Cluster);
    }
    let (name, database) = path.split_once('/').unwrap_or((path, "0"));
    if name.is_empty() {
        let message =
            "the url of a sentinel names the master: redis+sentinel://host:26379,host:26379/master/0";
        return Err(invalid_config(message));
    }
    // The user is the master's; Sentinels are asked without one.
    let sentinel = |host: &str| {
        let port = if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
            ""
        } else {
            ":26379"
        };
        server(&format!("{plain}://{host}{port}"))
    };
    Ok(Place::Sentinel(Box::new(SentinelPlace {
        sentinels: hosts.split(',').map(sentinel).collect::<Result<_, _>>()?,
        name: name.to_owned(),
        server: server(&format!("{plain}://{user}{at}localhost/{database}"))?,
    })))
}

/// What a configuration names: its URL, with the certificates that it trusts.
pub(crate) fn place(config: &RedisConfig) -> Result<Place, Error> {
    let place = parse(&config.url)?;
    #[cfg(feature = "rustls")]
    if let Some(pem) = &config.root_certificates {
        return trusting(place, pem);
    }
    Ok(place)
}

#[cfg(feature = "rustls")]
fn trusting(place: Place, pem: &[u8]) -> Result<Place, Error> {
    let with = |info: ConnectionInfo| {
        if !matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            return Err(invalid_config("root certificates are for rediss:// urls"));
        }
        let tls = redis::TlsCertificates { client_tls: None, root_cert: Some(pem.to_vec()) };
        let client = redis::Client::build_with_tls(info, tls)
            .map_err(|source| invalid_config("the root certificates are not PEM").with_source(source))?;
        Ok(client.get_connection_info().clone())
    };
    let all = |infos: Vec<ConnectionInfo>| infos.into_iter().map(with).collect::<Result<Vec<_>, _>>();
    Ok(match place {
        Place::One(info) => Place::One(Box::new(with(*info)?)),
        Place::Cluster(seeds) => Place::Cluster(all(seeds)?),
        Place::Sentinel(place) => {
            let SentinelPlace { sentinels, name, server } = *place;
            let (sentinels, server) = (all(sentinels)?, with(server)?);
            Place::Sentinel(Box::new(SentinelPlace { sentinels, name, server }))
        }
    })
}

/// How to reach one server.
fn server(url: &str) -> Result<ConnectionInfo, Error> {
    // The driver's own message may repeat parts of the URL, and with them the password: it is not kept.
    let info = url.into_connection_info().map_err(|_| {
        invalid_config(if cfg!(not(feature = "rustls")) && asks_for_tls(url) {
            "the url asks for TLS, which needs the crate's feature `rustls`"
        } else {
            "the url does not name a server: expected redis://, rediss://, redis+unix://, redis+sentinel:// or redis+cluster://"
        })
    })?;
    #[cfg(feature = "rustls")]
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody else may be faster; then theirs serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    Ok(tuned(info))
}

/// Whether the driver refuses the URL when it is built without TLS.
fn asks_for_tls(url: &str) -> bool {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    ["rediss", "valkeys"].iter().any(|tls| scheme.eq_ignore_ascii_case(tls))
}

/// As this store uses a connection.
pub(crate) fn tuned(info: ConnectionInfo) -> ConnectionInfo {
    // Version 3 of the protocol tells of a closed connection before the next command is sent into it.
    let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    info.set_redis_settings(redis).set_tcp_settings(tcp)
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
    fn sentinels_and_clusters_are_read() {
        let Place::Sentinel(place) = parse("redis+sentinel://ann:pw@a,b:5/shop/3").unwrap() else { panic!() };
        let names: Vec<_> = place.sentinels.iter().map(name).collect();
        assert_eq!((names, place.name.as_str()), (vec!["a:26379".to_owned(), "b:5".to_owned()], "shop"));
        let server = place.server.redis_settings();
        assert_eq!((server.username(), server.password(), server.db()), (Some("ann"), Some("pw"), 3));
        assert_eq!(place.sentinels[0].redis_settings().password(), None);

        let Place::Cluster(seeds) = parse("redis+cluster://:pw@a:1,b").unwrap() else { panic!() };
        assert_eq!(seeds.iter().map(name).collect::<Vec<_>>(), ["a:1", "b:6379"]);
        assert!(seeds.iter().all(|seed| seed.redis_settings().password() == Some("pw")));
    }

    #[cfg(not(feature = "rustls"))]
    #[test]
    fn a_url_with_tls_leads_to_the_feature() {
        for url in [
            "rediss://:secret@host",
            "REDISS://host",
            "valkeys://host",
            "rediss+cluster://a,b",
            "rediss+sentinel://a/shop",
        ] {
            let error = parse(url).unwrap_err();
            assert_eq!(error.kind(), session_core::ErrorKind::InvalidConfig, "{url}");
            assert!(error.to_string().contains("feature `rustls`"), "{url}: {error}");
        }
        let error = parse("redis://host/x").unwrap_err();
        assert!(!error.to_string().contains("feature"), "{error}");
    }

    #[test]
    fn a_wrong_url_is_an_error_that_does_not_repeat_it() {
        for url in [
            "",
            "secret",
            "http://:secret@host",
            "redis://:secret@host/secret",
            "redis://:secret@host:x",
            "redis+cluster://:secret@a/1",
            "redis+sentinel://:secret@a",
        ] {
            let error = parse(url).unwrap_err();
            assert_eq!(error.kind(), session_core::ErrorKind::InvalidConfig, "{url}");
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        }
    }
}
