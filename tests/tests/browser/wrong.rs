//! Stores and interfaces, each with one thing wrong.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use session_conformance::browser::{CookieChange, Exchange, Interface};
use session_core::{
    Commit, Created, Cursor, Outcome, Owner, Page, Record, Result, Revision, Saved, Session, SessionId,
    SessionKey, SessionManager, SessionStore, Timestamp, Touched, Value,
};

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreFault {
    /// A save of what is gone creates it.
    SaveUpserts,
    /// A save does not compare revisions.
    SaveOverwrites,
    /// A touch does not compare revisions.
    TouchIsUnconditional,
    /// A load gives the record of another session, if there is one: a reply that went astray, a swapped row.
    LoadGoesAstray,
    /// A revocation of an owner's sessions leaves one.
    RevocationLeavesOne,
    /// A write without an owner over one with an owner is answered and not made.
    OwnersStay,
    /// A delete is answered and not made when the session was saved twice or more.
    DeleteComparesRevision,
}

#[derive(Debug)]
pub(crate) struct WrongStore {
    pub(crate) inner: Arc<dyn SessionStore>,
    pub(crate) fault: StoreFault,
    /// The first revision of each record, and the keys in their order.
    pub(crate) first: Mutex<Vec<(SessionKey, Revision)>>,
}

impl WrongStore {
    pub(crate) fn new(inner: Arc<dyn SessionStore>, fault: StoreFault) -> Self {
        Self { inner, fault, first: Mutex::default() }
    }

    fn has(&self, fault: StoreFault) -> bool {
        self.fault == fault
    }
}

#[async_trait]
impl SessionStore for WrongStore {
    async fn prepare(&self) -> Result<()> {
        self.inner.prepare().await
    }

    async fn create(&self, key: SessionKey, record: &Record) -> Result<Created> {
        self.first.lock().unwrap().push((key, record.revision));
        self.inner.create(key, record).await
    }

    async fn load(&self, key: SessionKey) -> Result<Option<Record>> {
        let found = self.inner.load(key).await?;
        if self.has(StoreFault::LoadGoesAstray) && found.is_some() {
            let keys = self.first.lock().unwrap().clone();
            for (other, _) in keys.into_iter().filter(|(other, _)| *other != key) {
                if let Some(record) = self.inner.load(other).await? {
                    return Ok(Some(record));
                }
            }
        }
        Ok(found)
    }

    async fn save(&self, key: SessionKey, expected: Revision, record: &Record) -> Result<Saved> {
        let mut expected = expected;
        if self.has(StoreFault::SaveOverwrites) || self.has(StoreFault::OwnersStay) {
            let found = self.inner.load(key).await?;
            if self.has(StoreFault::SaveOverwrites) {
                expected = found.map_or(expected, |found| found.revision);
            } else if found.is_some_and(|found| found.owner.is_some() && record.owner.is_none()) {
                return Ok(Saved::Stored);
            }
        }
        let saved = self.inner.save(key, expected, record).await?;
        if self.has(StoreFault::SaveUpserts) && saved == Saved::Missing {
            let _ = self.inner.create(key, record).await?;
            return Ok(Saved::Stored);
        }
        Ok(saved)
    }

    async fn touch(&self, key: SessionKey, expected: Revision, expires_at: Timestamp) -> Result<Touched> {
        let mut expected = expected;
        if self.has(StoreFault::TouchIsUnconditional) {
            expected = self.inner.load(key).await?.map_or(expected, |found| found.revision);
        }
        self.inner.touch(key, expected, expires_at).await
    }

    async fn delete(&self, key: SessionKey) -> Result<bool> {
        if self.has(StoreFault::DeleteComparesRevision) {
            let found = self.inner.load(key).await?;
            let first = self.first.lock().unwrap().iter().find(|(known, _)| *known == key).map(|(_, it)| *it);
            if found.is_some_and(|found| Some(found.revision) != first) {
                return Ok(true);
            }
        }
        self.inner.delete(key).await
    }

    async fn list(&self, owner: Option<&Owner>, cursor: Option<&Cursor>, limit: usize) -> Result<Page> {
        self.inner.list(owner, cursor, limit).await
    }

    async fn delete_owned(&self, owner: &Owner, keep: Option<SessionKey>) -> Result<u64> {
        let mut keep = keep;
        if self.has(StoreFault::RevocationLeavesOne) && keep.is_none() {
            keep = self.inner.list(Some(owner), None, 1).await?.sessions.first().map(|(key, _)| *key);
        }
        self.inner.delete_owned(owner, keep).await
    }

    async fn delete_expired(&self, limit: usize) -> Result<u64> {
        self.inner.delete_expired(limit).await
    }

    async fn now(&self) -> Result<Timestamp> {
        self.inner.now().await
    }
}

/// What is wrong with an interface, or with the manager as it shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The key alone opens a session.
    SecretIsNotCompared,
    /// A change of id moves the session to another key.
    ChangeOfIdMoves,
    /// A renewal closes the older id at once.
    RenewalClosesAtOnce,
    /// A superseded id begins a new session.
    SupersededBeginsAnew,
    /// A sign-out ends the session only if its id is still the right one, and says that it did.
    SignOutNeedsCurrentId,
    /// A sign-out with a superseded id says that it ended something.
    RefusedSignOutIsOk,
    /// What was dropped is told as stored.
    DropsInSilence,
    /// What a superseded request wrote is stored by its key.
    OldAuthorityWrites,
    /// A sign-in with a superseded id is dropped.
    SupersededSignInIsDropped,
    /// Another owner's session keeps the entries.
    NextOwnerGetsEntries,
    /// Each change of data sends the cookie.
    EachChangeSendsCookie,
    /// A session that others ended takes the cookie away.
    RemovesWhatOthersEnded,
    /// A new id is only sent if there was no cookie.
    ChangeIsNotTold,
    /// An answer whose changes were dropped sends a new session's cookie.
    DroppedBeginsAnew,
}

