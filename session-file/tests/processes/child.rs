//! What the children do.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use session_core::{
    Created, Owner, Record, Revision, Saved, SessionKey, SessionStore as _, Timestamp, Touched,
};
use session_file::FileStore;

#[cfg(target_os = "linux")]
use crate::acts::{self, Act};
#[cfg(target_os = "linux")]
use crate::support::synchronised;
use crate::support::{Random, in_an_hour, new_key, record, runtime, store};

pub(crate) fn run(role: &str) {
    let directory = PathBuf::from(std::env::var_os("SESSION_FILE_TEST_DIRECTORY").unwrap());
    let argument = std::env::var("SESSION_FILE_TEST_ARGUMENT").unwrap();
    #[cfg(target_os = "linux")]
    match role {
        "act" => return act(&store(&directory), &argument),
        "synchronised act" => return act(&synchronised(&directory), &argument),
        _ => {}
    }
    let store = store(&directory);
    runtime().block_on(async {
        match role {
            "load" => under_load(store, argument.parse().unwrap()).await,
            "count" => count(store, &argument).await,
            "save" => save_each(store, &directory, in_an_hour()).await,
            "end" => save_each(store, &directory, Timestamp::EPOCH).await,
            "delete" => delete_each(store, &directory).await,
            "create" => create_each(store, &directory).await,
            "hold" => hold(&argument).await,
            other => panic!("no such role: {other}"),
        }
    });
}

/// One line in one call, so that it is either whole or not there when this process is killed.
fn say(line: &str) {
    let line = format!("{line}\n");
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
    std::io::stdout().lock().flush().unwrap();
}

/// How many tasks write; each has its own keys and owners, so the parent knows what each key must hold.
pub(crate) const TASKS: usize = 4;

/// Whose a key is. Its last byte is the shard's, which the tasks share.
fn task_of(key: SessionKey) -> usize {
    usize::from(key.as_bytes()[14]) % TASKS
}

