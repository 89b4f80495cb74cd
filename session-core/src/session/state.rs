//! What a session knows of itself.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::changes::{Changes, Update};
use super::{PERMANENT, RESERVED};
use crate::codec::Body;
use crate::{Error, ErrorKind, Owner, Record, Result, Revision, SessionId, SessionKey, Timestamp, Value};

/// The state behind a [`Session`](crate::Session). Reads look at the changes since the last commit, then at those of
/// a commit under way, then at what is stored.
#[derive(Debug)]
pub(crate) struct State {
    /// What is stored, if anything is.
    pub(crate) stored: Option<Stored>,
    pub(crate) body: Body,
    pub(crate) changes: Changes,
    /// A commit that is under way, or whose outcome is not known.
    pub(crate) attempt: Option<Arc<Attempt>>,
    /// Keys to delete at the next commit: the session was destroyed.
    pub(crate) doomed: Vec<SessionKey>,
    /// Why nothing can be put into this session, if nothing can.
    pub(crate) unwritable: Option<&'static str>,
    pub(crate) new: bool,
    /// Whether the id is another one than the session was opened with.
    pub(crate) id_is_new: bool,
    pub(crate) accessed: bool,
    pub(crate) modified: bool,
    /// Counts operations, so that an update notices others between its reading and its writing.
    pub(crate) version: u64,
}

/// The stored record that the session stands on, without its payload.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// Absent when the session was opened under an id that has been renewed: the new one is not known here.
    pub(crate) id: Option<SessionId>,
    pub(crate) key: SessionKey,
    pub(crate) revision: Revision,
    pub(crate) owner: Option<Owner>,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
}

impl Stored {
    pub(crate) fn new(id: Option<SessionId>, key: SessionKey, record: &Record) -> Self {
        Self {
            id,
            key,
            revision: record.revision,
            owner: record.owner.clone(),
            created_at: record.created_at,
            expires_at: record.expires_at,
        }
    }
}

/// One write that was sent to the store.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) changes: Changes,
    pub(crate) write: Write,
    pub(crate) record: Record,
    /// The entries as they are once the record is stored; empty when the session ends.
    pub(crate) body: Body,
    /// The session ends with this write: nothing was left in it.
    pub(crate) ends: bool,
}

/// How an attempt reaches the store.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Create { id: SessionId },
    Save { id: Option<SessionId>, key: SessionKey, expected: Revision },
}

impl State {
    pub(crate) fn fresh() -> Self {
        Self::on(None, Body::empty())
    }

    pub(crate) fn loaded(stored: Stored, body: Body) -> Self {
        Self::on(Some(stored), body)
    }

    fn on(stored: Option<Stored>, body: Body) -> Self {
        Self {
            new: stored.is_none(),
            stored,
            body,
            changes: Changes::default(),
            attempt: None,
            doomed: Vec::new(),
            unwritable: None,
            id_is_new: false,
            accessed: false,
            modified: false,
            version: 0,
        }
    }

    pub(crate) fn check_writable(&self) -> Result<()> {
        self.unwritable.map_or(Ok(()), |why| Err(Error::new(ErrorKind::InvalidConfig, why)))
    }

    /// The present value of an entry.
    pub(crate) fn get(&self, key: &str) -> Result<Option<Value>> {
        match self.changed(key) {
            Some(value) => Ok(value.cloned()),
            None => self.body.get(key),
        }
    }

    pub(crate) fn contains_key(&self, key: &str) -> bool {
        match self.changed(key) {
            Some(value) => value.is_some(),
            None => self.body.contains_key(key),
        }
    }

    pub(crate) fn is_permanent(&self) -> bool {
        matches!(self.get(PERMANENT), Ok(Some(Value::Bool(true))))
    }

    pub(crate) fn keys(&self) -> BTreeSet<String> {
        let mut keys: BTreeSet<String> = BTreeSet::new();
        let attempt = self.attempt.as_ref().map(|attempt| &attempt.changes);
        if !self.layers().any(|layer| layer.cleared) {
            keys.extend(self.visible().map(Cow::into_owned));
        }
        let visible = if self.changes.cleared { None } else { attempt };
        for layer in visible.into_iter().chain([&self.changes]) {
            for (key, change) in &layer.entries {
                if change.value().is_some() {
                    keys.insert(key.clone())
                } else {
                    keys.remove(key)
                };
            }
        }
        keys
    }

