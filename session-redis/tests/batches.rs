//! Operations that share a command with others: expired and damaged sessions among them, callers that leave
//! while it is under way, and answers that are lost.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed test says so by panicking

mod support;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use session_conformance::servers::redis::{RedisProgram, RedisServer};
use session_core::{
    Created, ErrorKind, Record, Result, Revision, Saved, SessionKey, SessionStore as _, Timestamp, Touched,
};
use session_redis::{RedisConfig, RedisStore};
use tokio::task::JoinHandle;

use crate::support::proxy::Proxy;
use crate::support::{LONG, key, put, record, server, start};

const MANY: usize = 40;

/// A store that sends one operation of a kind by itself, and all that come meanwhile as one batch.
fn narrow(url: String) -> Arc<RedisStore> {
    Arc::new(RedisStore::new(RedisConfig::new(url).with_places(1)).unwrap())
}

/// A record that no other one equals.
fn unlike(at: usize, owner: Option<&str>) -> Record {
    Record { payload: format!("session {at}").into_bytes().into(), ..record(owner, LONG) }
}

async fn stored(store: &RedisStore) -> Vec<(SessionKey, Record)> {
    let mut all = Vec::new();
    for at in 0..MANY {
        let (key, first) = (key(), unlike(at, None));
        put(store, key, &first).await;
        all.push((key, first));
    }
    all
}

fn next(before: &Record) -> Record {
    Record { revision: Revision::generate().unwrap(), ..before.clone() }
}

