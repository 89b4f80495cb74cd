//! One server, or one cluster, for all cases; a namespace is a prefix.
#![allow(dead_code, unused_imports, unused_macros, reason = "each test target uses a part")]

mod given;

use std::sync::Arc;
use std::time::Duration;

use session_conformance::servers::redis::{
    RedisCluster, RedisProgram, RedisSentinel, RedisServer, remove_prefix,
};
use session_conformance::{Capability, Missing};
use session_core::{Error, ErrorKind, Result, SessionKey, SessionStore};
use session_redis::{RedisConfig, RedisStore};

pub(crate) const CAPABILITIES: &[Capability] = &[
    Capability::Durable,
    Capability::Shared,
    Capability::OwnerIndex,
    Capability::SelfExpiring,
    Capability::Pause,
    Capability::Damage,
];

/// The suite's harness on one kind of servers, with all [`CAPABILITIES`] or those that are given.
macro_rules! backend {
    ($name:ident, $backend:literal, $servers:ident) => {
        $crate::harness::backend!($name, $backend, $servers, $crate::harness::CAPABILITIES);
    };
    ($name:ident, $backend:literal, $servers:ident, $capabilities:expr) => {
        struct $name($crate::harness::$servers);

        #[async_trait::async_trait]
        impl session_conformance::Harness for $name {
            const BACKEND: &'static str = $backend;
            const CAPABILITIES: &'static [session_conformance::Capability] = $capabilities;
            type Namespace = $crate::harness::Prefix;

            async fn namespace(&self) -> session_core::Result<Self::Namespace> {
                self.0.namespace()
            }

            async fn open(
                &self,
                namespace: &Self::Namespace,
            ) -> session_core::Result<std::sync::Arc<dyn session_core::SessionStore>> {
                self.0.open(namespace)
            }

            fn patience(&self) -> std::time::Duration {
                $crate::harness::PATIENCE
            }

            async fn pause(&self, _: &Self::Namespace) -> session_core::Result<()> {
                self.0.pause()
            }

            async fn resume(&self, _: &Self::Namespace) -> session_core::Result<()> {
                self.0.resume()
            }

            async fn damage(
                &self,
                namespace: &Self::Namespace,
                key: session_core::SessionKey,
            ) -> session_core::Result<()> {
                self.0.damage(namespace, key)
            }
        }
    };
}
pub(crate) use backend;

/// The suite on one kind of servers: a test target's whole `main`.
macro_rules! run {
    ($backend:literal, $servers:ident, $program:ident) => {
        $crate::harness::backend!(Backend, $backend, $servers);

        fn main() -> std::process::ExitCode {
            let program = session_conformance::servers::redis::RedisProgram::$program;
            session_conformance::main(|| $crate::harness::$servers::start(program()).map(Backend))
        }
    };
}
pub(crate) use run;

pub(crate) use given::Given;

/// Longer than the default timeout, on a machine that does other things, too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(4);

/// A prefix with everything that means something in a pattern.
pub(crate) struct Prefix {
    pub(crate) text: String,
    ports: Vec<u16>,
    given: Option<Given>,
}

impl Prefix {
    pub(crate) fn new(ports: Vec<u16>) -> Result<Self> {
        Ok(Self { text: format!("t*[a-z]?^\\-{}:", SessionKey::generate()?), ports, given: None })
    }
}

impl Drop for Prefix {
    fn drop(&mut self) {
        for &port in &self.ports {
            // The server may be gone, and its data with it.
            let _ = remove_prefix(port, &self.text);
        }
        if let Some(given) = &self.given
            && let Err(error) = given.remove(&self.text)
        {
            eprintln!("the keys that begin with {:?} are left behind: {error}", self.text);
        }
    }
}

pub(crate) fn other(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Other, "the test server failed").with_source(error)
}

/// Changes the last byte of a session, if this server has it. The byte belongs to the payload: only the checksum knows.
fn damage(server: &RedisServer, namespace: &Prefix, key: SessionKey) -> std::io::Result<()> {
    let key = key.to_string();
    for name in server.command(&[b"KEYS", b"*"])?.list() {
        let name = name.text();
        if name.starts_with(&namespace.text) && name.ends_with(&key) {
            let last = server.command(&[b"GETRANGE", name.as_bytes(), b"-1", b"-1"])?.text();
            let last = if last == "x" { b"y" } else { b"x" };
            let len = server.command(&[b"STRLEN", name.as_bytes()])?.text();
            let at = len.parse::<usize>().map_or(0, |len| len.saturating_sub(1)).to_string();
            server.command(&[b"SETRANGE", name.as_bytes(), at.as_bytes(), last])?;
        }
    }
    Ok(())
}

