//! The servers' protocol: as much of it as the tests need.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

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
/// As [`RedisServer::command`](super::RedisServer::command).
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

/// Sends a command to the server on `port`, on a connection of its own.
///
/// # Errors
/// As [`RedisServer::command`](super::RedisServer::command).
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
