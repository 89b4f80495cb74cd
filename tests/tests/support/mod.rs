//! The reference store: one mutex around one map, so simple that it is obviously right, and the frame in which
//! broken stores are made of it.

#![allow(unreachable_pub, clippy::unwrap_used)] // a module of tests, shared by two of them

use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use session_conformance::{Capability, Harness};
use session_core::{
    Created, Cursor, Error, ErrorKind, Owner, Page, Record, Result, Revision, Saved, SessionKey,
    SessionStore, Timestamp, Touched,
};

/// Small, so that cases at the limit are quick.
pub const MAX_PAYLOAD: usize = 150_000;

pub type Map = BTreeMap<SessionKey, Record>;

/// What a namespace holds.
#[derive(Debug, Default)]
pub struct Data {
    records: Mutex<Map>,
    damaged: Mutex<HashSet<SessionKey>>,
    paused: AtomicBool,
    /// For broken stores: an index of their own, counts, whatever they get wrong.
    pub index: Mutex<BTreeMap<SessionKey, Option<Owner>>>,
    pub count: AtomicU64,
    pub flag: AtomicBool,
}

/// A handle.
#[derive(Clone, Debug)]
pub struct Reference(pub Arc<Data>);

pub fn live(record: &Record) -> bool {
    record.expires_at > Timestamp::now()
}

impl Reference {
    pub fn lock(&self) -> MutexGuard<'_, Map> {
        self.0.records.lock().unwrap()
    }

    pub fn is_paused(&self) -> bool {
        self.0.paused.load(SeqCst)
    }

    pub fn is_damaged(&self, key: SessionKey) -> bool {
        self.0.damaged.lock().unwrap().contains(&key)
    }

    /// The way to the storage: it hangs while the backend is paused, until the timeout. Another task may run
    /// before the storage is reached.
    async fn reach(&self) -> Result<()> {
        tokio::task::yield_now().await;
        for _ in 0..10 {
            if !self.is_paused() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Err(Error::new(ErrorKind::Timeout, "no answer in 50 ms"))
    }
}

pub fn check_size(record: &Record) -> Result<()> {
    if record.payload.len() <= MAX_PAYLOAD {
        return Ok(());
    }
    Err(Error::new(ErrorKind::TooLarge, format!("over {MAX_PAYLOAD} bytes")))
}

pub fn page(records: &Map, owner: Option<&Owner>, cursor: Option<&Cursor>, limit: usize) -> Result<Page> {
    let after = match cursor.map(|cursor| cursor.as_str().parse::<SessionKey>()) {
        None => None,
        Some(Ok(key)) => Some(key),
        Some(Err(error)) => {
            return Err(Error::new(ErrorKind::InvalidInput, "foreign cursor").with_source(error));
        }
    };
    let mut rest = records
        .iter()
        .filter(|(key, record)| after.is_none_or(|after| **key > after) && live(record))
        .filter(|(_, record)| owner.is_none() || owner == record.owner.as_ref())
        .map(|(key, record)| (*key, record.clone()));
    let sessions: Vec<_> = rest.by_ref().take(limit.max(1)).collect();
    let more = rest.next().is_some();
    let next = sessions.last().filter(|_| more).map(|(key, _)| Cursor::new(key.to_string()));
    Ok(Page { sessions, next })
}

#[async_trait]
impl SessionStore for Reference {
    async fn prepare(&self) -> Result<()> {
        Ok(())
    }

    async fn create(&self, key: SessionKey, record: &Record) -> Result<Created> {
        check_size(record)?;
        self.reach().await?;
        let mut records = self.lock();
        if records.get(&key).is_some_and(live) {
            return Ok(Created::Occupied);
        }
        records.insert(key, record.clone());
        self.0.damaged.lock().unwrap().remove(&key);
        Ok(Created::Stored)
    }

    async fn load(&self, key: SessionKey) -> Result<Option<Record>> {
        self.reach().await?;
        if self.is_damaged(key) && self.lock().contains_key(&key) {
            return Err(Error::new(ErrorKind::Corrupt, "damaged"));
        }
        Ok(self.lock().get(&key).filter(|record| live(record)).cloned())
    }

