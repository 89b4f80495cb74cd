//! Operations that wait for the server go together, and each has an answer of its own.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed test says so by panicking

mod support;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join_all;
use session_conformance::servers::redis::{RedisProgram, RedisServer};
use session_core::{
    Created, ErrorKind, Owner, Record, Result, Revision, Saved, SessionKey, SessionStore as _, Timestamp,
};
use session_redis::{RedisConfig, RedisStore};

use crate::support::{LONG, commands, key, loaded, open, put, record, server, start};

/// More than go by themselves.
const MANY: usize = 60;

/// A store that sends one of a kind by itself at a time.
fn narrow(server: &RedisServer) -> RedisStore {
    RedisStore::new(RedisConfig::new(server.url()).with_places(1)).unwrap()
}

fn next(payload: &[u8]) -> Record {
    Record { payload: payload.into(), ..record(None, LONG) }
}

async fn stored(store: &RedisStore, sessions: usize) -> Vec<(SessionKey, Record)> {
    let mut all = Vec::new();
    for at in 0..sessions {
        let (key, first) = (key(), next(format!("first of {at}").as_bytes()));
        put(store, key, &first).await;
        all.push((key, first));
    }
    all
}

/// Saves all at once.
async fn saved(store: &RedisStore, all: &[(SessionKey, Record)], second: &Record) -> Vec<Result<Saved>> {
    join_all(all.iter().map(|(key, first)| store.save(*key, first.revision, second))).await
}

async fn each_has_its_own_answer(server: &RedisServer) {
    let store = open(server.url());
    let mut all = stored(&store, MANY).await;
    let found = loaded(&store, all.iter().map(|(key, _)| *key).chain((0..MANY).map(|_| key()))).await;
    for (at, found) in found.into_iter().enumerate() {
        assert_eq!(found.as_ref(), all.get(at).map(|(_, first)| first), "session {at}");
    }

    // Of each six saves one is late, one is of a session that has ended, and in two rounds the owners of four
    // change.
    for (key, _) in all.iter().skip(1).step_by(6) {
        assert!(store.delete(*key).await.unwrap());
    }
    for owners in
        [[None, Some("ann"), Some("bob"), Some("cid")], [Some("ann"), None, Some("ann"), Some("cid")]]
    {
        let owner = |at: usize| owners[at % 6 - 2].map(|owner| Owner::new(owner).unwrap());
        let seconds: Vec<Record> = (0..MANY)
            .map(|at| Record {
                owner: if at % 6 < 2 { None } else { owner(at) },
                // The same, so that owners alone decide what has to be done by itself.
                expires_at: all[at].1.expires_at,
                ..next(format!("next of {at}").as_bytes())
            })
            .collect();
        let late = Revision::generate().unwrap();
        let saves = all.iter().zip(&seconds).enumerate().map(|(at, ((key, before), second))| {
            store.save(*key, if at % 6 == 0 { late } else { before.revision }, second)
        });
        for (at, saved) in join_all(saves).await.into_iter().enumerate() {
            let wanted = [Saved::Conflict, Saved::Missing, Saved::Stored][(at % 6).min(2)];
            assert_eq!(saved.unwrap(), wanted, "save {at}");
        }
        for (at, second) in seconds.into_iter().enumerate().filter(|(at, _)| at % 6 >= 2) {
            all[at].1 = second;
        }
        let found = loaded(&store, all.iter().map(|(key, _)| *key)).await;
        for (at, (found, (_, wanted))) in found.iter().zip(&all).enumerate() {
            assert_eq!(found.as_ref(), Some(wanted).filter(|_| at % 6 != 1), "session {at}");
        }
        for name in ["ann", "bob", "cid"] {
            let owner = Owner::new(name).unwrap();
            let owned = owners.iter().filter(|owner| **owner == Some(name)).count() * MANY / 6;
            let listed = store.list(Some(&owner), None, 100).await.unwrap().sessions;
            assert_eq!(listed.len(), owned, "{name}");
        }
    }

    // Of each pair of creates one is of a key that is taken.
    let taken = all[0].0;
    let created = (0..MANY).map(|at| {
        let (store, first, key) = (&store, record(None, LONG), if at % 2 == 0 { taken } else { key() });
        async move { store.create(key, &first).await.unwrap() }
    });
    for (at, created) in join_all(created).await.into_iter().enumerate() {
        assert_eq!(created == Created::Occupied, at % 2 == 0, "create {at}");
    }
}

