//! The store.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use redb::{Database, ReadableDatabase};
use session_core::{
    Created, Cursor, Error, ErrorKind, Owner, Page, Record, Result, Revision, Saved, SessionKey,
    SessionStore, Timestamp, Touched,
};

use crate::error::from_redb;
use crate::layout::{OWNERS, SESSIONS, Tables, decode, key, number};

/// Sessions in one redb file. Clones share the database, which one process can open at a time.
#[derive(Clone, Debug)]
pub struct RedbStore {
    database: Arc<Database>,
}

/// The largest payload, in bytes.
const MAX_PAYLOAD: usize = 1 << 20;

impl RedbStore {
    /// Opens the database in a file, or makes a new one.
    ///
    /// # Errors
    /// When the file cannot be opened, or is open already.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Database::create(path).map(|database| Self::new(Arc::new(database))).map_err(from_redb)
    }

    /// A store in a database that is open already.
    #[must_use]
    pub fn new(database: Arc<Database>) -> Self {
        Self { database }
    }

    /// Runs `work` where it may block. It goes on to its end even if the caller goes away: that is `[F3]`.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let database = Arc::clone(&self.database);
        let done = tokio::task::spawn_blocking(move || work(&database)).await;
        done.map_err(|error| Error::new(ErrorKind::Other, "the database thread failed").with_source(error))?
    }

    /// One write transaction: everything in `work` takes effect at once, or nothing does.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.blocking(|database| {
            let transaction = database.begin_write().map_err(from_redb)?;
            let answer = work(&mut Tables::open(&transaction)?)?;
            transaction.commit().map_err(from_redb)?;
            Ok(answer)
        })
        .await
    }
}

fn live(record: &Record) -> bool {
    record.expires_at > Timestamp::now()
}

fn check_size(record: &Record) -> Result<()> {
    if record.payload.len() <= MAX_PAYLOAD {
        return Ok(());
    }
    let message = format!("the payload has {} bytes, the limit is {MAX_PAYLOAD}", record.payload.len());
    Err(Error::new(ErrorKind::TooLarge, message).with_backend("redb"))
}

#[async_trait]
impl SessionStore for RedbStore {
    async fn prepare(&self) -> Result<()> {
        self.write(|_| Ok(())).await
    }

    async fn create(&self, key: SessionKey, record: &Record) -> Result<Created> {
        check_size(record)?;
        let record = record.clone();
        self.write(move |tables| {
            if tables.get(key)?.is_some_and(|found| live(&found)) {
                return Ok(Created::Occupied);
            }
            tables.put(key, &record)?;
            Ok(Created::Stored)
        })
        .await
    }

    async fn load(&self, key: SessionKey) -> Result<Option<Record>> {
        self.blocking(move |database| {
            let transaction = database.begin_read().map_err(from_redb)?;
            let sessions = transaction.open_table(SESSIONS).map_err(from_redb)?;
            let found = sessions.get(number(key)).map_err(from_redb)?;
            let found = found.map(|bytes| decode(bytes.value())).transpose()?;
            Ok(found.filter(live))
        })
        .await
    }

    async fn save(&self, key: SessionKey, expected: Revision, record: &Record) -> Result<Saved> {
        check_size(record)?;
        let record = record.clone();
        self.write(move |tables| match tables.get(key)?.filter(live) {
            None => Ok(Saved::Missing),
            Some(found) if found.revision == record.revision => Ok(Saved::Stored),
            Some(found) if found.revision != expected => Ok(Saved::Conflict),
            Some(_) => {
                tables.put(key, &record)?;
                Ok(Saved::Stored)
            }
        })
        .await
    }

    async fn touch(&self, key: SessionKey, expected: Revision, expires_at: Timestamp) -> Result<Touched> {
        self.write(move |tables| match tables.get(key)?.filter(live) {
            None => Ok(Touched::Missing),
            Some(found) if found.revision != expected => Ok(Touched::Conflict),
            Some(found) if found.expires_at >= expires_at => Ok(Touched::Stored),
            Some(found) => {
                tables.put(key, &Record { expires_at, ..found })?;
                Ok(Touched::Stored)
            }
        })
        .await
    }

    async fn delete(&self, key: SessionKey) -> Result<bool> {
        self.write(move |tables| Ok(tables.remove(key)?.is_some_and(|found| live(&found)))).await
    }

    async fn list(&self, owner: Option<&Owner>, cursor: Option<&Cursor>, limit: usize) -> Result<Page> {
        let after = match cursor.map(|cursor| cursor.as_str().parse::<SessionKey>()) {
            None => None,
            Some(Ok(key)) => Some(number(key)),
            Some(Err(error)) => {
                return Err(
                    Error::new(ErrorKind::InvalidInput, "not a cursor of this store").with_source(error)
                );
            }
        };
        let owner = owner.cloned();
        self.blocking(move |database| page(database, owner.as_ref(), after, limit.max(1))).await
    }

    async fn delete_owned(&self, owner: &Owner, keep: Option<SessionKey>) -> Result<u64> {
        let owner = owner.clone();
        self.write(move |tables| {
            let mut ended = 0;
            for key in tables.owned(&owner)?.into_iter().filter(|key| keep != Some(*key)) {
                ended += u64::from(tables.remove(key)?.is_some_and(|found| live(&found)));
            }
            Ok(ended)
        })
        .await
    }

    async fn delete_expired(&self, limit: usize) -> Result<u64> {
        self.write(move |tables| {
            let expired = tables.expired(Timestamp::now(), limit)?;
            for key in &expired {
                tables.remove(*key)?;
            }
            Ok(expired.len() as u64)
        })
        .await
    }

    async fn now(&self) -> Result<Timestamp> {
        Ok(Timestamp::now())
    }
}

/// The live sessions behind the key `after`, in the order of keys; the cursor is the last key given.
fn page(database: &Database, owner: Option<&Owner>, after: Option<u128>, limit: usize) -> Result<Page> {
    let transaction = database.begin_read().map_err(from_redb)?;
    let sessions = transaction.open_table(SESSIONS).map_err(from_redb)?;
    let owners = transaction.open_table(OWNERS).map_err(from_redb)?;
    let Some(start) = after.map_or(Some(0), |after| after.checked_add(1)) else { return Ok(Page::default()) };
    let mut page = Page::default();
    let mut add = |at: u128, bytes: &[u8]| {
        // A damaged record hides no other one; who loads it is told.
        let Some(record) = decode(bytes).ok().filter(live) else { return Ok(true) };
        if page.sessions.len() == limit {
            page.next = page.sessions.last().map(|(key, _)| Cursor::new(key.to_string()));
            return Ok(false);
        }
        page.sessions.push((key(at)?, record));
        Ok::<_, Error>(true)
    };
    if let Some(owner) = owner {
        let mine = (owner.as_str(), start)..=(owner.as_str(), u128::MAX);
        for entry in owners.range(mine).map_err(from_redb)? {
            let at = entry.map_err(from_redb)?.0.value().1;
            let found = sessions.get(at).map_err(from_redb)?;
            if let Some(bytes) = found
                && !add(at, bytes.value())?
            {
                break;
            }
        }
    } else {
        for entry in sessions.range(start..).map_err(from_redb)? {
            let (at, bytes) = entry.map_err(from_redb)?;
            if !add(at.value(), bytes.value())? {
                break;
            }
        }
    }
    Ok(page)
}
