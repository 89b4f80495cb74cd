//! What the tests of this backend share.
#![allow(dead_code, reason = "each test target uses a part")]

pub(crate) mod proxy;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use futures_util::future::join_all;
use session_conformance::Missing;
use session_conformance::servers::redis::{RedisProgram, RedisServer};
use session_core::{Created, Owner, Record, Revision, SessionKey, SessionStore, Timestamp};
use session_redis::{RedisConfig, RedisStore};

pub(crate) const LONG: Duration = Duration::from_secs(600);

/// A server, or a word about why there is none.
pub(crate) fn server() -> Option<RedisServer> {
    start(RedisProgram::redis())
}

pub(crate) fn start(program: Result<RedisProgram, Missing>) -> Option<RedisServer> {
    found(program).map(|program| RedisServer::start(&program, &[]).unwrap())
}

/// The program, or a word about why there is none.
pub(crate) fn found(program: Result<RedisProgram, Missing>) -> Option<RedisProgram> {
    program
        .inspect_err(|missing| {
            assert!(std::env::var_os("SESSION_REQUIRE").is_none(), "{missing}");
            eprintln!("ignored: {missing}");
        })
        .ok()
}

pub(crate) fn open(url: impl Into<String>) -> RedisStore {
    RedisStore::new(RedisConfig::new(url)).unwrap()
}

pub(crate) fn key() -> SessionKey {
    SessionKey::generate().unwrap()
}

pub(crate) fn record(owner: Option<&str>, lasts: Duration) -> Record {
    Record {
        revision: Revision::generate().unwrap(),
        owner: owner.map(|owner| Owner::new(owner).unwrap()),
        created_at: Timestamp::now(),
        expires_at: Timestamp::now().saturating_add(lasts),
        payload: b"payload".as_slice().into(),
    }
}

pub(crate) async fn put(store: &RedisStore, key: SessionKey, record: &Record) {
    assert_eq!(store.create(key, record).await.unwrap(), Created::Stored);
}

/// Looks for all at once.
pub(crate) async fn loaded(
    store: &RedisStore,
    keys: impl IntoIterator<Item = SessionKey>,
) -> Vec<Option<Record>> {
    join_all(keys.into_iter().map(|key| store.load(key))).await.into_iter().map(Result::unwrap).collect()
}

/// The commands that clients send while `work` is done; what scripts do is left out.
pub(crate) async fn commands(server: &RedisServer, work: impl Future<Output = bool>) -> Vec<String> {
    let mut monitor = BufReader::new(TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap());
    monitor.get_mut().write_all(b"MONITOR\r\n").unwrap();
    let mut line = String::new();
    monitor.read_line(&mut line).unwrap();
    assert_eq!(line, "+OK\r\n");
    assert!(work.await);
    server.command(&[b"ECHO", b"the end"]).unwrap();
    let mut seen = Vec::new();
    loop {
        line.clear();
        monitor.read_line(&mut line).unwrap();
        // +1700000000.123456 [0 127.0.0.1:12345] "GET" "..", or [0 lua] from a script.
        let (from, command) = line.split_once("] ").unwrap();
        let name = command.split('"').nth(1).unwrap().to_ascii_uppercase();
        match name.as_str() {
            "ECHO" => return seen,
            _ if from.ends_with("lua") => {}
            _ => seen.push(name),
        }
    }
}
