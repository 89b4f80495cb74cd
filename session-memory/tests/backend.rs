//! What the memory store alone has: limits, a clock that tests turn, and threads that truly run at once.
#![allow(clippy::unwrap_used, reason = "clippy does not take the helpers of a test for tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use session_core::{
    Created, Cursor, ErrorKind, ManualClock, Owner, Record, Revision, Saved, SessionKey, SessionStore as _,
    Timestamp, Touched,
};
use session_memory::{MemoryConfig, MemoryStore, WhenFull};
use tokio::task::JoinSet;

const START: Timestamp = Timestamp::from_millis(1_000_000);

fn key() -> SessionKey {
    SessionKey::generate().unwrap()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(START.as_millis() + millis)
}

fn record(expires_at: Timestamp, payload: &[u8]) -> Record {
    Record {
        revision: Revision::generate().unwrap(),
        owner: None,
        created_at: START,
        expires_at,
        payload: payload.into(),
    }
}

fn owned(owner: &Owner, expires_at: Timestamp) -> Record {
    Record { owner: Some(owner.clone()), ..record(expires_at, b"x") }
}

fn store(config: MemoryConfig) -> (MemoryStore, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(START));
    (MemoryStore::new(config.with_clock(clock.clone())), clock)
}

async fn created(store: &MemoryStore, record: &Record) -> SessionKey {
    let key = key();
    assert_eq!(store.create(key, record).await.unwrap(), Created::Stored);
    key
}

async fn list_all(store: &MemoryStore, owner: Option<&Owner>, limit: usize) -> Vec<SessionKey> {
    let (mut keys, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.list(owner, cursor.as_ref(), limit).await.unwrap();
        assert!(page.sessions.len() <= limit.max(1));
        keys.extend(page.sessions.iter().map(|(key, _)| *key));
        match page.next {
            Some(next) => cursor = Some(next),
            None => return keys,
        }
    }
}

#[tokio::test]
async fn a_session_is_live_to_the_last_millisecond_and_gone_at_its_expiry() {
    let (store, clock) = store(MemoryConfig::default());
    let owner = Owner::new("ann").unwrap();
    let record = owned(&owner, at(10));
    let key = created(&store, &record).await;

    clock.set(at(9));
    assert_eq!(store.load(key).await.unwrap().as_ref(), Some(&record));
    assert_eq!(list_all(&store, Some(&owner), 10).await, [key]);

    clock.set(at(10));
    let next = owned(&owner, at(100));
    assert_eq!(store.load(key).await.unwrap(), None);
    assert_eq!(store.save(key, record.revision, &next).await.unwrap(), Saved::Missing);
    assert_eq!(store.touch(key, record.revision, at(100)).await.unwrap(), Touched::Missing);
    assert!(list_all(&store, Some(&owner), 10).await.is_empty());
    assert!(list_all(&store, None, 10).await.is_empty());
    assert_eq!(store.delete_owned(&owner, None).await.unwrap(), 0);
    assert_eq!(store.create(key, &next).await.unwrap(), Created::Stored);
    assert_eq!(store.load(key).await.unwrap(), Some(next));
}

#[tokio::test]
async fn a_write_that_is_expired_already_is_stored_and_not_live() {
    let (store, _clock) = store(MemoryConfig::default());
    let dead = record(START, b"dead");
    let key = created(&store, &dead).await;
    assert_eq!(store.load(key).await.unwrap(), None);
    let live = record(at(5), b"live");
    assert_eq!(store.create(key, &live).await.unwrap(), Created::Stored);
    assert_eq!(store.save(key, live.revision, &record(Timestamp::EPOCH, b"")).await.unwrap(), Saved::Stored);
    assert_eq!(store.load(key).await.unwrap(), None);
}

