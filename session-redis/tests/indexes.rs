//! The indexes of owners follow operations that go together.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed test says so by panicking

mod support;

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use session_conformance::servers::redis::{RedisProgram, RedisServer, Reply};
use session_core::{Owner, Record, Saved, SessionKey, SessionStore as _};
use session_redis::{RedisConfig, RedisStore};

use crate::support::{LONG, key, loaded, open, put, record, server, start};

/// More than go by themselves.
const SESSIONS: usize = 60;

fn indexes(server: &RedisServer) -> Vec<Reply> {
    server.command(&[b"KEYS", b"*owner:*"]).unwrap().list()
}

/// Which sessions stand in the indexes of owners, and until when.
fn indexed(server: &RedisServer) -> HashMap<SessionKey, i64> {
    let mut all = HashMap::new();
    for index in indexes(server) {
        let name = index.text();
        let range: [&[u8]; 5] = [b"ZRANGE", name.as_bytes(), b"0", b"-1", b"WITHSCORES"];
        for entry in server.command(&range).unwrap().list().chunks(2) {
            let [Reply::Bytes(member), score] = entry else { unreachable!("not an entry: {entry:?}") };
            let key = uuid::Uuid::from_slice(member).unwrap().try_into().unwrap();
            assert!(all.insert(key, score.text().parse().unwrap()).is_none(), "in two indexes");
        }
    }
    all
}

/// Whatever saves that go together change of owner and expiry.
async fn indexes_follow(server: &RedisServer) {
    let store = open(server.url());
    let (mut all, mut wanted) = (Vec::new(), HashMap::new());
    for at in 0..SESSIONS {
        let (key, first) = (key(), record([None, Some("ann")][at % 2], LONG));
        put(&store, key, &first).await;
        all.push((key, first));
    }
    // So that what a server with a compare-and-set needs is known.
    assert!(loaded(&store, all.iter().map(|(key, _)| *key)).await.iter().all(Option::is_some));
    let saves: Vec<_> = all
        .iter()
        .enumerate()
        .map(|(at, (key, first))| {
            let owner = [first.owner.clone(), first.owner.clone(), Some(Owner::new("bob").unwrap()), None];
            let later = first.expires_at.saturating_add(Duration::from_secs(at as u64 % 3));
            let second = Record { owner: owner[at / 2 % 4].clone(), expires_at: later, ..record(None, LONG) };
            if second.owner.is_some() {
                wanted.insert(*key, later.as_millis());
            }
            (*key, first.revision, second)
        })
        .collect();
    let saved = join_all(saves.iter().map(|(key, expected, second)| store.save(*key, *expected, second)));
    assert!(saved.await.into_iter().all(|saved| saved.unwrap() == Saved::Stored));
    assert_eq!(indexed(server), wanted);
    let found = loaded(&store, all.iter().map(|(key, _)| *key)).await;
    for (at, (found, (.., second))) in found.iter().zip(&saves).enumerate() {
        assert_eq!(found.as_ref(), Some(second), "session {at}");
    }
}

#[tokio::test]
async fn indexes_follow_on_redis() {
    let Some(server) = server() else { return };
    indexes_follow(&server).await;
}

#[tokio::test]
async fn indexes_follow_on_valkey() {
    let Some(server) = start(RedisProgram::valkey()) else { return };
    indexes_follow(&server).await;
}

#[tokio::test]
async fn sessions_that_lose_their_owner_leave_nothing_in_its_index() {
    let Some(server) = server() else { return };
    let store = RedisStore::new(RedisConfig::new(server.url()).with_places(1)).unwrap();
    let (mut all, nobodys) = (Vec::new(), record(None, LONG));
    for _ in 0..20 {
        let (key, first) = (key(), record(Some("ann"), LONG));
        put(&store, key, &first).await;
        all.push((key, first.revision));
    }
    assert_eq!(indexes(&server).len(), 1);
    let saves = all.iter().map(|(key, expected)| store.save(*key, *expected, &nobodys));
    assert!(join_all(saves).await.into_iter().all(|saved| saved.unwrap() == Saved::Stored));
    assert_eq!(indexes(&server).len(), 0);
}