/// Begins all at once, has every third caller leave when the batch was sent and is not yet answered, and
/// returns what the others were told.
async fn some_leave<T>(proxy: &Proxy, calls: Vec<JoinHandle<T>>) -> Vec<Option<T>> {
    proxy.holds().await;
    for call in calls.iter().skip(1).step_by(3) {
        call.abort();
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    proxy.release();
    let told: Vec<_> = join_all(calls).await.into_iter().map(Result::ok).collect();
    assert!(told.iter().enumerate().all(|(at, outcome)| at % 3 == 1 || outcome.is_some()));
    // The first of a kind goes by itself, and may have been answered.
    let left = told.iter().filter(|outcome| outcome.is_none()).count();
    assert!(left > MANY / 3 - 2, "only {left} have left");
    told
}

async fn who_stays_is_told_what_became_of_its_own(server: &RedisServer) {
    let proxy = Proxy::start(server.port());
    let store = narrow(proxy.url());
    let all = stored(&store).await;
    // The server learns the script.
    for _ in 0..2 {
        join_all(all.iter().map(|(key, first)| store.save(*key, first.revision, first))).await;
    }

    proxy.hold_after(1);
    let loads = all.iter().map(|(key, _)| {
        let (store, key) = (Arc::clone(&store), *key);
        tokio::spawn(async move { store.load(key).await.unwrap() })
    });
    for (at, told) in some_leave(&proxy, loads.collect()).await.into_iter().enumerate() {
        assert!(told.is_none_or(|found| found.as_ref() == Some(&all[at].1)), "load {at}");
    }

    proxy.hold_after(1);
    let expected: Vec<_> = all
        .iter()
        .enumerate()
        .map(|(at, (_, first))| if at % 2 == 0 { first.revision } else { Revision::from_u64(1) })
        .collect();
    let saves = all.iter().zip(&expected).map(|((key, first), expected)| {
        let (store, key, expected, second) = (Arc::clone(&store), *key, *expected, next(first));
        tokio::spawn(async move { (store.save(key, expected, &second).await.unwrap(), second) })
    });
    for (at, told) in some_leave(&proxy, saves.collect()).await.into_iter().enumerate() {
        let Some((saved, second)) = told else { continue };
        let (wanted, is) = if at % 2 == 0 { (Saved::Stored, &second) } else { (Saved::Conflict, &all[at].1) };
        assert_eq!(saved, wanted, "save {at}");
        assert_eq!(store.load(all[at].0).await.unwrap().as_ref(), Some(is), "save {at}");
    }

    proxy.hold_after(1);
    let creates = (0..MANY).map(|at| {
        let (store, key) = (Arc::clone(&store), if at % 2 == 0 { key() } else { all[at].0 });
        tokio::spawn(async move { (key, store.create(key, &unlike(at, None)).await.unwrap()) })
    });
    for (at, told) in some_leave(&proxy, creates.collect()).await.into_iter().enumerate() {
        let Some((key, created)) = told else { continue };
        assert_eq!(created, if at % 2 == 0 { Created::Stored } else { Created::Occupied }, "create {at}");
        assert!(store.load(key).await.unwrap().is_some(), "create {at}");
    }
}

#[tokio::test]
async fn who_stays_when_others_leave_is_told_what_became_of_its_own_on_redis() {
    let Some(server) = server() else { return };
    who_stays_is_told_what_became_of_its_own(&server).await;
}

#[tokio::test]
async fn who_stays_when_others_leave_is_told_what_became_of_its_own_on_valkey() {
    let Some(server) = start(RedisProgram::valkey()) else { return };
    who_stays_is_told_what_became_of_its_own(&server).await;
}

/// The first went by itself and was answered, the others did not hear what became of them.
fn all_but_the_first_are_lost<T: Debug + PartialEq>(outcomes: Vec<Result<T>>, first: T) {
    let mut outcomes = outcomes.into_iter().map(|outcome| outcome.map_err(|error| error.kind()));
    assert_eq!(outcomes.next(), Some(Ok(first)));
    for (at, outcome) in outcomes.enumerate() {
        assert_eq!(outcome, Err(ErrorKind::Unavailable), "operation {}", at + 1);
    }
}

/// A write that may have taken effect is not repeated: a create would find its own session, and say that the
/// key is taken.
async fn writes_whose_answers_are_lost_fail_and_loads_are_repeated(server: &RedisServer) {
    let proxy = Proxy::start(server.port());
    let store = narrow(proxy.url());
    let all = stored(&store).await;
    for _ in 0..2 {
        join_all(all.iter().map(|(key, first)| store.save(*key, first.revision, first))).await;
    }

    proxy.lose_after(1);
    let loads = join_all(all.iter().map(|(key, _)| store.load(*key))).await;
    for (at, (found, (_, first))) in loads.into_iter().zip(&all).enumerate() {
        assert_eq!(found.unwrap().as_ref(), Some(first), "load {at}");
    }

    proxy.lose_after(0);
    let alone = store.create(key(), &all[0].1).await.map_err(|error| error.kind());
    assert_eq!(alone, Err(ErrorKind::Unavailable), "by itself");
    // Connects again.
    assert!(store.load(all[0].0).await.unwrap().is_some());

    proxy.lose_after(1);
    let fresh: Vec<SessionKey> = all.iter().map(|_| key()).collect();
    let creates = join_all(fresh.iter().zip(&all).map(|(key, (_, first))| store.create(*key, first))).await;
    all_but_the_first_are_lost(creates, Created::Stored);
    let mut took_effect = 0;
    for (key, (_, first)) in fresh.iter().zip(&all) {
        let found = store.load(*key).await.unwrap();
        took_effect += usize::from(found.is_some());
        assert!(found.is_none_or(|found| found == *first));
    }
    assert!(took_effect > 1, "the batch never reached the server");

    // By a script, or by the command of a server that compares and sets.
    let mut before = Vec::new();
    for (key, _) in &all {
        before.push(store.load(*key).await.unwrap().unwrap());
    }
    let after: Vec<Record> = before.iter().map(next).collect();
    let changes: Vec<_> = all.iter().zip(before.iter().zip(&after)).collect();
    proxy.lose_after(1);
    let saves = changes.iter().map(|((key, _), (before, after))| store.save(*key, before.revision, after));
    all_but_the_first_are_lost(join_all(saves).await, Saved::Stored);
    for ((key, _), (before, after)) in changes {
        let found = store.load(*key).await.unwrap().unwrap();
        assert!(found == *before || found == *after, "{found:?}");
        // The caller may repeat it.
        assert_eq!(store.save(*key, before.revision, after).await.unwrap(), Saved::Stored);
    }
}

#[tokio::test]
async fn writes_whose_answers_are_lost_fail_and_loads_are_repeated_on_redis() {
    let Some(server) = server() else { return };
    writes_whose_answers_are_lost_fail_and_loads_are_repeated(&server).await;
}

#[tokio::test]
async fn writes_whose_answers_are_lost_fail_and_loads_are_repeated_on_valkey() {
    let Some(server) = start(RedisProgram::valkey()) else { return };
    writes_whose_answers_are_lost_fail_and_loads_are_repeated(&server).await;
}

fn name(key: SessionKey) -> String {
    format!("session:{key}")
}

#[tokio::test]
async fn expired_sessions_in_a_batch_are_missing_and_their_keys_are_free() {
    let Some(server) = server() else { return };
    let store = narrow(server.url());
    let mut all = stored(&store).await;
    let expires_at = Timestamp::now().saturating_add(Duration::from_millis(300));
    for (at, (key, first)) in all.iter_mut().enumerate().filter(|(at, _)| at % 2 == 1) {
        let owner = [None, Some("ann")][at / 2 % 2];
        let brief = Record { expires_at, ..unlike(at, owner) };
        assert_eq!(store.save(*key, first.revision, &brief).await.unwrap(), Saved::Stored);
        // The key of such a record goes with the millisecond after its end. Here it stays, to be met.
        let until = (expires_at.as_millis() + 1_000).to_string();
        server.command(&[b"PEXPIREAT", name(*key).as_bytes(), until.as_bytes()]).unwrap();
        *first = brief;
    }
    tokio::time::sleep(Duration::from_millis(320)).await;

    let loads = join_all(all.iter().map(|(key, _)| store.load(*key))).await;
    for (at, found) in loads.into_iter().enumerate() {
        assert_eq!(found.unwrap().as_ref(), Some(&all[at].1).filter(|_| at % 2 == 0), "load {at}");
    }
    let touches = all.iter().map(|(key, first)| store.touch(*key, first.revision, Timestamp::MAX));
    for (at, touched) in join_all(touches).await.into_iter().enumerate() {
        assert_eq!(touched.unwrap(), [Touched::Stored, Touched::Missing][at % 2], "touch {at}");
    }
    let seconds: Vec<Record> =
        all.iter().map(|(_, first)| Record { expires_at: Timestamp::MAX, ..next(first) }).collect();
    let saves =
        all.iter().zip(&seconds).map(|((key, first), second)| store.save(*key, first.revision, second));
    for (at, saved) in join_all(saves).await.into_iter().enumerate() {
        assert_eq!(saved.unwrap(), [Saved::Stored, Saved::Missing][at % 2], "save {at}");
    }
    let met = server.command(&[b"EXISTS", name(all[1].0).as_bytes()]).unwrap().text();
    assert_eq!(met, "1", "too slow: the batches met no expired session");
    let creates = all.iter().zip(&seconds).map(|((key, _), second)| store.create(*key, second));
    for (at, created) in join_all(creates).await.into_iter().enumerate() {
        assert_eq!(created.unwrap(), [Created::Occupied, Created::Stored][at % 2], "create {at}");
    }
}

#[tokio::test]
async fn a_damaged_session_in_a_batch_is_an_error_of_its_own() {
    let Some(server) = server() else { return };
    let store = narrow(server.url());
    let all = stored(&store).await;
    // Every fourth is not the one that its checksum is of, every fourth does not even begin like a session.
    for (at, (key, _)) in all.iter().enumerate().filter(|(at, _)| at % 2 == 1) {
        let place = if at % 4 == 1 { b"35".as_slice() } else { b"0" };
        server.command(&[b"SETRANGE", name(*key).as_bytes(), place, b"\x7f"]).unwrap();
    }
    let kind = |outcome: Result<()>| outcome.err().map(|error| error.kind());
    let wrong = |at: usize, wrong: &[usize]| wrong.contains(&(at % 4)).then_some(ErrorKind::Corrupt);
    for (at, found) in join_all(all.iter().map(|(key, _)| store.load(*key))).await.into_iter().enumerate() {
        let found = found.map(|found| assert_eq!(found.as_ref(), Some(&all[at].1), "load {at}"));
        assert_eq!(kind(found), wrong(at, &[1, 3]), "load {at}");
    }
    let touches = all.iter().map(|(key, first)| store.touch(*key, first.revision, first.expires_at));
    for (at, touched) in join_all(touches).await.into_iter().enumerate() {
        let touched = touched.map(|touched| assert_eq!(touched, Touched::Stored));
        assert_eq!(kind(touched), wrong(at, &[3]), "touch {at}");
    }
    for (at, created) in
        join_all(all.iter().map(|(key, first)| store.create(*key, first))).await.into_iter().enumerate()
    {
        assert_eq!(created.unwrap(), Created::Occupied, "create {at}");
    }
    let second = unlike(MANY, None);
    let saves = all.iter().map(|(key, first)| store.save(*key, first.revision, &second));
    for (at, saved) in join_all(saves).await.into_iter().enumerate() {
        let saved = saved.map(|saved| assert_eq!(saved, Saved::Stored));
        assert_eq!(kind(saved), wrong(at, &[3]), "save {at}");
    }
    for (at, found) in join_all(all.iter().map(|(key, _)| store.load(*key))).await.into_iter().enumerate() {
        let found = found.map(|found| assert_eq!(found.as_ref(), Some(&second), "load {at}"));
        assert_eq!(kind(found), wrong(at, &[3]), "load {at}");
    }
}