    pub(crate) fn len(&self) -> usize {
        if self.layers().all(|layer| !layer.cleared && layer.entries.is_empty()) {
            self.visible().count()
        } else {
            self.keys().len()
        }
    }

    pub(crate) fn owner(&self) -> Option<&Owner> {
        let set = self.layers().find_map(|layer| layer.owner.as_ref());
        match set {
            Some(owner) => owner.as_ref(),
            None => self.stored.as_ref()?.owner.as_ref(),
        }
    }

    pub(crate) fn put(&mut self, key: &str, value: Value) {
        self.changes.put(key, value);
        self.note_change();
    }

    pub(crate) fn remove(&mut self, key: &str) -> bool {
        let present = self.contains_key(key);
        if present {
            self.changes.remove(key);
            self.note_change();
        }
        present
    }

    pub(crate) fn update(&mut self, key: &str, update: Update, now: Option<Value>) {
        self.changes.update(key, update, now);
        self.note_change();
    }

    pub(crate) fn clear(&mut self) {
        self.changes.clear();
        self.note_change();
    }

    pub(crate) fn set_owner(&mut self, owner: Option<Owner>) {
        if owner.is_some() && self.owner() != owner.as_ref() {
            self.changes.rotate = true;
            self.changes.restart = true;
        }
        self.changes.owner = Some(owner);
        self.note_change();
    }

    pub(crate) fn rotate(&mut self) {
        self.changes.rotate = true;
        self.note_change();
    }

    /// Forgets everything; what was stored is deleted at the next commit.
    pub(crate) fn destroy(&mut self) {
        self.doomed.extend(self.stored_keys());
        self.forget();
        self.note_change();
    }

    /// Goes back to an empty session that is not stored.
    pub(crate) fn forget(&mut self) {
        self.stored = None;
        self.body = Body::empty();
        self.changes = Changes::default();
        self.attempt = None;
        self.version += 1;
    }

    /// Whether nothing is left to be written.
    pub(crate) fn is_settled(&self) -> bool {
        self.changes.is_empty() && self.attempt.is_none() && self.doomed.is_empty()
    }

    pub(crate) fn expires_at(&self) -> Option<Timestamp> {
        Some(self.stored.as_ref()?.expires_at)
    }

    /// Whether this is the session stored under `key`: not destroyed or ended meanwhile.
    pub(crate) fn stands_on(&self, key: SessionKey) -> bool {
        self.stored.as_ref().is_some_and(|stored| stored.key == key)
    }

    /// Whether this attempt is still wanted.
    pub(crate) fn is_trying(&self, attempt: &Arc<Attempt>) -> bool {
        self.attempt.as_ref().is_some_and(|own| Arc::ptr_eq(own, attempt))
    }

    /// Takes an attempt that did not happen back into the changes.
    pub(crate) fn withdraw(&mut self, attempt: &Arc<Attempt>) {
        if !self.is_trying(attempt) {
            return;
        }
        self.attempt = None;
        let mut changes = attempt.changes.clone();
        changes.append(std::mem::take(&mut self.changes));
        self.changes = changes;
        self.version += 1;
    }

    fn note_change(&mut self) {
        self.modified = true;
        self.accessed = true;
        self.version += 1;
    }

    /// Every key under which this session may be stored, also by a write whose outcome is not known.
    fn stored_keys(&self) -> Vec<SessionKey> {
        let stored = self.stored.as_ref().map(|stored| stored.key);
        let sent = self.attempt.as_ref().and_then(|attempt| match &attempt.write {
            Write::Create { id } => Some(id.key()),
            Write::Save { .. } => None,
        });
        stored.into_iter().chain(sent).collect()
    }

    /// The stored keys that are not this crate's own.
    fn visible(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.body.keys().filter(|key| !key.starts_with(RESERVED))
    }

    fn layers(&self) -> impl Iterator<Item = &Changes> {
        [Some(&self.changes), self.attempt.as_ref().map(|attempt| &attempt.changes)].into_iter().flatten()
    }

    /// `None`: the entry is as stored. `Some(None)`: it is not there.
    fn changed(&self, key: &str) -> Option<Option<&Value>> {
        for layer in self.layers() {
            if let Some(change) = layer.entries.get(key) {
                return Some(change.value());
            }
            if layer.cleared {
                return Some(None);
            }
        }
        None
    }
}
