//! The operations on one session, in the order of the trait. They block: `store.rs` calls them off the async threads.
//!
//! The clock is read under the lock. Read before it, a writer could find a record live that a reader has already
//! seen expire, and revive it (`[T2]`, `[Y1]`).

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use session_core::{
    Created, Error, ErrorKind, Record, Result, Revision, Saved, SessionKey, Timestamp, Touched,
};

use crate::config::FileConfig;
use crate::dir::{self, Root};
use crate::error::{self, Doing as _};
use crate::layout;
use crate::lock::{self, Queues, Shard};
use crate::record::{RecordImage, Unreadable};

#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) config: FileConfig,
    /// Absolute, so that the process may change its working directory.
    pub(crate) directory: PathBuf,
    queues: Queues,
}

/// A record file that has been opened under its shard's lock.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) file: File,
    pub(crate) image: RecordImage,
}

impl Engine {
    pub(crate) fn new(config: FileConfig) -> Result<Self> {
        const MOST: usize = 1 << 30;
        if config.max_payload > MOST {
            return Err(error::invalid_config(format!(
                "max_payload is over 1 GiB, the most that fits: {MOST}"
            )));
        }
        let directory = std::path::absolute(&config.directory).map_err(|source| {
            error::invalid_config("not a directory's path".to_owned()).with_source(source)
        })?;
        Ok(Self { config, directory, queues: Queues::new() })
    }

    pub(crate) fn create(&self, key: SessionKey, record: &Record) -> Result<Created> {
        self.check(record)?;
        let root = self.root()?;
        let shard = self.lock(&root, key)?;
        let old = self.find(&shard, key, false)?.map(|found| found.image);
        if old.as_ref().is_some_and(|old| old.is_live(self.now())) {
            return Ok(Created::Occupied);
        }
        self.write(&root, &shard, key, record, old.as_ref())?;
        Ok(Created::Stored)
    }

    /// Reads without a lock. Only what is neither live nor absent is looked at again under the lock: then it is
    /// certain that no touch was under way.
    pub(crate) fn load(&self, key: SessionKey) -> Result<Option<Record>> {
        if let Some(record) = self.glance_at_once(key).filter(|record| record.expires_at > self.now()) {
            return Ok(Some(record));
        }
        let root = self.root()?;
        match self.glance(&root, key) {
            Ok(None) if !root.exists(layout::FORMAT).doing("look for the store")? => Err(lock::not_a_store()),
            Ok(None) => Ok(None),
            Ok(Some(record)) if record.expires_at > self.now() => Ok(Some(record)),
            _ => self.load_locked(&root, key),
        }
    }

    fn load_locked(&self, root: &Root, key: SessionKey) -> Result<Option<Record>> {
        let shard = self.lock(root, key)?;
        let found = self.find(&shard, key, false)?;
        match found.filter(|found| found.image.is_live(self.now())) {
            Some(Found { file, image }) => {
                image.into_record(&file).map(Some).map_err(|why| unreadable(key, why))
            }
            None => Ok(None),
        }
    }

    pub(crate) fn save(&self, key: SessionKey, expected: Revision, record: &Record) -> Result<Saved> {
        self.check(record)?;
        let root = self.root()?;
        let shard = self.lock(&root, key)?;
        let Some(old) = self.find(&shard, key, false)?.map(|found| found.image) else {
            return Ok(Saved::Missing);
        };
        if !old.is_live(self.now()) {
            return Ok(Saved::Missing);
        }
        if old.revision != expected {
            let repeated = old.revision == record.revision;
            return Ok(if repeated { Saved::Stored } else { Saved::Conflict });
        }
        self.write(&root, &shard, key, record, Some(&old))?;
        Ok(Saved::Stored)
    }

    pub(crate) fn touch(
        &self,
        key: SessionKey,
        expected: Revision,
        expires_at: Timestamp,
    ) -> Result<Touched> {
        let root = self.root()?;
        let shard = self.lock(&root, key)?;
        let Some(Found { file, image }) = self.find(&shard, key, true)? else { return Ok(Touched::Missing) };
        if !image.is_live(self.now()) {
            return Ok(Touched::Missing);
        }
        if image.revision != expected {
            return Ok(Touched::Conflict);
        }
        if expires_at > image.expires_at {
            image.set_slot(&file, expires_at, image.indexed_at).doing("touch a session")?;
            if self.sync() {
                file.sync_data().doing("synchronise a session")?;
            }
        }
        Ok(Touched::Stored)
    }

    pub(crate) fn delete(&self, key: SessionKey) -> Result<bool> {
        let root = self.root()?;
        let shard = self.lock(&root, key)?;
        match self.find(&shard, key, false) {
            Ok(None) => Ok(false),
            Ok(Some(found)) => {
                let live = found.image.is_live(self.now());
                self.remove(&root, &shard, key)?;
                Ok(live)
            }
            // A logout must work on a damaged session too.
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.put_aside(&root, &shard, key)?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.config.clock.now()
    }

    pub(crate) fn sync(&self) -> bool {
        self.config.durability.is_power_loss()
    }

    pub(crate) fn root(&self) -> Result<Root> {
        Root::open(&self.directory).doing("open the store's directory")
    }

    fn check(&self, record: &Record) -> Result<()> {
        let limit = self.config.max_payload;
        let len = record.payload.len();
        if len > limit { Err(error::too_large(len, limit)) } else { Ok(()) }
    }

    pub(crate) fn deadline(&self) -> Instant {
        // A timeout of centuries is no reason to panic.
        let now = Instant::now();
        now.checked_add(self.config.timeout).unwrap_or_else(|| now + Duration::from_secs(1 << 30))
    }

    pub(crate) fn lock(&self, root: &Root, key: SessionKey) -> Result<Shard<'_>> {
        self.lock_shard(root, layout::shard_of(key))
    }

    pub(crate) fn lock_shard(&self, root: &Root, number: u8) -> Result<Shard<'_>> {
        self.queues.lock(root, number, self.sync(), self.deadline())
    }

    /// What lies under a key, live or not, without a lock.
    pub(crate) fn glance(&self, root: &Root, key: SessionKey) -> Result<Option<Record>> {
        let read = || match dir::open_record(root.fd(), &layout::record_path(key), false)? {
            Some((file, len)) => read_record(&file, len, key).map(Some),
            None => Ok(None),
        };
        read().map_err(|why| unreadable(key, why))
    }

    /// The same without opening the root, which is a third of what a load costs. Whatever is not a whole record is
    /// `None`: the root has to say why.
    fn glance_at_once(&self, key: SessionKey) -> Option<Record> {
        let path = self.directory.join(layout::record_path(key));
        let (file, len) = dir::open_record_at_once(&path)?;
        read_record(&file, len, key).ok()
    }

    /// What lies under a key, live or not, under its shard's lock.
    pub(crate) fn find(&self, shard: &Shard<'_>, key: SessionKey, write: bool) -> Result<Option<Found>> {
        let read = || match dir::open_record(&shard.dir, &key.to_string(), write)? {
            Some((file, len)) => Ok(Some(Found { image: RecordImage::read_of(key, &file, len)?, file })),
            None => Ok(None),
        };
        read().map_err(|why| unreadable(key, why))
    }
}

fn read_record(file: &File, len: u64, key: SessionKey) -> std::result::Result<Record, Unreadable> {
    RecordImage::read_of(key, file, len)?.into_record(file)
}

fn unreadable(key: SessionKey, why: Unreadable) -> Error {
    match why {
        Unreadable::Io(error) => error::refused(error, "read a session"),
        Unreadable::Damaged(why) => error::damaged(key, why),
    }
}
