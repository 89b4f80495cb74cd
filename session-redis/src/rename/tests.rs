//! A rename whose client stops after each of its steps.

use std::time::Duration;

use session_conformance::servers::redis::{RedisCluster, RedisProgram};
use session_core::{Created, SessionId, SessionStore as _, Timestamp};

use super::*;
use crate::{RedisConfig, RedisStore};

/// How far a client got before it stopped.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stop {
    Prepared,
    Committed,
    Finished,
}

const STOPS: [Stop; 3] = [Stop::Prepared, Stop::Committed, Stop::Finished];

struct Scene {
    /// Who looks on: a handle that did not take part.
    other: RedisStore,
    from: SessionKey,
    to: SessionKey,
    old: Record,
    new: Record,
    owner: Owner,
    store: RedisStore,
    work: Move,
}

fn record(owner: &Owner) -> Record {
    Record {
        revision: Revision::generate().unwrap(),
        owner: Some(owner.clone()),
        created_at: Timestamp::now(),
        expires_at: Timestamp::now().saturating_add(Duration::from_secs(600)),
        payload: Arc::from(&b"payload"[..]),
    }
}

/// A rename between two shards, stopped there.
async fn stopped(url: &str, stop: Stop) -> Scene {
    let open = || RedisStore::new(RedisConfig::new(url)).unwrap();
    let (store, other) = (open(), open());
    let from = SessionId::generate().unwrap().key();
    let to = loop {
        let key = SessionId::generate().unwrap().key();
        if key.as_bytes()[0] != from.as_bytes()[0] {
            break key;
        }
    };
    let owner = Owner::new(from.to_string()).unwrap();
    let (old, new) = (record(&owner), record(&owner));
    assert_eq!(store.create(from, &old).await.unwrap(), Created::Stored);
    let parts = store.inner().parts(&new).unwrap();
    let work = Move {
        from,
        to,
        expected: old.revision,
        owner: Some(owner.clone()),
        record: parts.record,
        key_expiry: parts.key_expiry,
        expires_at: parts.expires_at,
    };
    let deadline = store.inner().router.deadline();
    let Prepared::Attempt(attempt) = store.inner().prepare_rename(&work, deadline).await.unwrap() else {
        panic!("the new key is taken")
    };
    if stop != Stop::Prepared {
        let committed = store.inner().commit_rename(&work, attempt, deadline).await.unwrap();
        assert!(matches!(committed, Answer::Stored), "{committed:?}");
    }
    if stop == Stop::Finished {
        let name = store.inner().layout.session(to);
        let mark = layout::mark(from, attempt);
        store.inner().script(to, &script::RENAME_FINISH, &[&name], &[&mark], deadline).await.unwrap();
    }
    Scene { other, from, to, old, new, owner, store, work }
}

impl Scene {
    /// What is live at both keys.
    async fn both(&self) -> (Option<Record>, Option<Record>) {
        (self.other.load(self.from).await.unwrap(), self.other.load(self.to).await.unwrap())
    }

    async fn listed(&self) -> Vec<(SessionKey, Record)> {
        self.other.list(Some(&self.owner), None, 10).await.unwrap().sessions
    }
}

/// The servers' start takes longer than all else: one cluster for all scenes.
async fn on_a_cluster(test: impl AsyncFn(&str)) {
    let Ok(program) = RedisProgram::redis() else {
        eprintln!("ignored: redis-server is not installed");
        return;
    };
    let cluster = RedisCluster::start(&program, 3, 0, Duration::from_secs(30)).unwrap();
    test(&cluster.url()).await;
}

