//! What this backend alone has: scripts, keys that all expire, servers that go away, ways to reach one.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed test says so by panicking

mod support;

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use futures_util::future::join_all;
use session_conformance::servers::redis::{RedisCluster, RedisProgram, RedisServer, Reply};
use session_core::{
    Created, ErrorKind, Owner, Record, Revision, Saved, SessionKey, SessionStore, Timestamp, Touched,
};
use session_redis::RedisStore;

use crate::support::{LONG, commands, key, open, put, record, server, start};

/// Longer than the default timeout, on a machine that does other things, too.
const PATIENCE: Duration = Duration::from_secs(60);

/// Every operation once, on sessions with and without an owner, of which some end.
async fn a_bit_of_everything(store: &RedisStore, lasts: Duration) {
    for owner in [None, Some("ann"), Some("bob")] {
        let keys: Vec<_> = (0..6).map(|_| key()).collect();
        let first = record(owner, lasts);
        for &key in &keys {
            assert_eq!(store.create(key, &first).await.unwrap(), Created::Stored);
        }
        let next = record(Some("cid"), lasts);
        assert_eq!(store.save(keys[0], first.revision, &next).await.unwrap(), Saved::Stored);
        let later = first.expires_at.saturating_add(Duration::from_millis(50));
        assert_eq!(store.touch(keys[2], first.revision, later).await.unwrap(), Touched::Stored);
        assert!(store.delete(keys[3]).await.unwrap());
        let over = record(owner, Duration::ZERO);
        assert_eq!(store.save(keys[4], first.revision, &over).await.unwrap(), Saved::Stored);
    }
    let owner = Owner::new("bob").unwrap();
    assert_eq!(store.list(Some(&owner), None, 10).await.unwrap().sessions.len(), 3);
    assert_eq!(store.delete_owned(&owner, None).await.unwrap(), 3);
}

fn keys_of(server: &RedisServer) -> Vec<Reply> {
    server.command(&[b"KEYS", b"*"]).unwrap().list()
}

