//! Sentinels that disagree.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed test says so by panicking

mod support;

use std::time::Duration;

use session_conformance::servers::redis::{RedisProgram, RedisSentinel, RedisServer, Reply, wait};
use session_core::SessionStore as _;

use crate::support::{LONG, found, key, open, put, record};

#[tokio::test]
async fn the_one_that_knows_of_the_latest_election_is_believed() {
    let Some(program) = found(RedisProgram::redis()) else { return };
    let servers = RedisSentinel::start(&program, 1, Duration::from_secs(60)).unwrap();
    servers.fail_over().unwrap();
    let port = servers.master().unwrap();
    let master = servers.nodes().iter().find(|node| node.port() == port).unwrap();
    let elsewhere = RedisServer::start(&program, &[]).unwrap();
    for sentinel in servers.sentinels() {
        // They hear of the election, and of its result, from each other.
        wait(|| Ok(servers.sentinels().iter().all(|one| known(one) == (port.to_string(), "1".to_owned()))))
            .unwrap();
        // Told anew, it knows of no election, and of a master that nobody else knows: until the others put it right.
        tell(sentinel, &elsewhere);
        let (store, key) = (open(servers.url()), key());
        put(&store, key, &record(None, LONG)).await;
        assert!(store.load(key).await.unwrap().is_some());
        assert_eq!(size(&elsewhere), Reply::Int(0));
        assert_ne!(size(master), Reply::Int(0));
        tell(sentinel, master);
    }
}

/// The port of the master that a Sentinel knows, and which election made it one.
fn known(sentinel: &RedisServer) -> (String, String) {
    let question: [&[u8]; 3] = [b"SENTINEL", b"MASTER", RedisSentinel::MASTER.as_bytes()];
    let fields: Vec<String> = sentinel.command(&question).unwrap().list().iter().map(Reply::text).collect();
    let field =
        |name: &str| fields.chunks(2).find(|pair| pair[0] == name).map(|pair| pair[1].clone()).unwrap();
    (field("port"), field("config-epoch"))
}

/// Has a Sentinel forget what it knows, and watch this master.
fn tell(sentinel: &RedisServer, master: &RedisServer) {
    let (name, port) = (RedisSentinel::MASTER.as_bytes(), master.port().to_string());
    sentinel.command(&[b"SENTINEL", b"REMOVE", name]).unwrap();
    sentinel.command(&[b"SENTINEL", b"MONITOR", name, b"127.0.0.1", port.as_bytes(), b"2"]).unwrap();
}

fn size(server: &RedisServer) -> Reply {
    server.command(&[b"DBSIZE"]).unwrap()
}