#[tokio::test]
async fn each_has_its_own_answer_on_redis() {
    let Some(server) = server() else { return };
    each_has_its_own_answer(&server).await;
}

#[tokio::test]
async fn each_has_its_own_answer_on_valkey() {
    let Some(server) = start(RedisProgram::valkey()) else { return };
    each_has_its_own_answer(&server).await;
}

#[tokio::test]
async fn few_commands_are_sent() {
    let Some(server) = server() else { return };
    let store = narrow(&server);
    let all = stored(&store, 30).await;
    let seconds: Vec<Record> = all.iter().map(|_| record(None, LONG)).collect();
    let save = async |seconds: &[Record], firsts: &[Record]| {
        let saves = all
            .iter()
            .zip(firsts)
            .zip(seconds)
            .map(|(((key, _), first), second)| store.save(*key, first.revision, second));
        join_all(saves).await.into_iter().all(|saved| saved.unwrap() == Saved::Stored)
    };
    let firsts: Vec<Record> = all.iter().map(|(_, first)| first.clone()).collect();
    // The first time the server learns the scripts.
    assert!(save(&seconds, &firsts).await);

    let load = async { loaded(&store, all.iter().map(|(key, _)| *key)).await.iter().all(Option::is_some) };
    assert_eq!(commands(&server, load).await, ["GET", "MGET"]);
    assert_eq!(commands(&server, save(&firsts, &seconds)).await, ["EVALSHA", "EVALSHA"]);
    let fresh: Vec<SessionKey> = all.iter().map(|_| key()).collect();
    let create = async {
        let created = join_all(fresh.iter().map(|key| store.create(*key, &firsts[0]))).await;
        created.into_iter().all(|created| created.unwrap() == Created::Stored)
    };
    assert_eq!(commands(&server, create).await.len(), 30, "one SET each");

    // Sessions with an owner, whose expiry stays.
    let owned: Vec<Record> = all.iter().map(|_| record(Some("ann"), LONG)).collect();
    assert!(save(&owned, &firsts).await);
    let again = |owned: &Record| Record { revision: Revision::generate().unwrap(), ..owned.clone() };
    let again: Vec<Record> = owned.iter().map(again).collect();
    assert_eq!(commands(&server, save(&again, &owned)).await, ["EVALSHA", "EVALSHA"]);
    assert!(save(&firsts, &again).await);

    // What is large, or has to be confirmed by replicas, goes by itself.
    let large: Vec<Record> = firsts.iter().map(|_| next(&[7; 10_000])).collect();
    assert_eq!(commands(&server, save(&large, &firsts)).await, ["EVALSHA"; 30]);
    let careful = RedisConfig::new(server.url()).with_places(1).with_wait(1, Duration::from_millis(1));
    let careful = RedisStore::new(careful).unwrap();
    careful.prepare().await.unwrap();
    // The server looks ten times a second whether it has waited long enough.
    let unconfirmed = async {
        let saves = all
            .iter()
            .take(5)
            .zip(&large)
            .map(|((key, _), large)| careful.save(*key, large.revision, &firsts[0]));
        join_all(saves).await.into_iter().all(|saved| saved.unwrap_err().kind() == ErrorKind::Unavailable)
    };
    assert_eq!(commands(&server, unconfirmed).await, ["EVALSHA", "WAIT"].repeat(5));
}

type Saving<'s> = Pin<Box<dyn Future<Output = Result<Saved>> + Send + 's>>;

