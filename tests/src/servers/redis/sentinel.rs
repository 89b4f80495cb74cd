//! Servers watched by Sentinels.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::{PATIENCE, RedisProgram, RedisServer, Reply, answers, wait, wait_for};
use crate::servers::{Process, Spec, free_port};

/// Sentinels look at a server every ten seconds, tell an old master to follow only when it has contradicted them for
/// eight, and refuse another failover until then: each step can take half a minute on a machine that is busy.
const FAILOVER: Duration = Duration::from_secs(120);

/// A master with replicas, and three Sentinels that watch it, on free ports of 127.0.0.1.
#[derive(Debug)]
pub struct RedisSentinel {
    sentinels: Vec<RedisServer>,
    nodes: Vec<RedisServer>,
}

impl RedisSentinel {
    /// The name under which the Sentinels know the master.
    pub const MASTER: &'static str = "sessions";

    fn start_sentinel(program: &RedisProgram, master: &str, silence: Duration) -> io::Result<RedisServer> {
        let port = free_port()?;
        let (name, silence) = (Self::MASTER, silence.as_millis());
        let config = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor {name} 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds {name} {silence}\nsentinel failover-timeout {name} 6000\n"
        );
        let spec = |directory: &Path| {
            // Sentinels write into their configuration what they find out.
            let file = directory.join("sentinel.conf");
            std::fs::write(&file, format!("{config}dir {}\n", directory.display()))?;
            Ok(Spec::new(&program.0).arg(&file).arg("--sentinel"))
        };
        Ok(RedisServer { process: Process::start(spec, || answers(port), PATIENCE)?, port })
    }

    /// Starts the servers and waits until the Sentinels know all of them. A master that has been silent for
    /// `silence` is replaced.
    ///
    /// # Errors
    /// When a server does not start, or they do not find each other.
    pub fn start(program: &RedisProgram, replicas: usize, silence: Duration) -> io::Result<Self> {
        let master = RedisServer::start(program, &[])?;
        let port = master.port().to_string();
        let mut nodes = vec![master];
        for _ in 0..replicas {
            let options = ["--replicaof", &format!("127.0.0.1 {port}"), "--repl-diskless-sync-delay", "0"];
            nodes.push(RedisServer::start(program, &options)?);
        }
        let sentinels = (0..3).map(|_| Self::start_sentinel(program, &port, silence));
        let servers = Self { sentinels: sentinels.collect::<io::Result<_>>()?, nodes };
        for sentinel in &servers.sentinels {
            let knows = |what: &[u8], count: usize| {
                let known = sentinel.command(&[b"SENTINEL", what, Self::MASTER.as_bytes()])?;
                Ok(known.list().len() == count)
            };
            wait(|| knows(b"REPLICAS", replicas))?;
            wait(|| knows(b"SENTINELS", 2))?;
        }
        servers.wait_for_replicas()?;
        Ok(servers)
    }

    /// The master and its replicas, in the order in which they started.
    #[must_use]
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// The Sentinels.
    #[must_use]
    pub fn sentinels(&self) -> &[RedisServer] {
        &self.sentinels
    }

    /// The port of the master, as the first Sentinel has it.
    ///
    /// # Errors
    /// When the Sentinel does not answer.
    pub fn master(&self) -> io::Result<u16> {
        let question: [&[u8]; 3] = [b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", Self::MASTER.as_bytes()];
        let address = self.sentinels[0].command(&question)?.list();
        let port = address.get(1).map(Reply::text).unwrap_or_default();
        port.parse().map_err(io::Error::other)
    }

    /// Has the Sentinels replace the master, which runs on, and waits until all servers follow the new one.
    ///
    /// # Errors
    /// When they do not.
    pub fn fail_over(&self) -> io::Result<()> {
        let before = self.master()?;
        let order: [&[u8]; 3] = [b"SENTINEL", b"FAILOVER", Self::MASTER.as_bytes()];
        // Refused while one is under way; and one that takes too long is given up, and must be ordered again.
        wait_for(FAILOVER, || {
            if self.master()? != before {
                return Ok(true);
            }
            let refused = self.sentinels[0].command(&order).err();
            std::thread::sleep(Duration::from_millis(100));
            refused.map_or(Ok(false), Err)
        })?;
        self.wait_for_replicas()
    }

    fn wait_for_replicas(&self) -> io::Result<()> {
        wait_for(FAILOVER, || {
            let master = self.master()?.to_string();
            for node in &self.nodes {
                let role = node.command(&[b"ROLE"])?.list();
                let text = |at: usize| role.get(at).map(Reply::text).unwrap_or_default();
                let follows = text(0) == "slave" && text(2) == master && text(3) == "connected";
                if !follows && (text(0) != "master" || node.port().to_string() != master) {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// `redis+sentinel://` with every Sentinel.
    #[must_use]
    pub fn url(&self) -> String {
        let places: Vec<_> = self.sentinels.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("redis+sentinel://{}/{}", places.join(","), Self::MASTER)
    }
}