/// Writes, touches, deletes, revokes and sweeps until somebody kills this process, and says what it does: `B` before
/// an operation, `A` after it.
async fn under_load(store: FileStore, seed: u64) {
    store.prepare().await.unwrap();
    let mut mine: Vec<Vec<(SessionKey, Record)>> = vec![Vec::new(); TASKS];
    let mut cursor = None;
    loop {
        let page = store.list(None, cursor.as_ref(), 100).await.unwrap();
        for (key, record) in page.sessions {
            mine[task_of(key)].push((key, record));
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    say("ready");
    let sweeper = store.clone();
    tokio::spawn(async move {
        loop {
            sweeper.delete_expired(8).await.unwrap();
        }
    });
    let tasks: Vec<_> = mine
        .into_iter()
        .enumerate()
        .map(|(number, sessions)| {
            let random = Random(seed ^ number as u64);
            let task = Writer { store: store.clone(), number, random, sessions };
            tokio::spawn(task.run())
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

struct Writer {
    store: FileStore,
    number: usize,
    random: Random,
    sessions: Vec<(SessionKey, Record)>,
}

impl Writer {
    async fn run(mut self) {
        loop {
            match self.random.below(12) {
                0 | 1 if self.sessions.len() < 8 => self.create().await,
                0 | 1 => self.delete().await,
                2..=6 => self.save().await,
                7..=8 => self.touch().await,
                9 => self.create_short().await,
                10 => self.create_expired().await,
                _ if self.random.below(4) == 0 => self.revoke().await,
                _ => self.save().await,
            }
        }
    }

    fn key(&self) -> SessionKey {
        loop {
            let key = new_key();
            if task_of(key) == self.number {
                return key;
            }
        }
    }

    fn record(&mut self) -> Record {
        let len = match self.random.below(20) {
            0 => 0,
            1 => 40_000,
            _ => self.random.below(2_000) as usize,
        };
        let owner = match self.random.below(4) {
            0 => None,
            n => Some(format!("task-{}-owner-{n}", self.number)),
        };
        // Sooner or later than what is there: both ways through the expiry index.
        let expires_at = in_an_hour().saturating_add(Duration::from_secs(self.random.below(7200)));
        record(Revision::generate().unwrap(), owner.as_deref(), expires_at, len)
    }

    fn pick(&mut self) -> Option<usize> {
        let len = self.sessions.len() as u64;
        (len > 0).then(|| self.random.below(len) as usize)
    }

    fn begin(&self, what: &str) {
        say(&format!("B {} {what}", self.number));
    }

    fn done(&self, how: &str) {
        say(&format!("A {} {how}", self.number));
    }

    async fn put_new(&mut self, record: Record) -> SessionKey {
        let key = self.key();
        self.begin(&format!("put {key} {}", shown(&record)));
        assert_eq!(self.store.create(key, &record).await.unwrap(), Created::Stored);
        self.done("ok");
        key
    }

    async fn create(&mut self) {
        let record = self.record();
        let key = self.put_new(record.clone()).await;
        self.sessions.push((key, record));
    }

    async fn create_expired(&mut self) {
        let past = Timestamp::from_millis(Timestamp::now().as_millis() - 1);
        let record = Record { expires_at: past, ..self.record() };
        self.put_new(record).await;
    }

    /// Filed under a time that comes soon, then touched: the sweep has to file it anew.
    async fn create_short(&mut self) {
        let soon = Timestamp::now().saturating_add(Duration::from_millis(30));
        let mut record = Record { expires_at: soon, ..self.record() };
        let key = self.put_new(record.clone()).await;
        record.expires_at = in_an_hour();
        if self.touch_to(key, &record).await && self.sessions.len() < 16 {
            self.sessions.push((key, record));
        }
    }

    /// To the expiry that `record` has.
    async fn touch_to(&mut self, key: SessionKey, record: &Record) -> bool {
        self.begin(&format!("touch {key} {}", record.expires_at));
        let touched = self.store.touch(key, record.revision, record.expires_at).await.unwrap();
        assert_ne!(touched, Touched::Conflict, "nobody else writes this session");
        self.done(if touched == Touched::Stored { "ok" } else { "gone" });
        touched == Touched::Stored
    }

    async fn touch(&mut self) {
        let Some(at) = self.pick() else { return };
        let (key, mut record) = self.sessions[at].clone();
        record.expires_at = record.expires_at.saturating_add(Duration::from_secs(self.random.below(60)));
        assert!(self.touch_to(key, &record).await, "a live session was not there to be touched");
        self.sessions[at].1 = record;
    }

    async fn save(&mut self) {
        let Some(at) = self.pick() else { return };
        let record = self.record();
        let (key, old) = &self.sessions[at];
        self.begin(&format!("put {key} {}", shown(&record)));
        assert_eq!(self.store.save(*key, old.revision, &record).await.unwrap(), Saved::Stored);
        self.done("ok");
        self.sessions[at].1 = record;
    }

    async fn delete(&mut self) {
        let Some(at) = self.pick() else { return };
        let (key, _) = self.sessions.swap_remove(at);
        self.begin(&format!("delete {key}"));
        assert!(self.store.delete(key).await.unwrap(), "a live session was not there to be deleted");
        self.done("ok");
    }

    async fn revoke(&mut self) {
        let owner = format!("task-{}-owner-{}", self.number, 1 + self.random.below(3));
        let owner: Owner = owner.parse().unwrap();
        self.begin(&format!("revoke {owner}"));
        let removed = self.store.delete_owned(&owner, None).await.unwrap();
        self.done("ok");
        let before = self.sessions.len();
        self.sessions.retain(|(_, record)| record.owner.as_ref() != Some(&owner));
        // Sessions that the list does not hold, such as those touched above the limit, may add to it.
        assert!(removed >= (before - self.sessions.len()) as u64, "a session was not revoked");
    }
}

/// What the parent needs to make the record again.
fn shown(record: &Record) -> String {
    let owner = record.owner.as_ref().map_or("-", Owner::as_str);
    format!("{} {} {owner} {}", record.revision.as_u64(), record.expires_at, record.payload.len())
}

/// Adds one to the number in a session, as often as it is told, by compare-and-set.
async fn count(store: FileStore, argument: &str) {
    let (key, times) = argument.split_once(' ').unwrap();
    let (key, times): (SessionKey, u64) = (key.parse().unwrap(), times.parse().unwrap());
    say("ready");
    for _ in 0..times {
        loop {
            let old = store.load(key).await.unwrap().unwrap();
            let number = u64::from_le_bytes(old.payload[..].try_into().unwrap()) + 1;
            let revision = Revision::generate().unwrap();
            let new = Record { revision, payload: number.to_le_bytes().as_slice().into(), ..old.clone() };
            match store.save(key, old.revision, &new).await.unwrap() {
                Saved::Stored => break,
                Saved::Conflict => {}
                Saved::Missing => panic!("the session is gone"),
            }
        }
    }
}

/// The sessions that the parent wrote into a file: `KEY REVISION` a line.
fn given(directory: &Path) -> Vec<(SessionKey, Revision)> {
    let list = std::fs::read_to_string(directory.with_extension("list")).unwrap();
    let parse = |line: &str| {
        let (key, revision) = line.split_once(' ').unwrap();
        (key.parse().unwrap(), Revision::from_u64(revision.parse().unwrap()))
    };
    list.lines().map(parse).collect()
}

/// By compare-and-set; one that is over from the first is the end of a session.
async fn save_each(store: FileStore, directory: &Path, expires_at: Timestamp) {
    let sessions = given(directory);
    say("ready");
    for (key, expected) in sessions {
        let new = record(Revision::generate().unwrap(), Some("owner"), expires_at, 100);
        if store.save(key, expected, &new).await.unwrap() == Saved::Stored {
            say(&format!("{key} {}", new.revision.as_u64()));
        }
    }
}

async fn delete_each(store: FileStore, directory: &Path) {
    let sessions = given(directory);
    say("ready");
    for (key, _) in sessions.into_iter().rev() {
        if store.delete(key).await.unwrap() {
            say(&format!("{key} -"));
        }
    }
}

async fn create_each(store: FileStore, directory: &Path) {
    let sessions = given(directory);
    say("ready");
    for (key, _) in sessions {
        let new = record(Revision::generate().unwrap(), None, in_an_hour(), 100);
        if store.create(key, &new).await.unwrap() == Created::Stored {
            say(&format!("{key} {}", new.revision.as_u64()));
        }
    }
}

/// Does one thing when it is told to, all of it on one blocking thread, which is there before.
#[cfg(target_os = "linux")]
fn act(store: &FileStore, name: &str) {
    let act = match name {
        "prepare" => Act::Prepare,
        name => acts::all().into_iter().find(|scenario| scenario.name == name).unwrap().act,
    };
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime =
        builder.enable_all().max_blocking_threads(1).thread_keep_alive(Duration::MAX).build().unwrap();
    runtime.block_on(async {
        tokio::task::spawn_blocking(|| {}).await.unwrap();
        say("ready");
        std::io::stdin().read_line(&mut String::new()).unwrap();
        act.run(store).await;
        say("done");
        std::process::exit(0);
    });
}

/// Holds the lock of one directory.
async fn hold(directory: &str) {
    let directory = std::fs::File::open(directory).unwrap();
    directory.lock().unwrap();
    say("ready");
    std::future::pending::<()>().await;
}