/// Three masters.
pub(crate) struct Cluster(RedisCluster);

impl Cluster {
    pub(crate) fn start(program: Result<RedisProgram, Missing>) -> Result<Self, Missing> {
        let cluster = RedisCluster::start(&program?, 3, 0, Duration::from_secs(30));
        cluster.map(Self).map_err(|error| Missing::new(format!("the cluster does not start: {error}")))
    }

    pub(crate) fn namespace(&self) -> Result<Prefix> {
        let mut prefix = Prefix::new(self.0.nodes().iter().map(RedisServer::port).collect())?;
        prefix.text = prefix.text.replace(['{', '}'], "");
        Ok(prefix)
    }

    pub(crate) fn open(&self, namespace: &Prefix) -> Result<Arc<dyn SessionStore>> {
        Ok(Arc::new(RedisStore::new(RedisConfig::new(self.0.url()).with_prefix(&namespace.text))?))
    }

    pub(crate) fn pause(&self) -> Result<()> {
        self.0.nodes().iter().try_for_each(|node| node.process().pause()).map_err(other)
    }

    pub(crate) fn resume(&self) -> Result<()> {
        self.0.nodes().iter().try_for_each(|node| node.process().resume()).map_err(other)
    }

    pub(crate) fn damage(&self, namespace: &Prefix, key: SessionKey) -> Result<()> {
        self.0.nodes().iter().try_for_each(|node| damage(node, namespace, key)).map_err(other)
    }
}

/// A master with a replica, found through Sentinels.
pub(crate) struct Watched(RedisSentinel);

impl Watched {
    pub(crate) fn start(program: Result<RedisProgram, Missing>) -> Result<Self, Missing> {
        let servers = RedisSentinel::start(&program?, 1, Duration::from_secs(60));
        servers.map(Self).map_err(|error| Missing::new(format!("the servers do not start: {error}")))
    }

    pub(crate) fn namespace(&self) -> Result<Prefix> {
        Prefix::new(vec![self.0.master().map_err(other)?])
    }

    pub(crate) fn open(&self, namespace: &Prefix) -> Result<Arc<dyn SessionStore>> {
        Ok(Arc::new(RedisStore::new(RedisConfig::new(self.0.url()).with_prefix(&namespace.text))?))
    }

    fn each(&self, work: impl Fn(&RedisServer) -> std::io::Result<()>) -> Result<()> {
        self.0.nodes().iter().chain(self.0.sentinels()).try_for_each(work).map_err(other)
    }

    pub(crate) fn pause(&self) -> Result<()> {
        self.each(|server| server.process().pause())
    }

    pub(crate) fn resume(&self) -> Result<()> {
        self.each(|server| server.process().resume())
    }

    pub(crate) fn damage(&self, namespace: &Prefix, key: SessionKey) -> Result<()> {
        let master = self.0.master().map_err(other)?;
        let node = self.0.nodes().iter().find(|node| node.port() == master);
        node.map_or(Ok(()), |node| damage(node, namespace, key).map_err(other))
    }
}

/// One server, to which so many operations of a kind go by themselves before others go together.
pub(crate) struct Single<const PLACES: usize>(RedisServer);

/// One server, with the store's default.
pub(crate) type Node = Single<8>;

/// One server, to which as much as possible goes together.
pub(crate) type Together = Single<1>;

impl<const PLACES: usize> Single<PLACES> {
    pub(crate) fn start(program: Result<RedisProgram, Missing>) -> Result<Self, Missing> {
        let server = RedisServer::start(&program?, &[]);
        server.map(Self).map_err(|error| Missing::new(format!("the server does not start: {error}")))
    }

    pub(crate) fn namespace(&self) -> Result<Prefix> {
        Prefix::new(vec![self.0.port()])
    }

    pub(crate) fn open(&self, namespace: &Prefix) -> Result<Arc<dyn SessionStore>> {
        let config = RedisConfig::new(self.0.url()).with_prefix(&namespace.text).with_places(PLACES);
        Ok(Arc::new(RedisStore::new(config)?))
    }

    pub(crate) fn pause(&self) -> Result<()> {
        self.0.process().pause().map_err(other)
    }

    pub(crate) fn resume(&self) -> Result<()> {
        self.0.process().resume().map_err(other)
    }

    pub(crate) fn damage(&self, namespace: &Prefix, key: SessionKey) -> Result<()> {
        damage(&self.0, namespace, key).map_err(other)
    }
}
