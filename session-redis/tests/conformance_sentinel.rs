//! Every rule of the contract, on a Redis server found through Sentinels.

mod harness;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use session_conformance::servers::redis::RedisProgram;
use session_conformance::{Capability, Harness};
use session_core::{Result, SessionKey, SessionStore};

use harness::{Node, Prefix, Watched};

struct ThroughSentinel(Watched);

#[async_trait::async_trait]
impl Harness for ThroughSentinel {
    const BACKEND: &'static str = "redis-sentinel";
    const CAPABILITIES: &'static [Capability] = harness::CAPABILITIES;
    type Namespace = Prefix;

    async fn namespace(&self) -> Result<Prefix> {
        self.0.namespace()
    }

    async fn open(&self, namespace: &Prefix) -> Result<Arc<dyn SessionStore>> {
        self.0.open(namespace)
    }

    fn patience(&self) -> Duration {
        Node::PATIENCE
    }

    async fn pause(&self, _: &Prefix) -> Result<()> {
        self.0.pause()
    }

    async fn resume(&self, _: &Prefix) -> Result<()> {
        self.0.resume()
    }

    async fn damage(&self, namespace: &Prefix, key: SessionKey) -> Result<()> {
        self.0.damage(namespace, key)
    }
}

fn main() -> ExitCode {
    session_conformance::main(|| Watched::start(RedisProgram::redis()).map(ThroughSentinel))
}