    async fn save(&self, key: SessionKey, expected: Revision, record: &Record) -> Result<Saved> {
        check_size(record)?;
        self.reach().await?;
        let mut records = self.lock();
        match records.get(&key).filter(|found| live(found)) {
            None => Ok(Saved::Missing),
            Some(found) if found.revision == record.revision => Ok(Saved::Stored),
            Some(found) if found.revision != expected => Ok(Saved::Conflict),
            Some(_) => {
                records.insert(key, record.clone());
                Ok(Saved::Stored)
            }
        }
    }

    async fn touch(&self, key: SessionKey, expected: Revision, expires_at: Timestamp) -> Result<Touched> {
        self.reach().await?;
        let mut records = self.lock();
        match records.get_mut(&key).filter(|found| live(found)) {
            None => Ok(Touched::Missing),
            Some(found) if found.revision != expected => Ok(Touched::Conflict),
            Some(found) => {
                found.expires_at = found.expires_at.max(expires_at);
                Ok(Touched::Stored)
            }
        }
    }

    async fn delete(&self, key: SessionKey) -> Result<bool> {
        self.reach().await?;
        Ok(self.lock().remove(&key).is_some_and(|found| live(&found)))
    }

    async fn list(&self, owner: Option<&Owner>, cursor: Option<&Cursor>, limit: usize) -> Result<Page> {
        self.reach().await?;
        let mut records = self.lock().clone();
        records.retain(|key, _| !self.is_damaged(*key));
        page(&records, owner, cursor, limit)
    }

    async fn delete_owned(&self, owner: &Owner, keep: Option<SessionKey>) -> Result<u64> {
        self.reach().await?;
        let mut count = 0;
        self.lock().retain(|key, record| {
            let ends = record.owner.as_ref() == Some(owner) && keep != Some(*key);
            count += u64::from(ends && live(record));
            !ends
        });
        Ok(count)
    }

    async fn delete_expired(&self, limit: usize) -> Result<u64> {
        self.reach().await?;
        let mut records = self.lock();
        let expired: Vec<_> =
            records.iter().filter(|(_, record)| !live(record)).map(|(key, _)| *key).take(limit).collect();
        for key in &expired {
            records.remove(key);
        }
        Ok(expired.len() as u64)
    }

    async fn now(&self) -> Result<Timestamp> {
        self.reach().await?;
        Ok(Timestamp::now())
    }
}

/// A store with something wrong: each method is the reference's until it is overridden. A new value is made for
/// each handle, so its own fields are what the handle remembers.
#[async_trait]
pub trait Broken: Debug + Send + Sync + 'static {
    /// Called when a handle is opened.
    fn opened(&self, _at: &Reference) {}

    async fn prepare(&self, at: &Reference) -> Result<()> {
        at.prepare().await
    }

    async fn create(&self, at: &Reference, key: SessionKey, record: &Record) -> Result<Created> {
        at.create(key, record).await
    }

    async fn load(&self, at: &Reference, key: SessionKey) -> Result<Option<Record>> {
        at.load(key).await
    }

    async fn save(
        &self,
        at: &Reference,
        key: SessionKey,
        expected: Revision,
        record: &Record,
    ) -> Result<Saved> {
        at.save(key, expected, record).await
    }

    async fn touch(
        &self,
        at: &Reference,
        key: SessionKey,
        expected: Revision,
        expires_at: Timestamp,
    ) -> Result<Touched> {
        at.touch(key, expected, expires_at).await
    }

    async fn delete(&self, at: &Reference, key: SessionKey) -> Result<bool> {
        at.delete(key).await
    }

    async fn list(
        &self,
        at: &Reference,
        owner: Option<&Owner>,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page> {
        at.list(owner, cursor, limit).await
    }

    async fn delete_owned(&self, at: &Reference, owner: &Owner, keep: Option<SessionKey>) -> Result<u64> {
        at.delete_owned(owner, keep).await
    }

    async fn delete_expired(&self, at: &Reference, limit: usize) -> Result<u64> {
        at.delete_expired(limit).await
    }

    async fn now(&self, at: &Reference) -> Result<Timestamp> {
        at.now().await
    }
}

