//! What becomes of sessions and indexes on a server that is full, by its eviction policy.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed test says so by panicking

mod support;

use std::collections::HashMap;
use std::time::Duration;

use session_conformance::servers::redis::{RedisProgram, RedisServer};
use session_core::{Created, ErrorKind, Owner, Record, Revision, SessionKey, SessionStore as _, Timestamp};
use session_redis::{RedisConfig, RedisStore};

use crate::support::found;

const OWNERS: u64 = 200;
/// More than fit.
const SESSIONS: u64 = 3_000;

/// What was seen of the sessions that the server took.
#[derive(Debug, Default)]
struct Seen {
    refused: u64,
    stored: usize,
    live: usize,
    /// Of the live ones, those that the list of their owner leaves out.
    unlisted: usize,
    evicted: u64,
    /// Live after the sessions of every owner were ended, since their owner's index had been thrown out.
    survived: usize,
}

fn record(n: u64) -> Record {
    Record {
        revision: Revision::generate().unwrap(),
        owner: Some(owner(n % OWNERS)),
        created_at: Timestamp::now(),
        // Lives of half an hour to an hour, in no order.
        expires_at: Timestamp::now().saturating_add(Duration::from_secs(1_800 + n * 7_919 % 1_800)),
        payload: vec![7; 1_000].into(),
    }
}

fn owner(n: u64) -> Owner {
    Owner::new(format!("owner {n}")).unwrap()
}

async fn live(store: &RedisStore, stored: &[SessionKey]) -> HashMap<SessionKey, Record> {
    let mut live = HashMap::new();
    for &key in stored {
        live.extend(store.load(key).await.unwrap().map(|record| (key, record)));
    }
    live
}

async fn fill_a_server(program: &RedisProgram, policy: &str) -> Seen {
    let server = RedisServer::start(program, &["--maxmemory", "3mb", "--maxmemory-policy", policy]).unwrap();
    let store = RedisStore::new(RedisConfig::new(server.url())).unwrap();
    let (mut seen, mut stored) = (Seen::default(), Vec::new());
    for n in 0..SESSIONS {
        let key = SessionKey::generate().unwrap();
        match store.create(key, &record(n)).await {
            Ok(outcome) => {
                assert_eq!(outcome, Created::Stored);
                stored.push(key);
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{policy}: {error:?}");
                seen.refused += 1;
            }
        }
    }
    seen.stored = stored.len();
    let sessions = live(&store, &stored).await;
    seen.live = sessions.len();
    let mut listed = 0;
    for owner in (0..OWNERS).map(owner) {
        for (key, record) in store.list(Some(&owner), None, 256).await.unwrap().sessions {
            assert_eq!(sessions.get(&key), Some(&record), "{policy}: listed, and not live");
            assert_eq!(record.owner.as_ref(), Some(&owner), "{policy}");
            listed += 1;
        }
    }
    seen.unlisted = sessions.len() - listed;
    let stats = server.command(&[b"INFO", b"stats"]).unwrap().text();
    let evicted = stats.lines().find_map(|line| line.strip_prefix("evicted_keys:")).unwrap();
    seen.evicted = evicted.trim().parse().unwrap();
    for owner in (0..OWNERS).map(owner) {
        store.delete_owned(&owner, None).await.unwrap();
    }
    seen.survived = live(&store, &stored).await.len();
    println!("{policy}: {seen:?}");
    seen
}

#[tokio::test]
async fn a_full_server_loses_sessions_and_finds_all_of_an_owners_as_its_policy_says() {
    let Some(program) = found(RedisProgram::redis()) else { return };
    let seen = fill_a_server(&program, "noeviction").await;
    assert!(seen.refused > 0 && seen.evicted == 0);
    assert_eq!(
        (seen.live, seen.unlisted, seen.survived),
        (seen.stored, 0, 0),
        "nobody is signed out or missed"
    );
    for policy in [
        "allkeys-lru",
        "allkeys-lfu",
        "allkeys-random",
        "volatile-lru",
        "volatile-lfu",
        "volatile-random",
        "volatile-ttl",
    ] {
        let seen = fill_a_server(&program, policy).await;
        assert!(seen.evicted > 0 && seen.live < seen.stored, "{policy}: sessions were lost: {seen:?}");
        assert!(seen.survived <= seen.live, "{policy}: {seen:?}");
    }
}
