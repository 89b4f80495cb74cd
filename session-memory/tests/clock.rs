//! When the store looks at the clock: under the lock, or two operations on one key would not see time in the order in
//! which they take effect.
#![allow(clippy::unwrap_used, reason = "clippy does not take the helpers of a test for tests")]

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use session_core::{
    Clock, Created, Record, Revision, Saved, SessionKey, SessionStore as _, Timestamp, Touched,
};
use session_memory::{MemoryConfig, MemoryStore};

const START: Timestamp = Timestamp::from_millis(1_000_000);

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(START.as_millis() + millis)
}

fn record(expires_at: Timestamp) -> Record {
    let revision = Revision::generate().unwrap();
    Record { revision, owner: None, created_at: START, expires_at, payload: [].into() }
}

/// How long the first caller waits in the clock for others, who are kept out by its lock.
const LONG_ENOUGH: Duration = Duration::from_millis(200);

#[derive(Debug, Default)]
struct Event(Mutex<bool>, Condvar);

impl Event {
    fn set(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn is_set(&self) -> bool {
        *self.0.lock().unwrap()
    }

    fn wait(&self, limit: Duration) {
        let set = self.0.lock().unwrap();
        drop(self.1.wait_timeout_while(set, limit, |set| !*set).unwrap());
    }
}

/// Two callers meet in it, if the store lets a second one look at the time before the first has done its work.
#[derive(Debug, Default)]
struct MeetingClock {
    asked: AtomicBool,
    asked_again: Event,
}

impl Clock for MeetingClock {
    fn now(&self) -> Timestamp {
        if self.asked.swap(true, SeqCst) {
            self.asked_again.set();
        } else {
            self.asked_again.wait(LONG_ENOUGH);
        }
        START
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_creates_cannot_both_find_the_key_free() {
    let clock = Arc::new(MeetingClock::default());
    let store = MemoryStore::new(MemoryConfig::default().with_clock(clock));
    let key = SessionKey::generate().unwrap();
    let create = || {
        let (store, record) = (store.clone(), record(at(10)));
        tokio::spawn(async move { store.create(key, &record).await.unwrap() })
    };
    let (first, second) = (create(), create());
    let created = [first.await.unwrap(), second.await.unwrap()];
    assert!(created.contains(&Created::Stored) && created.contains(&Created::Occupied), "{created:?}");
}

/// Shows the start to the first caller, who leaves late, and ten milliseconds later to all others.
#[derive(Debug, Default)]
struct LateClock {
    armed: AtomicBool,
    asked: Event,
    passed: Event,
}

impl Clock for LateClock {
    fn now(&self) -> Timestamp {
        if self.armed.swap(false, SeqCst) {
            self.asked.set();
            self.passed.wait(LONG_ENOUGH);
            START
        } else if self.asked.is_set() {
            at(10)
        } else {
            START
        }
    }
}

/// Starts a write, looks after the session while the write looks at the time, and gives both answers.
async fn seen_during<T: Send + 'static>(
    write: impl AsyncFnOnce(MemoryStore, SessionKey, Record) -> T + Send + 'static,
) -> (Option<Record>, T, Option<Record>) {
    let clock = Arc::new(LateClock::default());
    let store = MemoryStore::new(MemoryConfig::default().with_clock(clock.clone()));
    let (key, record) = (SessionKey::generate().unwrap(), record(at(5)));
    assert_eq!(store.create(key, &record).await.unwrap(), Created::Stored);
    clock.armed.store(true, SeqCst);
    let (writer, reader) = (store.clone(), store.clone());
    let handle = tokio::runtime::Handle::current();
    let written = tokio::task::spawn_blocking(move || handle.block_on(write(writer, key, record)));
    clock.asked.wait(Duration::from_secs(60));
    let seen = reader.load(key).await.unwrap();
    clock.passed.set();
    (seen, written.await.unwrap(), store.load(key).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_touch_revives_nothing_that_others_saw_expire() {
    let (seen, touched, left) =
        seen_during(async |store, key, record| store.touch(key, record.revision, at(100)).await.unwrap())
            .await;
    assert_eq!(seen.is_some(), touched == Touched::Stored);
    assert_eq!(seen, left, "the touch was {touched:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_save_revives_nothing_that_others_saw_expire() {
    let (seen, saved, left) =
        seen_during(async |store, key, old| store.save(key, old.revision, &record(at(100))).await.unwrap())
            .await;
    assert_eq!(seen.is_some(), saved == Saved::Stored);
    assert_eq!(seen, left, "the save was {saved:?}");
}
