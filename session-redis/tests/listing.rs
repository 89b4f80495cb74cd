//! Listings through several handles, of keys of every version, and with a damaged session among the others.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed test says so by panicking

mod support;

use std::time::Duration;

use session_conformance::servers::redis::{RedisCluster, RedisProgram, RedisServer};
use session_core::{Owner, Record, SessionKey, SessionStore as _};
use session_redis::RedisStore;
use uuid::{Builder, Version};

use crate::support::{LONG, found, key, open, put, record, server};

/// The sessions of `owner`, or all, page by page, each page from the next of the handles.
async fn listed(stores: &[&RedisStore], owner: Option<&Owner>, limit: usize) -> Vec<(SessionKey, Record)> {
    let (mut all, mut cursor) = (Vec::new(), None);
    for store in stores.iter().cycle() {
        let page = store.list(owner, cursor.as_ref(), limit).await.unwrap();
        all.extend(page.sessions);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    all.sort_unstable_by_key(|(key, _)| *key);
    all
}

async fn stored(store: &RedisStore, keys: impl IntoIterator<Item = SessionKey>) -> Vec<(SessionKey, Record)> {
    let mut all = Vec::new();
    for key in keys {
        let first = record(Some("ann"), LONG);
        put(store, key, &first).await;
        all.push((key, first));
    }
    all.sort_unstable_by_key(|(key, _)| *key);
    all
}

#[tokio::test]
async fn a_listing_goes_on_through_handles_that_did_not_begin_it() {
    let Some(server) = server() else { return };
    let (one, other) = (open(server.url()), open(server.url()));
    let all = stored(&one, (0..30).map(|_| key())).await;
    let ann = Owner::new("ann").unwrap();
    for owner in [None, Some(&ann)] {
        for limit in 1..=8 {
            let found = listed(&[&one, &other], owner, limit).await;
            assert!(found == all, "{} of 30 in pages of {limit}: {owner:?}", found.len());
        }
    }
}

#[tokio::test]
async fn keys_of_every_version_are_listed() {
    let Some(server) = server() else { return };
    let store = open(server.url());
    let versions = [Version::Random, Version::SortRand, Version::Custom];
    let keys = versions.map(|version| {
        let bytes = *SessionKey::generate().unwrap().as_bytes();
        SessionKey::try_from(Builder::from_bytes(bytes).with_version(version).into_uuid()).unwrap()
    });
    let all = stored(&store, keys).await;
    assert_eq!(listed(&[&store], None, 10).await, all);
    assert_eq!(listed(&[&store], Some(&Owner::new("ann").unwrap()), 10).await, all);
}

/// As after an eviction and whatever else may have happened to an index: it is the record that says whose a
/// session is.
async fn an_index_is_not_believed(servers: &[RedisServer], store: &RedisStore) {
    let (ann, hers) = (Owner::new("ann").unwrap(), key());
    put(store, hers, &record(Some("ann"), LONG)).await;
    // In the same slot, on a cluster.
    let mut bytes = *hers.as_bytes();
    bytes[3] ^= 1;
    let (his, record) =
        (SessionKey::try_from(Builder::from_bytes(bytes).into_uuid()).unwrap(), record(Some("bob"), LONG));
    put(store, his, &record).await;
    for server in servers {
        for index in server.command(&[b"KEYS", b"*owner:*"]).unwrap().list() {
            server.command(&[b"ZADD", index.text().as_bytes(), b"9e12", his.as_bytes()]).unwrap();
        }
    }
    assert_eq!(listed(&[store], Some(&ann), 10).await.len(), 1);
    assert_eq!(store.delete_owned(&ann, None).await.unwrap(), 1);
    assert_eq!(listed(&[store], None, 10).await, [(his, record)]);
}

#[tokio::test]
async fn an_index_is_not_believed_on_a_server() {
    let Some(server) = server() else { return };
    let store = open(server.url());
    an_index_is_not_believed(&[server], &store).await;
}

/// Changes bytes of a session, wherever it lies.
fn overwrite(servers: &[RedisServer], key: SessionKey, place: &[u8], bytes: &[u8]) {
    for server in servers {
        for name in server.command(&[b"KEYS", format!("*{key}").as_bytes()]).unwrap().list() {
            server.command(&[b"SETRANGE", name.text().as_bytes(), place, bytes]).unwrap();
        }
    }
}

/// One whose payload is not what was written, and one that does not even begin like a session, hide no others
/// and keep none alive.
async fn damaged_sessions_stand_in_nobodys_way(servers: &[RedisServer], store: &RedisStore) {
    let ann = Owner::new("ann").unwrap();
    let mut all = stored(store, (0..12).map(|_| key())).await;
    for (place, bytes) in [(b"35".as_slice(), b"\x7f".as_slice()), (b"0", b"\x7f")] {
        let (damaged, _) = all.remove(5);
        overwrite(servers, damaged, place, bytes);
        for owner in [None, Some(&ann)] {
            for limit in [1, 4, 100] {
                let found = listed(&[store], owner, limit).await;
                assert!(found == all, "{} of {} in pages of {limit}", found.len(), all.len());
            }
        }
    }
    let keep = all[3].0;
    // The owner of the first damaged one can still be read.
    assert_eq!(store.delete_owned(&ann, Some(keep)).await.unwrap(), 10);
    assert_eq!(listed(&[store], None, 100).await, all[3..4]);
}

#[tokio::test]
async fn damaged_sessions_stand_in_nobodys_way_on_a_server() {
    let Some(server) = server() else { return };
    let store = open(server.url());
    damaged_sessions_stand_in_nobodys_way(&[server], &store).await;
}

#[tokio::test]
async fn on_a_cluster_neither_damaged_sessions_nor_a_wrong_index_stand_in_the_way() {
    let Some(program) = found(RedisProgram::redis()) else { return };
    let cluster = RedisCluster::start(&program, 3, 0, Duration::from_secs(30)).unwrap();
    let store = open(cluster.url());
    an_index_is_not_believed(cluster.nodes(), &store).await;
    for node in cluster.nodes() {
        node.command(&[b"FLUSHALL"]).unwrap();
    }
    damaged_sessions_stand_in_nobodys_way(cluster.nodes(), &store).await;
}
