//! One server for all cases; a namespace is a prefix.

use std::sync::Arc;
use std::time::Duration;

use session_conformance::servers::redis::{RedisProgram, RedisServer, remove_prefix};
use session_conformance::{Capability, Missing};
use session_core::{Error, ErrorKind, Result, SessionId, SessionKey, SessionStore};
use session_redis::{RedisConfig, RedisStore};

pub(crate) const CAPABILITIES: &[Capability] = &[
    Capability::Durable,
    Capability::Shared,
    Capability::OwnerIndex,
    Capability::SelfExpiring,
    Capability::Pause,
    Capability::Damage,
];

/// A prefix with everything that means something in a pattern.
pub(crate) struct Prefix {
    pub(crate) text: String,
    ports: Vec<u16>,
}

impl Prefix {
    pub(crate) fn new(ports: Vec<u16>) -> Result<Self> {
        Ok(Self { text: format!("t*[a-z]?^\\-{}:", SessionId::generate()?.key()), ports })
    }
}

impl Drop for Prefix {
    fn drop(&mut self) {
        for &port in &self.ports {
            // The server may be gone, and its data with it.
            let _ = remove_prefix(port, &self.text);
        }
    }
}

pub(crate) fn other(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Other, "the test server failed").with_source(error)
}

/// One server.
pub(crate) struct Node(RedisServer);

impl Node {
    pub(crate) fn start(program: Result<RedisProgram, Missing>) -> Result<Self, Missing> {
        let server = RedisServer::start(&program?, &[]);
        server.map(Self).map_err(|error| Missing::new(format!("the server does not start: {error}")))
    }

    pub(crate) fn namespace(&self) -> Result<Prefix> {
        Prefix::new(vec![self.0.port()])
    }

    pub(crate) fn open(&self, namespace: &Prefix) -> Result<Arc<dyn SessionStore>> {
        Ok(Arc::new(RedisStore::new(RedisConfig::new(self.0.url()).with_prefix(&namespace.text))?))
    }

    pub(crate) fn pause(&self) -> Result<()> {
        self.0.process().pause().map_err(other)
    }

    pub(crate) fn resume(&self) -> Result<()> {
        self.0.process().resume().map_err(other)
    }

    pub(crate) fn damage(&self, namespace: &Prefix, key: SessionKey) -> Result<()> {
        let name = format!("{}{key}", namespace.text);
        // The last byte, which belongs to the payload: only the checksum knows.
        let bytes = self.0.command(&[b"GETRANGE", name.as_bytes(), b"-1", b"-1"]).map_err(other)?.text();
        let last = if bytes == "x" { b"y" } else { b"x" };
        let len = self.0.command(&[b"STRLEN", name.as_bytes()]).map_err(other)?.text();
        let at = len.parse::<usize>().map_or(0, |len| len.saturating_sub(1)).to_string();
        self.0.command(&[b"SETRANGE", name.as_bytes(), at.as_bytes(), last]).map(drop).map_err(other)
    }

    /// Longer than the default timeout, on a machine that does other things, too.
    pub(crate) const PATIENCE: Duration = Duration::from_secs(4);
}