#[tokio::test]
async fn wherever_the_client_stops_the_session_is_at_exactly_one_key() {
    on_a_cluster(async |url| {
        for stop in STOPS {
            let scene = stopped(url, stop).await;
            let (before, after) = (scene.old.clone(), scene.new.clone());
            let moved = stop != Stop::Prepared;
            let expected = if moved { (None, Some(after.clone())) } else { (Some(before.clone()), None) };
            // The lists first, and each reader twice: the first one may complete the rename.
            let place = if moved { (scene.to, after) } else { (scene.from, before) };
            assert_eq!(scene.listed().await, std::slice::from_ref(&place), "{stop:?}");
            assert_eq!(scene.both().await, expected, "{stop:?}");
            assert_eq!(scene.both().await, expected, "{stop:?}");
            assert_eq!(scene.listed().await, [place], "{stop:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn who_looks_at_both_keys_while_a_rename_ends_does_not_find_the_session_at_neither() {
    on_a_cluster(async |url| {
        for stop in [Stop::Prepared, Stop::Committed] {
            let scene = stopped(url, stop).await;
            let (inner, deadline) = (scene.other.inner(), scene.other.inner().router.deadline());
            // A reader has looked at the new key; before it looks at the old one, the rename ends and is forgotten.
            let seen = inner.get(scene.to, deadline).await.unwrap().unwrap();
            let coming = layout::read_coming(&seen).unwrap();
            let outcome = scene.store.inner().go_through(&scene.work, deadline).await.unwrap();
            assert_eq!(outcome, Renamed::Stored, "{stop:?}");
            assert_eq!(inner.get(scene.from, deadline).await.unwrap(), None, "{stop:?}");
            assert!(inner.look_again(scene.to, &coming, deadline).await.unwrap(), "{stop:?}");
        }
        let scene = stopped(url, Stop::Prepared).await;
        let (inner, deadline) = (scene.other.inner(), scene.other.inner().router.deadline());
        let coming = inner.get(scene.to, deadline).await.unwrap().unwrap();
        let coming = layout::read_coming(&coming).unwrap();
        assert!(!inner.look_again(scene.to, &coming, deadline).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_rename_that_was_stopped_can_be_repeated() {
    on_a_cluster(async |url| {
        for stop in STOPS {
            let scene = stopped(url, stop).await;
            for _ in 0..2 {
                let again = scene.other.rename(scene.from, scene.old.revision, scene.to, &scene.new);
                assert_eq!(again.await.unwrap(), Renamed::Stored, "{stop:?}");
                assert_eq!(scene.both().await, (None, Some(scene.new.clone())), "{stop:?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_session_deleted_in_between_does_not_come_back_when_the_client_goes_on() {
    on_a_cluster(async |url| {
        for stop in STOPS {
            let scene = stopped(url, stop).await;
            let live = if stop == Stop::Prepared { scene.from } else { scene.to };
            assert!(scene.other.delete(live).await.unwrap(), "{stop:?}");
            let deadline = scene.store.inner().router.deadline();
            let outcome = scene.store.inner().go_through(&scene.work, deadline).await.unwrap();
            assert_eq!(outcome, Renamed::Missing, "{stop:?}");
            assert_eq!(scene.both().await, (None, None), "{stop:?}");
            assert!(scene.listed().await.is_empty(), "{stop:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn ending_all_sessions_of_an_owner_ends_one_on_its_way() {
    on_a_cluster(async |url| {
        for stop in STOPS {
            let scene = stopped(url, stop).await;
            assert_eq!(scene.other.delete_owned(&scene.owner, None).await.unwrap(), 1, "{stop:?}");
            let deadline = scene.store.inner().router.deadline();
            let outcome = scene.store.inner().go_through(&scene.work, deadline).await.unwrap();
            assert_eq!(outcome, Renamed::Missing, "{stop:?}");
            assert_eq!(scene.both().await, (None, None), "{stop:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn every_operation_on_a_key_that_a_rename_has_reached_finds_the_session() {
    on_a_cluster(async |url| {
        let later = Timestamp::MAX;
        for stop in [Stop::Committed, Stop::Finished] {
            let scene = stopped(url, stop).await;
            let next = record(&scene.owner);
            assert!(scene.other.touch(scene.to, later).await.unwrap(), "{stop:?}");
            let scene = stopped(url, stop).await;
            let saved = scene.other.save(scene.to, scene.new.revision, &next).await.unwrap();
            assert_eq!(saved, session_core::Saved::Stored, "{stop:?}");
            let scene = stopped(url, stop).await;
            assert_eq!(scene.other.create(scene.to, &next).await.unwrap(), Created::Occupied, "{stop:?}");
            assert_eq!(scene.other.create(scene.from, &next).await.unwrap(), Created::Stored, "{stop:?}");
            assert_eq!(scene.both().await, (Some(next.clone()), Some(scene.new.clone())), "{stop:?}");
            let scene = stopped(url, stop).await;
            let onward = SessionId::generate().unwrap().key();
            let renamed = scene.other.rename(scene.to, scene.new.revision, onward, &next).await.unwrap();
            assert_eq!(renamed, Renamed::Stored, "{stop:?}");
            assert_eq!(scene.both().await, (None, None), "{stop:?}");
        }
        let scene = stopped(url, Stop::Prepared).await;
        let next = record(&scene.owner);
        assert!(!scene.other.touch(scene.to, later).await.unwrap());
        assert!(!scene.other.delete(scene.to).await.unwrap());
        let saved = scene.other.save(scene.to, scene.new.revision, &next).await.unwrap();
        assert_eq!(saved, session_core::Saved::Missing);
    })
    .await;
}

#[tokio::test]
async fn a_create_on_a_key_that_a_rename_may_still_take_waits_and_then_says_so() {
    on_a_cluster(async |url| {
        let scene = stopped(url, Stop::Prepared).await;
        let error = scene.other.create(scene.to, &record(&scene.owner)).await.unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
        assert_eq!(scene.both().await, (Some(scene.old.clone()), None));
    })
    .await;
}
