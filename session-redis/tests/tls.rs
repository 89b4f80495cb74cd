//! TLS with an authority of one's own, and a client of one's own.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed test says so by panicking

mod support;

use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use session_conformance::servers::free_port;
use session_conformance::servers::redis::{RedisProgram, RedisServer};
use session_core::{Created, ErrorKind, Record, Revision, Saved, SessionKey, SessionStore as _, Timestamp};
use session_redis::{RedisConfig, RedisStore};

use crate::support::found;

/// A server with a port for TLS, and the authority that its certificate is from.
struct Scene {
    server: RedisServer,
    port: u16,
    authority: String,
    /// Where the certificates lie.
    _directory: tempfile::TempDir,
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn scene() -> Option<Scene> {
    let program = found(RedisProgram::redis())?;
    let (issuer, key) = (authority(), KeyPair::generate().unwrap());
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let files = [
        write("server.pem", &certificate.pem()),
        write("server.key", &key.serialize_pem()),
        write("authority.pem", &issuer.pem()),
    ];
    let port = free_port().unwrap();
    let text = port.to_string();
    let options = ["--tls-port", &text, "--tls-cert-file", &files[0], "--tls-key-file", &files[1]];
    let rest = ["--tls-ca-cert-file", &files[2], "--tls-auth-clients", "no"];
    let server = RedisServer::start(&program, &[&options[..], &rest].concat()).unwrap();
    Some(Scene { server, port, authority: issuer.pem(), _directory: directory })
}

impl Scene {
    fn url(&self, host: &str, rest: &str) -> String {
        format!("rediss://{host}:{}{rest}", self.port)
    }

    fn open(&self, url: impl Into<String>) -> RedisStore {
        let config = RedisConfig::new(url).with_root_certificates(self.authority.as_bytes());
        RedisStore::new(config).unwrap()
    }
}

fn key() -> SessionKey {
    SessionKey::generate().unwrap()
}

fn record() -> Record {
    Record {
        revision: Revision::generate().unwrap(),
        owner: None,
        created_at: Timestamp::now(),
        expires_at: Timestamp::now().saturating_add(Duration::from_secs(600)),
        payload: Arc::from(&b"payload"[..]),
    }
}

#[tokio::test]
async fn a_server_is_reached_by_tls_with_an_authority_of_ones_own_a_user_and_a_database() {
    let Some(scene) = scene() else { return };
    let ann = [b"ACL" as &[u8], b"SETUSER", b"ann", b"on", b">secret", b"~*", b"+@all"];
    scene.server.command(&ann).unwrap();
    let store = scene.open(scene.url("ann:secret@localhost", "/5"));
    store.prepare().await.unwrap();
    let (key, first, second) = (key(), record(), record());
    assert_eq!(store.create(key, &first).await.unwrap(), Created::Stored);
    assert_eq!(store.save(key, first.revision, &second).await.unwrap(), Saved::Stored);
    let by_address = scene.open(scene.url("ann:secret@127.0.0.1", "/5"));
    assert_eq!(by_address.load(key).await.unwrap(), Some(second));
    let elsewhere = scene.open(scene.url("127.0.0.1", "/6"));
    assert_eq!(elsewhere.load(key).await.unwrap(), None);
    // The server says that the connections are encrypted.
    let listing = scene.server.command(&[b"CLIENT", b"LIST"]).unwrap().text();
    let tls = format!("laddr=127.0.0.1:{} ", scene.port);
    assert!(listing.lines().any(|line| line.contains(&tls) && line.contains("user=ann")), "{listing}");
}

#[tokio::test]
async fn a_certificate_of_somebody_else_a_wrong_name_and_a_plain_port_are_refused() {
    let Some(scene) = scene() else { return };
    let other = RedisConfig::new(scene.url("localhost", "")).with_root_certificates(authority().pem());
    let systems = RedisConfig::new(scene.url("localhost", ""));
    let plain = format!("rediss://localhost:{}", scene.server.port());
    let plain = RedisConfig::new(plain).with_root_certificates(scene.authority.as_bytes());
    // The certificate does not hold this name of the same machine.
    let name =
        RedisConfig::new(scene.url("127.0.0.2", "")).with_root_certificates(scene.authority.as_bytes());
    for (what, config) in [("other", other), ("the system's", systems), ("plain", plain), ("name", name)] {
        let error = RedisStore::new(config).unwrap().prepare().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{what}: {error:?}");
    }
    let wrong = RedisConfig::new("redis://localhost").with_root_certificates(scene.authority.as_bytes());
    assert_eq!(RedisStore::new(wrong).unwrap_err().kind(), ErrorKind::InvalidConfig);
    let wrong = RedisConfig::new("rediss://localhost")
        .with_root_certificates("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n");
    assert_eq!(RedisStore::new(wrong).unwrap_err().kind(), ErrorKind::InvalidConfig);
}

#[tokio::test]
async fn a_store_is_made_from_a_client_of_ones_own() {
    let Some(scene) = scene() else { return };
    let tls =
        redis::TlsCertificates { client_tls: None, root_cert: Some(scene.authority.clone().into_bytes()) };
    let client = redis::Client::build_with_tls(scene.url("localhost", "/2"), tls).unwrap();
    let config = RedisConfig::default().with_prefix("mine:");
    let store = RedisStore::from_client(&client, config).unwrap();
    store.prepare().await.unwrap();
    let (key, first) = (key(), record());
    assert_eq!(store.create(key, &first).await.unwrap(), Created::Stored);
    assert_eq!(store.load(key).await.unwrap(), Some(first));
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("mine:*").query_async(&mut connection).await.unwrap();
    assert_eq!(keys, [format!("mine:{key}")]);
}
