//! The binary itself, over TCP.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy does not take the helpers of a test for tests"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// The page, on a free port, until it is dropped.
struct Web {
    process: Child,
    address: SocketAddr,
}

impl Web {
    fn start(arguments: &[&str]) -> Self {
        let mut process = web()
            .args(["--listen", "127.0.0.1:0"])
            // Without arguments it keeps its sessions in a file of this directory.
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

    /// One request on a connection of its own; the whole answer.
    fn get(&self, path: &str, cookie: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: {cookie}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn web() -> Command {
    Command::new(env!("CARGO_BIN_EXE_web"))
}

fn visits(answer: &str) -> u64 {
    answer.split("id=\"visits\">").nth(1).expect(answer).split('<').next().unwrap().parse().unwrap()
}

#[test]
fn visits_over_many_connections_at_once_are_counted_once_each() {
    let web = Web::start(&[]);
    let first = web.get("/", "");
    let (_, cookie) = first.split_once("set-cookie: ").expect(&first);
    let cookie = cookie.split(';').next().unwrap();
    let mut numbers: Vec<u64> = std::thread::scope(|scope| {
        let browser = || (0..5).map(|_| visits(&web.get("/", cookie))).collect::<Vec<_>>();
        let browsers: Vec<_> = (0..8).map(|_| scope.spawn(browser)).collect();
        browsers.into_iter().flat_map(|browser| browser.join().unwrap()).collect()
    });
    numbers.sort_unstable();
    assert_eq!(numbers, (2..=41).collect::<Vec<u64>>());
}

#[test]
fn behind_https_the_cookie_is_the_safe_default() {
    let web = Web::start(&["--behind-https"]);
    let answer = web.get("/", "");
    assert!(answer.contains("set-cookie: __Host-session="), "{answer}");
    assert!(answer.contains("; Path=/; HttpOnly; Secure; SameSite=Lax\r\n"), "{answer}");
}

#[test]
fn what_cannot_work_is_said_before_the_page_starts() {
    for (arguments, wanted) in [
        (["--store", "carrier-pigeon://x"], "unknown storage \"carrier-pigeon\"; supported: memory:"),
        (["--listen", "nowhere"], "not an address and port"),
        (["--speed", "fast"], "unknown argument \"--speed\""),
    ] {
        let output = web().args(arguments).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && told.contains(wanted), "{told}");
    }
}