#[tokio::test]
async fn a_sweep_takes_what_expired_in_the_size_asked_for_and_leaves_the_rest() {
    let (store, clock) = store(MemoryConfig::default());
    let mut live = BTreeSet::new();
    for millis in 1..=2_000 {
        let record = record(at(millis), b"x");
        let key = created(&store, &record).await;
        if millis > 1_500 {
            live.insert(key);
        } else if millis % 5 == 0 {
            assert_eq!(store.touch(key, record.revision, at(9_000)).await.unwrap(), Touched::Stored);
            live.insert(key);
        }
    }
    clock.set(at(1_500));
    assert_eq!(store.delete_expired(0).await.unwrap(), 0);
    assert_eq!(store.delete_expired(700).await.unwrap(), 700);
    assert_eq!(store.delete_expired(usize::MAX).await.unwrap(), 500);
    assert_eq!(store.delete_expired(usize::MAX).await.unwrap(), 0);
    assert_eq!(store.usage().sessions, live.len());
    let listed = list_all(&store, None, 64).await;
    assert_eq!(listed.len(), live.len());
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), live);
}

#[tokio::test]
async fn pages_of_any_size_show_every_session_once() {
    let (store, _clock) = store(MemoryConfig::default());
    let owner = Owner::new("ann").unwrap();
    let (mut all, mut anns) = (BTreeSet::new(), BTreeSet::new());
    for n in 0..3_000 {
        if n % 3 == 0 {
            anns.insert(created(&store, &owned(&owner, at(1))).await);
        } else {
            all.insert(created(&store, &record(at(1), b"x")).await);
        }
    }
    all.extend(&anns);
    for limit in [0, 1, 7, 999, 1_000, 3_000, usize::MAX] {
        for (owner, wanted) in [(None, &all), (Some(&owner), &anns)] {
            let listed = list_all(&store, owner, limit).await;
            assert_eq!(listed.len(), wanted.len(), "limit {limit}, {owner:?}");
            assert_eq!(&listed.into_iter().collect::<BTreeSet<_>>(), wanted, "limit {limit}, {owner:?}");
        }
    }
}

#[tokio::test]
async fn a_page_that_holds_everything_says_that_it_is_the_last() {
    let (store, _clock) = store(MemoryConfig::default());
    let owner = Owner::new("ann").unwrap();
    for _ in 0..3 {
        created(&store, &owned(&owner, at(1))).await;
    }
    for owner in [None, Some(&owner)] {
        assert!(store.list(owner, None, 3).await.unwrap().next.is_none());
        assert!(store.list(owner, None, 2).await.unwrap().next.is_some());
    }
}

#[tokio::test]
async fn a_foreign_cursor_is_an_error_that_names_the_operation() {
    let (store, _clock) = store(MemoryConfig::default());
    for text in ["", "1", "\u{1f600}", "00000000-0000-1000-8000-000000000000"] {
        let error = store.list(None, Some(&Cursor::new(text)), 1).await.unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::InvalidInput, Some("list")), "{text:?}");
    }
}