async fn nothing_is_left(servers: &[RedisServer]) {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        let left: Vec<_> = servers.iter().flat_map(keys_of).collect();
        let sizes = servers.iter().map(|server| server.command(&[b"DBSIZE"]).unwrap());
        if left.is_empty() && sizes.into_iter().all(|size| size == Reply::Int(0)) {
            return;
        }
        assert!(tokio::time::Instant::now() < end, "left behind: {left:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn every_key_expires(servers: &[RedisServer]) {
    let mut seen = 0;
    for server in servers {
        for name in keys_of(server) {
            let expiry = server.command(&[b"PEXPIRETIME", name.text().as_bytes()]).unwrap();
            assert!(matches!(expiry, Reply::Int(at) if at > 0), "{name:?} has the expiry {expiry:?}");
            seen += 1;
        }
    }
    assert!(seen > 5, "only {seen} keys were looked at");
}

async fn comes_and_goes(store: &RedisStore, servers: &[RedisServer]) {
    a_bit_of_everything(store, LONG).await;
    every_key_expires(servers);
    for server in servers {
        server.command(&[b"FLUSHALL"]).unwrap();
    }
    a_bit_of_everything(store, Duration::from_secs(5)).await;
    nothing_is_left(servers).await;
}

#[tokio::test]
async fn every_key_expires_and_nothing_is_left_when_all_have() {
    let Some(server) = server() else { return };
    let store = open(server.url());
    comes_and_goes(&store, &[server]).await;
}

#[tokio::test]
async fn on_a_cluster_every_key_expires_and_nothing_is_left_when_all_have() {
    let Ok(program) = RedisProgram::redis() else { return };
    let cluster = RedisCluster::start(&program, 3, 0, Duration::from_secs(30)).unwrap();
    let store = open(cluster.url());
    comes_and_goes(&store, cluster.nodes()).await;
}

#[tokio::test]
async fn an_index_that_lost_its_longest_session_expires_with_the_others() {
    let Some(server) = server() else { return };
    let store = open(server.url());
    let (short, long) = (key(), key());
    put(&store, short, &record(Some("ann"), Duration::from_millis(700))).await;
    put(&store, long, &record(Some("ann"), LONG)).await;
    store.delete(long).await.unwrap();
    nothing_is_left(&[server]).await;
}

#[tokio::test]
async fn an_index_lasts_as_long_as_its_longest_session_through_saves() {
    let Some(server) = server() else { return };
    let store = open(server.url());
    let (key, mut before) = (key(), record(Some("ann"), LONG));
    put(&store, key, &before).await;
    // Longer twice, then shorter.
    for lasts in [LONG * 2, LONG * 3, LONG] {
        let after = record(Some("ann"), lasts);
        assert_eq!(store.save(key, before.revision, &after).await.unwrap(), Saved::Stored);
        let index = keys_of(&server).into_iter().find(|name| name.text().contains("owner:")).unwrap();
        let (expires, scores) = (
            server.command(&[b"PEXPIRETIME", index.text().as_bytes()]).unwrap(),
            server.command(&[b"ZRANGE", index.text().as_bytes(), b"0", b"-1", b"WITHSCORES"]).unwrap().list(),
        );
        assert_eq!(expires, Reply::Int(after.expires_at.as_millis()));
        assert_eq!(scores[1].text(), after.expires_at.as_millis().to_string());
        before = after;
    }
}

#[tokio::test]
async fn an_evicted_index_grows_again_with_the_next_writes() {
    let Some(server) = server() else { return };
    let store = open(server.url());
    let (saved, touched, first) = (key(), key(), record(Some("ann"), LONG));
    put(&store, saved, &first).await;
    put(&store, touched, &first).await;
    for name in keys_of(&server).into_iter().filter(|name| name.text().contains("owner:")) {
        server.command(&[b"DEL", name.text().as_bytes()]).unwrap();
    }
    let owner = Owner::new("ann").unwrap();
    assert!(store.list(Some(&owner), None, 10).await.unwrap().sessions.is_empty());
    let outcome = store.save(saved, first.revision, &record(Some("ann"), LONG)).await.unwrap();
    assert_eq!(outcome, Saved::Stored);
    assert_eq!(store.touch(touched, first.revision, Timestamp::MAX).await.unwrap(), Touched::Stored);
    assert_eq!(store.list(Some(&owner), None, 10).await.unwrap().sessions.len(), 2);
}

#[tokio::test]
async fn scripts_are_told_again_to_a_server_that_forgot_them() {
    let Some(server) = server() else { return };
    let store = open(server.url());
    a_bit_of_everything(&store, LONG).await;
    server.command(&[b"SCRIPT", b"FLUSH"]).unwrap();
    a_bit_of_everything(&store, LONG).await;
    server.restart().unwrap();
    // The end of the old connection reaches this process by itself.
    tokio::time::sleep(Duration::from_millis(50)).await;
    a_bit_of_everything(&store, LONG).await;
}

#[tokio::test]
async fn every_operation_is_one_command() {
    let Some(server) = server() else { return };
    let store = open(server.url());
    // Connects, and teaches the server the scripts.
    a_bit_of_everything(&store, LONG).await;
    for owner in [None, Some("ann")] {
        let (a, first, next) = (key(), record(owner, LONG), record(owner, LONG));
        let create = async { store.create(a, &first).await.unwrap() == Created::Stored };
        let expected = if owner.is_none() { "SET" } else { "EVALSHA" };
        assert_eq!(commands(&server, create).await, [expected]);
        assert_eq!(commands(&server, async { store.load(a).await.unwrap().is_some() }).await, ["GET"]);
        let save = async { store.save(a, first.revision, &next).await.unwrap() == Saved::Stored };
        assert_eq!(commands(&server, save).await, ["EVALSHA"]);
        let touch = async { store.touch(a, next.revision, Timestamp::MAX).await.unwrap() == Touched::Stored };
        assert_eq!(commands(&server, touch).await, ["EVALSHA"]);
        assert_eq!(commands(&server, async { store.delete(a).await.unwrap() }).await, ["EVALSHA"]);
    }
    assert_eq!(commands(&server, async { store.now().await.is_ok() }).await, ["TIME"]);
    let owner = Owner::new("ann").unwrap();
    let end = async { store.delete_owned(&owner, None).await.unwrap() > 0 };
    assert_eq!(commands(&server, end).await, ["EVALSHA"]);
}

#[tokio::test]
async fn a_save_after_a_load_is_one_bare_command_where_the_server_compares_and_sets() {
    let Some(server) = start(RedisProgram::valkey()) else { return };
    let (store, other) = (open(server.url()), open(server.url()));
    for store in [&store, &other] {
        a_bit_of_everything(store, LONG).await;
    }
    let (a, first) = (key(), record(None, LONG));
    put(&store, a, &first).await;
    let again = || Record { revision: Revision::generate().unwrap(), ..first.clone() };
    let (second, third, fourth, fifth, sixth) = (again(), again(), again(), again(), again());
    let load = async |store: &RedisStore| store.load(a).await.unwrap().unwrap();
    let save = async |store: &RedisStore, before: &Record, after: &Record| {
        store.save(a, before.revision, after).await.unwrap()
    };

    assert_eq!(load(&store).await, first);
    let bare = async { save(&store, &first, &second).await == Saved::Stored };
    assert_eq!(commands(&server, bare).await, ["SET"]);
    let bare = async { save(&store, &second, &third).await == Saved::Stored };
    assert_eq!(commands(&server, bare).await, ["SET"], "what was written is known, too");
    assert_eq!(load(&other).await, third);

    // What is known is out of date, or not known: the script decides.
    assert_eq!(other.touch(a, third.revision, Timestamp::MAX).await.unwrap(), Touched::Stored);
    let touched = async { save(&store, &third, &fourth).await == Saved::Stored };
    assert_eq!(commands(&server, touched).await, ["SET", "EVALSHA"]);
    let unknown = async { save(&other, &fourth, &fifth).await == Saved::Stored };
    assert_eq!(commands(&server, unknown).await, ["EVALSHA"]);
    assert_eq!(save(&other, &fourth, &fifth).await, Saved::Stored, "the same again");
    assert_eq!(load(&store).await, fifth);
    assert_eq!(save(&other, &fifth, &sixth).await, Saved::Stored);
    let late = async { save(&store, &fifth, &second).await == Saved::Conflict };
    assert_eq!(commands(&server, late).await, ["SET", "EVALSHA"]);
    assert_eq!(load(&store).await, sixth);
    assert!(other.delete(a).await.unwrap());
    assert_eq!(save(&store, &sixth, &second).await, Saved::Missing);
    assert_eq!(store.load(a).await.unwrap(), None);
}

/// Each operation ends by its own clock, after 1.8 seconds, before the 2 seconds of `[F1]` are over. On a busy machine
/// both clocks are late, and `timeout` asks the operation first.
async fn fails_in_time(store: &RedisStore) {
    let first = record(None, LONG);
    let (key, limit) = (key(), Duration::from_secs(2));
    let load = async { store.load(key).await.map(drop) };
    let create = async { store.create(key, &first).await.map(drop) };
    let save = async { store.save(key, first.revision, &first).await.map(drop) };
    let delete = async { store.delete(key).await.map(drop) };
    let list = async { store.list(None, None, 10).await.map(drop) };
    let outcomes = [
        tokio::time::timeout(limit, load).await,
        tokio::time::timeout(limit, create).await,
        tokio::time::timeout(limit, save).await,
        tokio::time::timeout(limit, delete).await,
        tokio::time::timeout(limit, list).await,
    ];
    for outcome in outcomes {
        let kind = outcome.expect("an answer in time").expect_err("nobody is there").kind();
        assert!(matches!(kind, ErrorKind::Unavailable | ErrorKind::Timeout), "{kind:?}");
    }
}

#[tokio::test]
async fn a_frozen_server_is_an_error_in_time_and_works_again_when_it_goes_on() {
    let Some(server) = server() else { return };
    let store = open(server.url());
    let (key, first) = (key(), record(None, LONG));
    put(&store, key, &first).await;
    server.process().pause().unwrap();
    fails_in_time(&store).await;
    server.process().resume().unwrap();
    // The delete above may have reached the server, which then carried it out.
    assert!([None, Some(first)].contains(&store.load(key).await.unwrap()));
    put(&store, SessionKey::generate().unwrap(), &record(None, LONG)).await;
}

#[tokio::test]
async fn a_server_that_is_gone_is_an_error_and_works_again_when_it_is_back() {
    let Some(server) = server() else { return };
    let store = open(server.url());
    put(&store, key(), &record(None, LONG)).await;
    server.process().kill().unwrap();
    fails_in_time(&store).await;
    server.restart().unwrap();
    assert_eq!(store.create(key(), &record(None, LONG)).await.unwrap(), Created::Stored);
}

#[tokio::test]
async fn a_restart_between_two_operations_is_not_noticed() {
    let Some(server) = server() else { return };
    let store = open(server.url());
    for _ in 0..5 {
        assert_eq!(store.create(key(), &record(None, LONG)).await.unwrap(), Created::Stored);
        server.restart().unwrap();
        // The end of the old connection reaches this process by itself.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_port_that_swallows_everything_is_an_error_in_time() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let store = open(format!("redis://{}", listener.local_addr().unwrap()));
    fails_in_time(&store).await;
}

#[tokio::test]
async fn a_server_is_reached_through_a_socket_with_a_user_and_a_database() {
    let Some(server) = server() else { return };
    // The rights that docs/operations.md names.
    let rights = "~session:* +get +mget +set +del +getrange +setrange +pexpireat +pexpiretime +zadd +zrem \
        +zrange +zremrangebyscore +scan +time +ping +info +evalsha +script|load +select";
    let ann = ["ACL", "SETUSER", "ann", "on", ">p@ss:w/rd"].into_iter().chain(rights.split_whitespace());
    server.command(&ann.map(str::as_bytes).collect::<Vec<_>>()).unwrap();
    server.command(&[b"ACL", b"SETUSER", b"default", b"resetpass", b">other"]).unwrap();
    let socket = server.socket();
    let by_socket = open(format!("redis+unix://{}?db=3&user=ann&pass=p%40ss:w/rd", socket.display()));
    let by_port = open(format!("redis://ann:p%40ss%3Aw%2Frd@127.0.0.1:{}/3", server.port()));
    let elsewhere = open(format!("redis://ann:p%40ss%3Aw%2Frd@127.0.0.1:{}/4", server.port()));
    let (key, first) = (key(), record(None, LONG));
    by_socket.prepare().await.unwrap();
    put(&by_socket, key, &first).await;
    assert_eq!(by_port.load(key).await.unwrap(), Some(first));
    assert_eq!(elsewhere.load(key).await.unwrap(), None);
    a_bit_of_everything(&by_port, LONG).await;
    assert!(!by_port.list(None, None, 10).await.unwrap().sessions.is_empty());
    for found in join_all((0..40).map(|_| by_socket.load(key))).await {
        assert!(found.unwrap().is_some());
    }
    let admin = redis::Client::open(format!("redis://:other@127.0.0.1:{}", server.port())).unwrap();
    let denied: Vec<redis::Value> =
        redis::cmd("ACL").arg("LOG").query(&mut admin.get_connection().unwrap()).unwrap();
    assert!(denied.is_empty(), "{denied:?}");

    let stranger = open(format!("redis://ann:wrong@127.0.0.1:{}", server.port()));
    let error = stranger.prepare().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error:?}");
    assert!(!format!("{stranger:?} {error:?} {error}").contains("wrong"));
}

#[tokio::test]
async fn a_full_server_refuses_writes_and_changes_nothing() {
    let Some(server) = server() else { return };
    server.command(&[b"CONFIG", b"SET", b"maxmemory", b"1"]).unwrap();
    let store = open(server.url());
    let error = store.create(key(), &record(Some("ann"), LONG)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(keys_of(&server).is_empty());
}