/// Saves of all, each of which waits for something.
async fn begun<'s>(
    store: &'s RedisStore,
    all: &'s [(SessionKey, Record)],
    second: &'s Record,
) -> Vec<Saving<'s>> {
    let mut saves: Vec<_> = all.iter().map(|(key, first)| store.save(*key, first.revision, second)).collect();
    // On this one thread nothing is answered before somebody waits for it.
    for save in &mut saves {
        let waits = poll_fn(|context| Poll::Ready(save.as_mut().poll(context).is_pending())).await;
        assert!(waits, "it is over already");
    }
    saves
}

#[tokio::test]
async fn a_save_that_nobody_waits_for_any_more_is_not_sent_and_the_others_are() {
    let Some(server) = server() else { return };
    let store = narrow(&server);
    let all = stored(&store, 10).await;
    let second = next(b"second");
    let mut saves = begun(&store, &all, &second).await;
    drop(saves.remove(5));
    assert!(join_all(saves).await.into_iter().all(|saved| saved.unwrap() == Saved::Stored));
    for (at, (key, first)) in all.into_iter().enumerate() {
        let wanted = if at == 5 { &first } else { &second };
        assert_eq!(store.load(key).await.unwrap().as_ref(), Some(wanted), "session {at}");
    }
}

#[tokio::test]
async fn the_first_that_is_dropped_takes_no_answer_of_others_with_it() {
    let Some(server) = server() else { return };
    let store = narrow(&server);
    let all = stored(&store, 10).await;
    let second = next(b"second");
    let mut saves = begun(&store, &all, &second).await;
    // It has the one place.
    drop(saves.remove(0));
    assert!(join_all(saves).await.into_iter().all(|saved| saved.unwrap() == Saved::Stored));
    let first = store.load(all[0].0).await.unwrap().unwrap();
    assert!([&all[0].1, &second].contains(&&first), "{first:?}");
}

#[tokio::test]
async fn scripts_are_told_again_while_many_wait() {
    let Some(server) = server() else { return };
    let store = open(server.url());
    let all = stored(&store, MANY).await;
    let seconds: Vec<Record> = all.iter().map(|_| record(None, LONG)).collect();
    for _ in 0..3 {
        server.command(&[b"SCRIPT", b"FLUSH"]).unwrap();
        let saves = all.iter().zip(&seconds).map(|((key, first), second)| async {
            let saved = store.save(*key, first.revision, second).await.unwrap();
            (saved, store.save(*key, second.revision, first).await.unwrap())
        });
        assert!(join_all(saves).await.into_iter().all(|saved| saved == (Saved::Stored, Saved::Stored)));
    }
}

async fn a_key_that_holds_something_else_is_an_error_for_its_own_session(server: &RedisServer) {
    let store = open(server.url());
    let all = stored(&store, MANY).await;
    let wrong = |at: usize| at == 40 || at == 50;
    for (key, _) in all.iter().enumerate().filter(|(at, _)| wrong(*at)).map(|(_, one)| one) {
        let name = format!("session:{key}");
        server.command(&[b"DEL", name.as_bytes()]).unwrap();
        server.command(&[b"LPUSH", name.as_bytes(), b"something else"]).unwrap();
    }
    let judge = |what: &str, at: usize, outcome: Result<()>| {
        let kind = outcome.err().map(|error| error.kind());
        assert_eq!(kind, wrong(at).then_some(ErrorKind::Corrupt), "{what} {at}");
    };
    for (at, found) in join_all(all.iter().map(|(key, _)| store.load(*key))).await.into_iter().enumerate() {
        judge("load", at, found.map(drop));
    }
    let second = next(b"second");
    for (at, saved) in saved(&store, &all, &second).await.into_iter().enumerate() {
        judge("save", at, saved.map(|saved| assert_eq!(saved, Saved::Stored)));
    }
    let creates = all.iter().map(|(key, _)| store.create(*key, &second));
    for (at, created) in join_all(creates).await.into_iter().enumerate() {
        judge("create", at, created.map(|created| assert_eq!(created, Created::Occupied)));
    }
}

