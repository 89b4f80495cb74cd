//! The clock is asked under the lock, and who waits for that lock does not wait for ever.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::Duration;

use session_core::{
    Clock, Created, ErrorKind, ManualClock, Record, Revision, Saved, SessionKey, SessionStore as _,
    Timestamp, Touched,
};
use session_file::{FileConfig, FileStore};
use tokio::sync::Notify;

use crate::support::{Place, kind, neighbour, new_key, record};

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn at(seconds: u64) -> Timestamp {
    START.saturating_add(Duration::from_secs(seconds))
}

/// A clock that holds back the next one who asks, once it has looked.
#[derive(Debug)]
struct Holding {
    time: ManualClock,
    armed: AtomicBool,
    held: Notify,
    release: Mutex<mpsc::Receiver<()>>,
}

impl Holding {
    fn new() -> (Arc<Self>, mpsc::Sender<()>) {
        let (sender, release) = mpsc::channel();
        let time = ManualClock::new(START);
        let (armed, held) = (AtomicBool::new(false), Notify::new());
        (Arc::new(Self { time, armed, held, release: Mutex::new(release) }), sender)
    }
}

impl Clock for Holding {
    fn now(&self) -> Timestamp {
        let now = self.time.now();
        if self.armed.swap(false, Ordering::SeqCst) {
            self.held.notify_one();
            let _ended = self.release.lock().unwrap().recv_timeout(Duration::from_secs(20));
        }
        now
    }
}

fn store(place: &Place, clock: &Arc<impl Clock>) -> FileStore {
    FileStore::new(FileConfig::new(&place.directory).with_clock(clock.clone())).unwrap()
}

fn next(old: &Record) -> Record {
    Record { revision: Revision::generate().unwrap(), expires_at: at(100), ..old.clone() }
}

#[derive(Clone, Copy, Debug)]
enum Write {
    Create,
    Save,
    Touch,
    Delete,
    DeleteOwned,
}

impl Write {
    /// Whether it found the session live.
    async fn finds_live(self, store: FileStore, key: SessionKey, old: Record) -> bool {
        match self {
            Self::Create => store.create(key, &next(&old)).await.unwrap() == Created::Occupied,
            Self::Save => store.save(key, old.revision, &next(&old)).await.unwrap() == Saved::Stored,
            Self::Touch => store.touch(key, old.revision, at(100)).await.unwrap() == Touched::Stored,
            Self::Delete => store.delete(key).await.unwrap(),
            Self::DeleteOwned => store.delete_owned(&"ann".parse().unwrap(), None).await.unwrap() == 1,
        }
    }
}

/// `[T2]`, `[Y1]` A writer that has looked at the clock is held up, and the session's time ends meanwhile.
#[tokio::test]
async fn nobody_sees_a_session_expire_that_a_writer_then_finds_live() {
    for write in [Write::Create, Write::Save, Write::Touch, Write::Delete, Write::DeleteOwned] {
        let place = Place::new().await;
        let (clock, release) = Holding::new();
        let (writer, reader) = (store(&place, &clock), store(&place, &clock));
        let (key, old) = (new_key(), record(Some("ann"), at(10), 20));
        assert_eq!(writer.create(key, &old).await.unwrap(), Created::Stored);
        clock.armed.store(true, Ordering::SeqCst);
        let writing = tokio::spawn(write.finds_live(writer, key, old));
        clock.held.notified().await;
        clock.time.set(at(20));
        let reading = tokio::spawn(async move { reader.load(key).await.unwrap() });
        tokio::time::sleep(Duration::from_millis(200)).await;
        let read_first = reading.is_finished();
        release.send(()).unwrap();
        let (found_live, read) = (writing.await.unwrap(), reading.await.unwrap());
        assert!(
            !(read_first && read.is_none() && found_live),
            "{write:?} revived or counted an expired session"
        );
    }
}

/// A clock on which two who ask see each other, if they can ask at the same time.
#[derive(Debug, Default)]
struct Meeting {
    asked: Mutex<usize>,
    both: Condvar,
}

impl Clock for Meeting {
    fn now(&self) -> Timestamp {
        let mut asked = self.asked.lock().unwrap();
        *asked += 1;
        self.both.notify_all();
        let alone = |asked: &mut usize| *asked < 2;
        drop(self.both.wait_timeout_while(asked, Duration::from_millis(200), alone).unwrap());
        START
    }
}

/// `[C4]`, `[S4]` What two find at the same time, one of them no longer finds.
#[tokio::test]
async fn two_who_look_at_the_same_time_do_not_both_write() {
    for one_handle in [true, false] {
        for write in [Write::Create, Write::Save, Write::Delete] {
            let place = Place::new().await;
            let clock = Arc::new(ManualClock::new(START));
            let key = new_key();
            // To create over what has expired needs a look at the clock.
            let expires_at = if matches!(write, Write::Create) { at(0) } else { at(10) };
            let old = record(None, expires_at, 20);
            assert_eq!(store(&place, &clock).create(key, &old).await.unwrap(), Created::Stored);
            let clock = Arc::new(Meeting::default());
            let first = store(&place, &clock);
            let second = if one_handle { first.clone() } else { store(&place, &clock) };
            let wrote = AtomicUsize::new(0);
            let run = async |store: FileStore| {
                let found_live = write.finds_live(store, key, old.clone()).await;
                wrote.fetch_add(usize::from(found_live != matches!(write, Write::Create)), Ordering::SeqCst);
            };
            tokio::join!(run(first), run(second));
            assert_eq!(wrote.into_inner(), 1, "{write:?}, one handle: {one_handle}");
        }
    }
}

/// `[F1]` Also for what has no time limit of its own: the lock has one, in this process and between two.
#[tokio::test]
async fn behind_a_slow_holder_of_a_shard_every_operation_ends_in_time() {
    let place = Place::new().await;
    let (clock, release) = Holding::new();
    let hasty = || {
        let config = FileConfig::new(&place.directory).with_clock(clock.clone());
        FileStore::new(config.with_timeout(Duration::from_millis(200))).unwrap()
    };
    let (holder, other) = (hasty(), hasty());
    let (key, old) = (new_key(), record(Some("ann"), at(10), 20));
    assert_eq!(holder.create(key, &old).await.unwrap(), Created::Stored);
    assert_eq!(holder.create(neighbour(key), &record(None, at(0), 20)).await.unwrap(), Created::Stored);
    clock.armed.store(true, Ordering::SeqCst);
    let holding = tokio::spawn({
        let (holder, old) = (holder.clone(), old.clone());
        async move { holder.touch(key, old.revision, at(100)).await }
    });
    clock.held.notified().await;
    let owner = "ann".parse().unwrap();
    for store in [&holder, &other] {
        let all = async {
            [
                kind(store.delete_owned(&owner, None).await),
                kind(store.delete_expired(10).await),
                kind(store.prepare().await),
                kind(store.save(key, old.revision, &next(&old)).await),
            ]
        };
        let kinds = tokio::time::timeout(Duration::from_secs(10), all).await;
        assert_eq!(kinds.expect("an operation waits without end"), [ErrorKind::Timeout; 4]);
    }
    assert_eq!(kind(holding.await.unwrap()), ErrorKind::Timeout);
    release.send(()).unwrap();
    assert_eq!(store(&place, &clock).delete_owned(&owner, None).await.unwrap(), 1);
}
