//! A Redis Cluster.

use std::io;
use std::time::Duration;

use super::{RedisProgram, RedisServer, Reply, wait};
use crate::servers::free_port;

/// A cluster on free ports of 127.0.0.1: masters that share the slots evenly, each with replicas.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
    masters: usize,
}

impl RedisCluster {
    /// Starts the servers and waits until all agree. A master that has been silent for `silence` is replaced.
    ///
    /// # Errors
    /// When a server does not start, or they do not agree.
    pub fn start(
        program: &RedisProgram,
        masters: usize,
        replicas: usize,
        silence: Duration,
    ) -> io::Result<Self> {
        let mut nodes = Vec::new();
        let mut buses = Vec::new();
        for _ in 0..masters * (1 + replicas) {
            // The default for this port is too high for a port that the system chose.
            let bus = free_port()?;
            let (bus_text, silence) = (bus.to_string(), silence.as_millis().to_string());
            let options = ["--cluster-enabled", "yes", "--cluster-port", &bus_text, "--cluster-node-timeout"];
            let rest = ["--repl-diskless-sync-delay", "0", "--cluster-replica-validity-factor", "0"];
            let options: Vec<&str> = options.into_iter().chain([silence.as_str()]).chain(rest).collect();
            nodes.push(RedisServer::start(program, &options)?);
            buses.push(bus);
        }
        let cluster = Self { nodes, masters };
        cluster.join(&buses)?;
        Ok(cluster)
    }

    fn join(&self, buses: &[u16]) -> io::Result<()> {
        let first = &self.nodes[0];
        for (at, node) in self.nodes.iter().enumerate() {
            node.command(&[b"CLUSTER", b"SET-CONFIG-EPOCH", (at + 1).to_string().as_bytes()])?;
            let (port, bus) = (first.port().to_string(), buses[0].to_string());
            node.command(&[b"CLUSTER", b"MEET", b"127.0.0.1", port.as_bytes(), bus.as_bytes()])?;
        }
        for (at, node) in self.nodes[..self.masters].iter().enumerate() {
            let (start, end) = (at * 16384 / self.masters, (at + 1) * 16384 / self.masters - 1);
            let (start, end) = (start.to_string(), end.to_string());
            node.command(&[b"CLUSTER", b"ADDSLOTSRANGE", start.as_bytes(), end.as_bytes()])?;
        }
        let known = format!("cluster_known_nodes:{}\r", self.nodes.len());
        self.agree(|node| Ok(node.command(&[b"CLUSTER", b"INFO"])?.text().contains(&known)))?;
        for (at, node) in self.nodes.iter().enumerate().skip(self.masters) {
            let master = self.nodes[at % self.masters].command(&[b"CLUSTER", b"MYID"])?.text();
            wait(|| Ok(node.command(&[b"CLUSTER", b"REPLICATE", master.as_bytes()]).is_ok()))?;
        }
        self.agree(|node| Ok(node.command(&[b"CLUSTER", b"INFO"])?.text().contains("cluster_state:ok")))?;
        let slots = self.masters;
        self.agree(|node| {
            let map = node.command(&[b"CLUSTER", b"SLOTS"])?.list();
            let full = |range: &Reply| matches!(range, Reply::List(parts) if parts.len() == 2 + self.nodes.len() / slots);
            Ok(map.len() == slots && map.iter().all(full))
        })?;
        for node in &self.nodes[self.masters..] {
            wait(|| Ok(node.command(&[b"INFO", b"replication"])?.text().contains("master_link_status:up")))?;
        }
        Ok(())
    }

    fn agree(&self, what: impl Fn(&RedisServer) -> io::Result<bool>) -> io::Result<()> {
        self.nodes.iter().try_for_each(|node| wait(|| what(node)))
    }

    /// The servers: the first masters first, then the first replicas.
    #[must_use]
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// How many masters the cluster began with.
    #[must_use]
    pub fn masters(&self) -> usize {
        self.masters
    }

    /// `redis+cluster://` with every server.
    #[must_use]
    pub fn url(&self) -> String {
        let places: Vec<_> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("redis+cluster://{}", places.join(","))
    }
}