pub(crate) struct WrongInterface {
    pub(crate) manager: SessionManager,
    pub(crate) fault: Fault,
    /// The last id of each session, as far as answers had it.
    pub(crate) last: Arc<Mutex<HashMap<SessionKey, SessionId>>>,
}

struct WrongExchange {
    manager: SessionManager,
    fault: Fault,
    last: Arc<Mutex<HashMap<SessionKey, SessionId>>>,
    cookie: Option<SessionId>,
    session: Session,
    /// What the session was when it was opened.
    key: Option<SessionKey>,
    owner: Option<Owner>,
    entries: Vec<(String, Value)>,
    superseded: bool,
    /// Another session in its place.
    other: Mutex<Option<Session>>,
}

#[async_trait]
impl Interface for WrongInterface {
    async fn open(&self, cookie: Option<&str>) -> Result<Box<dyn Exchange>> {
        let (manager, fault) = (self.manager.clone(), self.fault);
        let mut cookie: Option<SessionId> = cookie.and_then(|text| text.parse().ok());
        if fault == Fault::SecretIsNotCompared {
            let known = cookie.as_ref().and_then(|id| self.last.lock().unwrap().get(&id.key()).cloned());
            cookie = known.or(cookie);
        }
        let mut session = manager.open(cookie.as_ref()).await?;
        let superseded = session.is_superseded();
        let is_older = session.key().is_some() && session.id() != cookie;
        if superseded && fault == Fault::SupersededBeginsAnew
            || is_older && fault == Fault::RenewalClosesAtOnce
        {
            session = Session::empty();
        }
        Ok(Box::new(WrongExchange {
            manager,
            fault,
            last: Arc::clone(&self.last),
            cookie,
            key: session.key(),
            owner: session.owner(),
            entries: session.entries()?.into_iter().collect(),
            session,
            superseded,
            other: Mutex::default(),
        }))
    }
}

impl WrongExchange {
    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// `Unchanged`, from a session in which nothing was done.
    async fn nothing(&self) -> Result<Commit> {
        self.manager.commit(&Session::empty()).await
    }

    async fn copy_to_new_key(&self) -> Result<()> {
        let copy = Session::empty();
        for (key, value) in self.session.entries()? {
            copy.insert(&key, value)?;
        }
        if let Some(owner) = self.session.owner() {
            copy.sign_in(owner);
        }
        let _ = self.manager.commit(&copy).await?;
        if let Some(key) = self.session.key() {
            self.manager.revoke(key).await?;
        }
        *self.other.lock().unwrap() = Some(copy);
        Ok(())
    }
}

#[async_trait]
impl Exchange for WrongExchange {
    fn session(&self) -> &Session {
        &self.session
    }

    async fn commit(&self) -> Result<Commit> {
        let is_empty = self.session.owner().is_none() && self.session.is_empty();
        let destroyed = self.key.is_some() && self.session.key().is_none() && is_empty;
        let next_owner =
            self.owner.is_some() && self.session.owner().is_some() && self.session.owner() != self.owner;
        if self.has(Fault::SignOutNeedsCurrentId)
            && destroyed
            && self.manager.open(self.cookie.as_ref()).await?.key().is_none()
        {
            return self.nothing().await;
        }
        match self.fault {
            Fault::SupersededSignInIsDropped if self.superseded && self.session.owner().is_some() => {
                return self.nothing().await;
            }
            Fault::NextOwnerGetsEntries if next_owner => {
                for (key, value) in &self.entries {
                    self.session.insert(key, value)?;
                }
            }
            _ => {}
        }
        let committed = self.manager.commit(&self.session).await;
        if self.has(Fault::RefusedSignOutIsOk) && self.superseded && committed.is_err() {
            return self.nothing().await;
        }
        let commit = committed?;
        match self.fault {
            Fault::ChangeOfIdMoves if commit.outcome == Outcome::Rotated => self.copy_to_new_key().await?,
            Fault::DropsInSilence if commit.dropped_changes => return self.nothing().await,
            Fault::OldAuthorityWrites if commit.outcome == Outcome::Superseded => {
                if let Some(key) = self.cookie.as_ref().map(SessionId::key) {
                    self.manager.change(key, |session| session.insert("late", true)).await?;
                }
            }
            Fault::DroppedBeginsAnew if commit.dropped_changes => {
                let other = Session::empty();
                other.insert("late", true)?;
                let _ = self.manager.commit(&other).await?;
                *self.other.lock().unwrap() = Some(other);
            }
            _ => {}
        }
        Ok(commit)
    }

    fn cookie(&self) -> CookieChange {
        let status = match &*self.other.lock().unwrap() {
            Some(other) => other.status(),
            None => self.session.status(),
        };
        if let Some(id) = &status.id {
            self.last.lock().unwrap().insert(id.key(), id.clone());
        }
        match status.id {
            Some(_) if self.has(Fault::ChangeIsNotTold) && self.cookie.is_some() => CookieChange::Keep,
            Some(id) if status.id_is_new || self.has(Fault::EachChangeSendsCookie) && status.modified => {
                CookieChange::Set(id.expose())
            }
            None if status.ended_here && status.key.is_none() => CookieChange::Remove,
            None if self.has(Fault::RemovesWhatOthersEnded) && status.key.is_none() && self.key.is_some() => {
                CookieChange::Remove
            }
            _ => CookieChange::Keep,
        }
    }
}