#[derive(Debug)]
struct BrokenStore {
    broken: Box<dyn Broken>,
    at: Reference,
}

#[async_trait]
impl SessionStore for BrokenStore {
    async fn prepare(&self) -> Result<()> {
        self.broken.prepare(&self.at).await
    }

    async fn create(&self, key: SessionKey, record: &Record) -> Result<Created> {
        self.broken.create(&self.at, key, record).await
    }

    async fn load(&self, key: SessionKey) -> Result<Option<Record>> {
        self.broken.load(&self.at, key).await
    }

    async fn save(&self, key: SessionKey, expected: Revision, record: &Record) -> Result<Saved> {
        self.broken.save(&self.at, key, expected, record).await
    }

    async fn touch(&self, key: SessionKey, expected: Revision, expires_at: Timestamp) -> Result<Touched> {
        self.broken.touch(&self.at, key, expected, expires_at).await
    }

    async fn delete(&self, key: SessionKey) -> Result<bool> {
        self.broken.delete(&self.at, key).await
    }

    async fn list(&self, owner: Option<&Owner>, cursor: Option<&Cursor>, limit: usize) -> Result<Page> {
        self.broken.list(&self.at, owner, cursor, limit).await
    }

    async fn delete_owned(&self, owner: &Owner, keep: Option<SessionKey>) -> Result<u64> {
        self.broken.delete_owned(&self.at, owner, keep).await
    }

    async fn delete_expired(&self, limit: usize) -> Result<u64> {
        self.broken.delete_expired(&self.at, limit).await
    }

    async fn now(&self) -> Result<Timestamp> {
        self.broken.now(&self.at).await
    }
}

/// Nothing wrong.
#[derive(Debug, Default)]
pub struct Sound;

impl Broken for Sound {}

/// The harness of a broken store, and of the sound one.
#[derive(Debug)]
pub struct Bench {
    make: fn() -> Box<dyn Broken>,
}

impl Bench {
    pub fn of<B: Broken + Default>() -> Self {
        Self { make: || Box::new(B::default()) }
    }
}

#[async_trait]
impl Harness for Bench {
    const BACKEND: &'static str = "reference";
    const CAPABILITIES: &'static [Capability] = &[
        Capability::Durable,
        Capability::Shared,
        Capability::OwnerIndex,
        Capability::Pause,
        Capability::Damage,
    ];
    type Namespace = Arc<Data>;

    async fn namespace(&self) -> Result<Arc<Data>> {
        Ok(Arc::default())
    }

    async fn open(&self, namespace: &Arc<Data>) -> Result<Arc<dyn SessionStore>> {
        let (broken, at) = ((self.make)(), Reference(Arc::clone(namespace)));
        broken.opened(&at);
        Ok(Arc::new(BrokenStore { broken, at }))
    }

    fn max_payload(&self) -> usize {
        MAX_PAYLOAD
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(200)
    }

    fn time_limit(&self) -> Duration {
        Duration::from_secs(30)
    }

    async fn pause(&self, namespace: &Arc<Data>) -> Result<()> {
        namespace.paused.store(true, SeqCst);
        Ok(())
    }

    async fn resume(&self, namespace: &Arc<Data>) -> Result<()> {
        namespace.paused.store(false, SeqCst);
        Ok(())
    }

    async fn damage(&self, namespace: &Arc<Data>, key: SessionKey) -> Result<()> {
        namespace.damaged.lock().unwrap().insert(key);
        Ok(())
    }
}

/// For broken stores that do something in two steps: lets other tasks in between.
pub async fn meanwhile() {
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_micros(200)).await;
}

/// For broken stores that hang.
pub fn for_ever<T>() -> impl Future<Output = T> {
    std::future::pending()
}