#[tokio::test]
async fn a_full_store_refuses_and_changes_nothing() {
    let (store, _clock) = store(MemoryConfig::default().with_max_sessions(2));
    let first = record(at(5), b"first");
    let (a, b) = (created(&store, &first).await, created(&store, &record(at(9), b"x")).await);

    let refused = key();
    let error = store.create(refused, &record(at(5), b"x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!((error.backend(), error.operation()), (Some("memory"), Some("create")));
    assert!(error.to_string().contains("max_sessions is 2"), "{error}");
    assert_eq!(store.load(refused).await.unwrap(), None);
    assert!(store.load(a).await.unwrap().is_some() && store.load(b).await.unwrap().is_some());

    // What needs no room works: an occupied key is told apart, a session is saved.
    assert_eq!(store.create(a, &first).await.unwrap(), Created::Occupied);
    let second = record(at(5), b"second");
    assert_eq!(store.save(a, first.revision, &second).await.unwrap(), Saved::Stored);

    assert!(store.delete(b).await.unwrap());
    created(&store, &second).await;
    assert!(store.create(key(), &second).await.is_err());
}

#[tokio::test]
async fn expired_sessions_make_room_before_anyone_is_refused() {
    let (store, clock) = store(MemoryConfig::default().with_max_sessions(3));
    for millis in [1, 2, 50] {
        created(&store, &record(at(millis), b"x")).await;
    }
    clock.set(at(2));
    created(&store, &record(at(50), b"x")).await;
    created(&store, &record(at(50), b"x")).await;
    assert_eq!(store.create(key(), &record(at(50), b"x")).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(store.usage().sessions, 3);
}

#[tokio::test]
async fn eviction_takes_the_soonest_to_expire_one_at_a_time() {
    let config = MemoryConfig::default().with_max_sessions(100).with_when_full(WhenFull::EvictSoonest);
    let (store, _clock) = store(config);
    let mut keys = BTreeMap::new();
    for millis in (1..=100).rev() {
        let record = record(at(millis), b"x");
        keys.insert(millis, created(&store, &record).await);
        if millis == 2 {
            // So no longer among the soonest.
            assert_eq!(store.touch(keys[&2], record.revision, at(500)).await.unwrap(), Touched::Stored);
        }
    }
    for _ in 0..3 {
        created(&store, &record(at(1), b"new")).await;
    }
    // The first takes 1; the other two take what came before them, since that now expires soonest.
    assert_eq!(store.usage().sessions, 100);
    for (millis, key) in keys {
        assert_eq!(store.load(key).await.unwrap().is_some(), millis != 1, "{millis}");
    }
}

#[tokio::test]
async fn a_session_that_grows_evicts_others_and_never_itself() {
    let config = MemoryConfig::default().with_max_bytes(10_000).with_when_full(WhenFull::EvictSoonest);
    let (store, _clock) = store(config);
    let small = record(at(1), &[0; 100]);
    let growing = created(&store, &small).await;
    let mut others = Vec::new();
    for millis in 2..=20 {
        others.push(created(&store, &record(at(millis), &[0; 100])).await);
    }
    let large = record(at(1), &[0; 9_000]);
    assert_eq!(store.save(growing, small.revision, &large).await.unwrap(), Saved::Stored);
    assert_eq!(store.load(growing).await.unwrap().as_ref(), Some(&large));
    assert!(store.usage().bytes <= 10_000);
    let mut alive = Vec::new();
    for key in others {
        alive.push(store.load(key).await.unwrap().is_some());
    }
    assert!(alive.is_sorted() && alive[18] && !alive[0], "the soonest to expire went first: {alive:?}");
}

#[tokio::test]
async fn a_write_that_loses_evicts_nobody() {
    let config = MemoryConfig::default().with_max_bytes(2_000).with_when_full(WhenFull::EvictSoonest);
    let (store, _clock) = store(config);
    let current = record(at(5), &[0; 500]);
    let (a, b) = (created(&store, &current).await, created(&store, &record(at(1), &[0; 500])).await);
    let (stale, large) = (Revision::generate().unwrap(), record(at(5), &[0; 1_500]));
    assert_eq!(store.save(a, stale, &large).await.unwrap(), Saved::Conflict);
    assert_eq!(store.save(key(), stale, &large).await.unwrap(), Saved::Missing);
    assert_eq!(store.create(a, &large).await.unwrap(), Created::Occupied);
    assert!(store.load(b).await.unwrap().is_some());
    assert_eq!(store.usage().sessions, 2);
}

#[tokio::test]
async fn what_never_fits_is_too_large_and_evicts_nobody() {
    let config = MemoryConfig::default()
        .with_max_payload(5_000)
        .with_max_bytes(1_000)
        .with_when_full(WhenFull::EvictSoonest);
    let (store, _clock) = store(config);
    let small = record(at(1), b"x");
    let kept = created(&store, &small).await;
    for len in [1_000, 5_001] {
        let large = record(at(1), &vec![0; len]);
        assert_eq!(store.create(key(), &large).await.unwrap_err().kind(), ErrorKind::TooLarge);
        assert_eq!(store.save(kept, small.revision, &large).await.unwrap_err().kind(), ErrorKind::TooLarge);
    }
    assert_eq!(store.load(kept).await.unwrap(), Some(small));
}

#[tokio::test]
async fn what_takes_the_place_of_an_expired_record_takes_its_room_too() {
    let (store, clock) = store(MemoryConfig::default().with_max_sessions(3));
    let current = record(at(90), b"x");
    let again = created(&store, &record(at(1), b"x")).await;
    clock.set(at(2));
    assert_eq!(store.create(again, &current).await.unwrap(), Created::Stored);
    // One of three is taken.
    created(&store, &current).await;
    created(&store, &current).await;
    assert!(store.create(key(), &current).await.is_err());
}

#[tokio::test]
async fn one_sweep_removes_as_many_as_it_may() {
    let (store, clock) = store(MemoryConfig::default());
    for _ in 0..10_000 {
        created(&store, &record(at(1), b"")).await;
    }
    clock.set(at(2));
    assert_eq!(store.delete_expired(9_000).await.unwrap(), 9_000);
    assert_eq!(store.delete_expired(9_000).await.unwrap(), 1_000);
}

#[tokio::test]
async fn one_session_may_take_all_bytes_there_are() {
    let room = |bytes| store(MemoryConfig::default().with_max_bytes(bytes)).0;
    let empty = room(10_000);
    created(&empty, &record(at(1), b"")).await;
    let whole = empty.usage().bytes + 500;
    created(&room(whole), &record(at(1), &[0; 500])).await;
    let refused = room(whole).create(key(), &record(at(1), &[0; 501])).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::TooLarge);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_limit_holds_however_many_write_at_once_and_all_room_comes_back() {
    for policy in [WhenFull::Refuse, WhenFull::EvictSoonest] {
        let config =
            MemoryConfig::default().with_max_sessions(50).with_max_bytes(20_000).with_when_full(policy);
        let (store, _clock) = store(config);
        let mut tasks = JoinSet::new();
        for task in 0..8_u8 {
            let store = store.clone();
            tasks.spawn(async move {
                let mut mine = Vec::new();
                for n in 0..500_usize {
                    let record = record(at(1 + (n % 7) as i64), &vec![task; n % 300]);
                    let key = key();
                    if store.create(key, &record).await.is_ok() {
                        mine.push((key, record));
                    }
                    if n % 3 == 0
                        && let Some((key, old)) = mine.pop()
                    {
                        let grown = self::record(at(9), &[task; 400]);
                        let _ = store.save(key, old.revision, &grown).await;
                    }
                    if n % 5 == 0
                        && let Some((key, _)) = mine.pop()
                    {
                        store.delete(key).await.unwrap();
                    }
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        let usage = store.usage();
        assert!(usage.sessions <= 50 && usage.bytes <= 20_000, "{usage:?}");
        for key in list_all(&store, None, 10).await {
            assert!(store.delete(key).await.unwrap());
        }
        assert_eq!((store.usage().sessions, store.usage().bytes), (0, 0));
        // All that was taken was given back: as many fit as at first.
        for _ in 0..50 {
            created(&store, &record(at(1), b"x")).await;
        }
    }
}

#[tokio::test]
async fn a_store_that_nobody_sweeps_holds_little_more_than_what_is_live() {
    const DAY: i64 = 86_400_000;
    for read_only in [true, false] {
        let (store, clock) = store(MemoryConfig::default());
        // 1,000 visitors a day for five days, each with a session for a day.
        for visitor in 0..5_000 {
            clock.set(at(visitor * DAY / 1_000));
            let record = record(at(visitor * DAY / 1_000 + DAY), b"x");
            let key = created(&store, &record).await;
            if !read_only {
                let next = self::record(record.expires_at, b"y");
                assert_eq!(store.save(key, record.revision, &next).await.unwrap(), Saved::Stored);
            }
        }
        // What expired in a shard, of which there are at most 256, since somebody wrote there last.
        let held = store.usage().sessions;
        assert!((1_000..1_500).contains(&held), "{held} sessions are held");
        assert_eq!(list_all(&store, None, 1_000).await.len(), 1_000);
    }
}

#[test]
fn debug_shows_the_configuration_and_no_session() {
    let (store, _clock) = store(MemoryConfig::default().with_max_sessions(7));
    let shown = format!("{store:?}");
    assert!(shown.contains("max_sessions: Some(7)") && !shown.contains("shards"), "{shown}");
}
