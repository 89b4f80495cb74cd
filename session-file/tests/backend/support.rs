//! A prepared store and its files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use session_core::{
    Created, Error, ErrorKind, Owner, Record, Result, Revision, SessionKey, SessionStore as _, Timestamp,
};
use session_file::{FileConfig, FileStore};

/// A store in a directory that goes away with it.
pub(crate) struct Place {
    pub(crate) store: FileStore,
    pub(crate) directory: PathBuf,
    _parent: tempfile::TempDir,
}

impl Place {
    pub(crate) async fn new() -> Self {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("sessions");
        let store = FileStore::new(FileConfig::new(&directory)).unwrap();
        store.prepare().await.unwrap();
        Self { store, directory, _parent: parent }
    }

    pub(crate) fn path(&self, key: SessionKey) -> PathBuf {
        self.shard(key).join(key.to_string())
    }

    pub(crate) fn shard(&self, key: SessionKey) -> PathBuf {
        self.directory.join("sessions").join(format!("{:02x}", key.as_bytes()[15]))
    }

    pub(crate) async fn create(&self, record: &Record) -> SessionKey {
        let key = new_key();
        assert_eq!(self.store.create(key, record).await.unwrap(), Created::Stored);
        key
    }

    pub(crate) async fn listed(&self, owner: Option<&Owner>) -> Vec<SessionKey> {
        let page = self.store.list(owner, None, 1_000).await.unwrap();
        page.sessions.iter().map(|(key, _)| *key).collect()
    }
}

pub(crate) fn new_key() -> SessionKey {
    SessionKey::generate().unwrap()
}

/// Another key of the same shard.
pub(crate) fn neighbour(key: SessionKey) -> SessionKey {
    std::iter::repeat_with(new_key)
        .find(|other| other.as_bytes()[15] == key.as_bytes()[15] && *other != key)
        .unwrap()
}

pub(crate) fn record(owner: Option<&str>, expires_at: Timestamp, len: usize) -> Record {
    Record {
        revision: Revision::generate().unwrap(),
        owner: owner.map(|owner| owner.parse().unwrap()),
        created_at: Timestamp::now(),
        expires_at,
        payload: vec![b'p'; len].into(),
    }
}

pub(crate) fn in_an_hour() -> Timestamp {
    Timestamp::now().saturating_add(Duration::from_secs(3600))
}

pub(crate) fn live(owner: Option<&str>, len: usize) -> Record {
    record(owner, in_an_hour(), len)
}

/// Written like any other, and not live.
pub(crate) fn expired(owner: Option<&str>, len: usize) -> Record {
    record(owner, Timestamp::from_millis(Timestamp::now().as_millis() - 1_000), len)
}

/// The kind of an error that has the backend's name on it.
#[track_caller]
pub(crate) fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    let error: Error = result.unwrap_err();
    assert_eq!(error.backend(), Some("file"), "{error:?}");
    error.kind()
}

/// All files below a directory, sorted.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap()) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort_unstable();
    found
}

/// Says aloud that a test did nothing here.
pub(crate) fn skip(why: &str) {
    eprintln!("skipped: {why}");
}
