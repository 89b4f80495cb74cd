//! One of the example's programs, on a free port, until it is dropped.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Program {
    process: Child,
    address: SocketAddr,
}

impl Program {
    /// `program` is the path of a binary that cargo built.
    pub(crate) fn start(program: &str, arguments: &[&str]) -> Self {
        let mut process = Command::new(program)
            .args(["--listen", "127.0.0.1:0"])
            // Some keep their sessions in a file of this directory.
            .current_dir(env!("CARGO_TARGET_TMPDIR"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.strip_prefix("listening on http://").expect(&line).split(' ').next().unwrap();
        Self { address: address.parse().unwrap(), process }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One request on a connection of its own; the whole answer.
pub(crate) fn request(to: SocketAddr, method: &str, path: &str, cookie: &str) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let cookie = if cookie.is_empty() { String::new() } else { format!("Cookie: {cookie}\r\n") };
    let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{cookie}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