#[tokio::test]
async fn a_key_that_holds_something_else_is_an_error_for_its_own_session_on_redis() {
    let Some(server) = server() else { return };
    a_key_that_holds_something_else_is_an_error_for_its_own_session(&server).await;
}

#[tokio::test]
async fn a_key_that_holds_something_else_is_an_error_for_its_own_session_on_valkey() {
    let Some(server) = start(RedisProgram::valkey()) else { return };
    a_key_that_holds_something_else_is_an_error_for_its_own_session(&server).await;
}

#[tokio::test]
async fn a_server_that_goes_away_fails_all_in_time_and_is_used_again_when_it_is_back() {
    let Some(server) = server() else { return };
    let store = open(server.url());
    let all = stored(&store, MANY).await;
    let second = next(b"second");
    server.process().pause().unwrap();
    let saves = saved(&store, &all, &second);
    let loads = join_all(all.iter().map(|(key, _)| store.load(*key)));
    let outcomes = async { tokio::join!(saves, loads) };
    // Both clocks are late on a busy machine, and `timeout` asks the operations first.
    let (saves, loads) =
        tokio::time::timeout(Duration::from_secs(2), outcomes).await.expect("answers in time");
    let errors = saves.into_iter().map(|saved| saved.unwrap_err());
    for error in errors.chain(loads.into_iter().map(|found| found.unwrap_err())) {
        assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout), "{error:?}");
    }
    server.process().kill().unwrap();
    let (saves, loads) =
        tokio::join!(saved(&store, &all, &second), join_all(all.iter().map(|(key, _)| store.load(*key))),);
    assert!(saves.iter().all(Result::is_err) && loads.iter().all(Result::is_err));

    server.restart().unwrap();
    let again = stored(&store, MANY).await;
    assert!(loaded(&store, again.iter().map(|(key, _)| *key)).await.iter().all(Option::is_some));
    assert!(saved(&store, &again, &second).await.into_iter().all(|saved| saved.unwrap() == Saved::Stored));
}

#[tokio::test]
async fn what_has_just_expired_is_not_found_by_looking_with_others() {
    let Some(server) = server() else { return };
    let store = narrow(&server);
    let (brief, mut keys) = (record(None, Duration::from_millis(300)), Vec::new());
    for _ in 0..20 {
        keys.push(key());
        put(&store, keys[keys.len() - 1], &brief).await;
    }
    let mut live = true;
    while live {
        let before = Timestamp::now();
        let found = loaded(&store, keys.iter().copied()).await;
        live = before < brief.expires_at;
        assert!(live || found.iter().all(Option::is_none), "{found:?}");
    }
}

#[tokio::test]
async fn a_full_server_refuses_all_and_changes_nothing() {
    let Some(server) = server() else { return };
    let store = narrow(&server);
    let all = stored(&store, 20).await;
    let second = next(b"second");
    let save = || saved(&store, &all, &second);
    let fresh: Vec<SessionKey> = all.iter().map(|_| key()).collect();
    let creates = join_all(fresh.iter().map(|key| store.create(*key, &second)));
    server.command(&[b"CONFIG", b"SET", b"maxmemory", b"1"]).unwrap();
    let errors = save().await.into_iter().map(Result::unwrap_err);
    for error in errors.chain(creates.await.into_iter().map(Result::unwrap_err)) {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    }
    server.command(&[b"CONFIG", b"SET", b"maxmemory", b"0"]).unwrap();
    let found = loaded(&store, all.iter().map(|(key, _)| *key)).await;
    assert!(found.iter().zip(&all).all(|(found, (_, first))| found.as_ref() == Some(first)));
    assert!(loaded(&store, fresh).await.iter().all(Option::is_none));
    assert!(save().await.into_iter().all(|saved| saved.unwrap() == Saved::Stored));
}
