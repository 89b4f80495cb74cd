//! What a session knows of itself.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::changes::{Changes, Update};
use super::identity::Identity;
use super::{CSRF, PERMANENT, RESERVED};
use crate::codec::Body;
use crate::id::Secret;
use crate::policy::Lifetime;
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
    /// Whose authority this request acts with.
    pub(crate) authority: Authority,
    /// Records that this request leaves behind, and what has to become of them at the next commit.
    pub(crate) left: Vec<Left>,
    /// What another owner's sign-in replaces, until that is done: should it be refused, the session stays.
    pub(super) replaced: Option<Box<Replaced>>,
    /// A sign-in that was stored, after which the owner's sessions have to be counted.
    pub(crate) uncounted: Option<SignIn>,
    /// The earliest time at which this session may become its owner's, so that a limit counts it after those that the owner
    /// had before.
    pub(crate) owned_from: Option<Timestamp>,
    /// Others ended the session, or changed its id, meanwhile: nothing can be stored any more (`[I5]`).
    pub(crate) over: Option<Over>,
    /// The record that the request named, where the session does not stand on it.
    pub(crate) named: Named,
    /// The session was to be destroyed by a request whose secret does not open it (`[I4]`).
    pub(crate) destroy_is_refused: bool,
    /// Why nothing can be put into this session, if nothing can.
    pub(crate) read_only: Option<&'static str>,
    /// The response has left: no new id can reach the client.
    pub(crate) id_is_fixed: bool,
    /// The request is one that a browser may send without its user, such as a prefetch.
    pub(crate) is_speculative: bool,
    /// The request moves no expiry.
    pub(crate) is_no_use: bool,
    pub(crate) new: bool,
    /// Whether the client has to be given the id: it is another one than it showed.
    pub(crate) id_is_new: bool,
    /// Whether this request ended the stored session.
    pub(crate) ended_here: bool,
    pub(crate) accessed: bool,
    pub(crate) modified: bool,
    /// Counts operations, so that an update notices others between its reading and its writing.
    pub(crate) version: u64,
}

/// What lets a request write into a session.
#[derive(Clone, Debug)]
pub(crate) enum Authority {
    /// It has none: it named no session, or none that is live.
    None,
    /// The secret that the client showed, or that this request made.
    Secret(Secret),
    /// The application's, which named the session by its key.
    Key,
}

/// Why nothing can be stored any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Ended,
    Superseded,
}

/// A sign-in that was stored.
#[derive(Clone, Debug)]
pub(crate) struct SignIn {
    pub(crate) key: SessionKey,
    pub(crate) owner: Owner,
    /// Whether the session was not the owner's before.
    pub(crate) is_first: bool,
}

/// A record that the request named and does not stand on.
#[derive(Clone, Debug)]
pub(crate) enum Named {
    Nothing,
    /// It is live, and the request's secret does not open it: the request can end nothing.
    Closed,
    /// Nothing can be written to it, but the request may end it: others changed its id meanwhile, or it cannot be read.
    Lost(SessionKey, Option<Owner>),
}

/// A record that a request leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) key: SessionKey,
    pub(crate) owner: Option<Owner>,
    pub(crate) how: Leave,
}

/// What a session stood on before another owner signed in.
#[derive(Debug)]
pub(super) struct Replaced {
    stored: Stored,
    body: Body,
    authority: Authority,
    id_is_new: bool,
}

/// What becomes of a record that a request leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// It is deleted: the session was destroyed.
    Delete,
    /// It is deleted: an answer was lost, and nobody can open it.
    Orphan,
    /// It becomes a tombstone: another owner signed in (`[I7]`).
    Replace,
}

/// The stored record that the session stands on, without its payload.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) key: SessionKey,
    pub(crate) revision: Revision,
    pub(crate) owner: Option<Owner>,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) identity: Identity,
}

impl Stored {
    pub(crate) fn new(key: SessionKey, record: &Record, identity: Identity) -> Self {
        Self {
            key,
            revision: record.revision,
            owner: record.owner.clone(),
            created_at: record.created_at,
            expires_at: record.expires_at,
            identity,
        }
    }
}

/// One write that was sent to the store.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) changes: Changes,
    pub(crate) key: SessionKey,
    pub(crate) write: Write,
    pub(crate) record: Record,
    pub(crate) identity: Identity,
    /// Whether the session becomes the owner's with this write. One that is already adds none to the owner's.
    pub(crate) is_owners_first: bool,
    /// The entries as they are once the record is stored; empty when the session ends.
    pub(crate) body: Body,
}

/// How an attempt reaches the store.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    /// A new record, opened by this secret.
    Create { secret: Secret },
    /// The record's next version; its secret is this one, if the request changed it, or a renewed one.
    Save { expected: Revision, secret: Option<Secret>, renews: bool },
    /// The record's next version, written for what the request did not ask for: a renewal of the id, or its end.
    Upkeep { expected: Revision, renews: bool },
    /// Nothing was left in the session: the write ends it.
    End { expected: Revision },
}

impl Write {
    /// The secret that opens the session once this is stored, where that is a new one of the request's own.
    pub(crate) fn new_secret(&self) -> Option<&Secret> {
        match self {
            Self::Create { secret } => Some(secret),
            Self::Save { secret, .. } => secret.as_ref(),
            Self::Upkeep { .. } | Self::End { .. } => None,
        }
    }
}

impl State {
    pub(crate) fn fresh() -> Self {
        Self::on(None, Body::empty(), Authority::None)
    }

    /// For a request whose secret does not open the live record that its key names.
    pub(crate) fn refused(is_superseded: bool) -> Self {
        let over = is_superseded.then_some(Over::Superseded);
        Self { over, named: Named::Closed, ..Self::fresh() }
    }

    /// For a request that names a record that cannot be read.
    pub(crate) fn undecodable(key: SessionKey) -> Self {
        Self { named: Named::Lost(key, None), ..Self::fresh() }
    }

    pub(crate) fn loaded(stored: Stored, body: Body, authority: Authority) -> Self {
        let mut state = Self::on(None, body, authority);
        state.new = false;
        state.stand_on(stored);
        state
    }

    fn on(stored: Option<Stored>, body: Body, authority: Authority) -> Self {
        Self {
            new: stored.is_none(),
            stored,
            body,
            changes: Changes::default(),
            attempt: None,
            authority,
            left: Vec::new(),
            replaced: None,
            uncounted: None,
            owned_from: None,
            over: None,
            named: Named::Nothing,
            destroy_is_refused: false,
            read_only: None,
            id_is_fixed: false,
            is_speculative: false,
            is_no_use: false,
            id_is_new: false,
            ended_here: false,
            accessed: false,
            modified: false,
            version: 0,
        }
    }

    /// Makes a stored version the one to stand on. Where it was renewed, the client has to be given its new id.
    pub(crate) fn stand_on(&mut self, stored: Stored) {
        if stored.identity.is_pending()
            && let Authority::Secret(secret) = &self.authority
            && stored.identity.id_for(stored.key, secret).is_some_and(|id| id.secret() != secret)
        {
            self.id_is_new = true;
        }
        self.stored = Some(stored);
    }

    /// The id that the client should hold, if it is known here.
    pub(crate) fn id(&self) -> Option<SessionId> {
        let stored = self.stored.as_ref()?;
        match &self.authority {
            Authority::Secret(secret) => stored.identity.id_for(stored.key, secret),
            Authority::None | Authority::Key => None,
        }
    }

    pub(crate) fn check_writable(&self) -> Result<()> {
        self.read_only.map_or(Ok(()), |why| Err(Error::new(ErrorKind::InvalidConfig, why)))
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
            None => self.stored_owner(),
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

    /// The request owns what comes of it (`[I6]`, `[I7]`).
    pub(crate) fn sign_in(&mut self, owner: Owner) {
        if self.owners().any(|other| *other != owner) {
            // What was put in since a `clear` is not the other owner's.
            let own = if self.changes.cleared {
                std::mem::take(&mut self.changes.entries)
            } else {
                BTreeMap::new()
            };
            self.replace();
            self.changes.entries = own;
        } else if self.owner().is_none() {
            // Whoever planted the anonymous session may know it, and may put it there until the commit.
            self.changes.remove(CSRF);
        }
        if let Named::Lost(key, Some(lost)) = &self.named
            && *lost != owner
        {
            self.left.push(Left { key: *key, owner: Some(lost.clone()), how: Leave::Replace });
            self.named = Named::Nothing;
        }
        self.over = None;
        self.changes.owner = Some(Some(owner));
        self.changes.rotate = true;
        self.changes.restart = true;
        self.changes.signs_in = true;
        self.note_change();
    }

    /// The one whose session this is by now, and the one whose it is in the store, or may be.
    fn owners(&self) -> impl Iterator<Item = &Owner> {
        let sent = self.attempt.as_ref().and_then(|attempt| attempt.record.owner.as_ref());
        [self.owner(), self.stored_owner(), sent].into_iter().flatten()
    }

    pub(crate) fn rotate(&mut self) {
        self.changes.rotate = true;
        self.note_change();
    }

    /// The browser learns of the cookie's expiry only together with a new secret (`[I8]`), so the secret changes.
    pub(crate) fn set_permanent(&mut self, permanent: bool) {
        if self.is_permanent() != permanent {
            self.changes.rotate = true;
        }
        self.put(PERMANENT, Value::Bool(permanent));
    }

    pub(crate) fn set_lifetime(&mut self, lifetime: Option<Lifetime>) {
        let lifetime = lifetime.map(Lifetime::in_millis);
        if self.wanted_lifetime() != lifetime {
            self.changes.lifetime = Some(lifetime);
            self.changes.rotate = true;
            self.note_change();
        }
    }

    /// What the session asked for in place of the policy's lifetime.
    pub(crate) fn wanted_lifetime(&self) -> Option<Lifetime> {
        match self.layers().find_map(|layer| layer.lifetime) {
            Some(lifetime) => lifetime,
            None => self.stored.as_ref()?.identity.lifetime,
        }
    }

    /// Forgets everything; what was stored is deleted at the next commit. Where the secret that this request came with does
    /// not open its session, there is nothing that it may end: the commit says so (`[I4]`).
    pub(crate) fn destroy(&mut self) {
        self.leave(Leave::Delete);
        // Nobody takes the place of the session before any more.
        for left in &mut self.left {
            if left.how == Leave::Replace {
                left.how = Leave::Delete;
            }
        }
        match std::mem::replace(&mut self.named, Named::Nothing) {
            Named::Nothing => self.over = None,
            Named::Lost(key, owner) => {
                self.left.push(Left { key, owner, how: Leave::Delete });
                self.over = None;
            }
            Named::Closed => {
                self.named = Named::Closed;
                self.destroy_is_refused = true;
            }
        }
        self.note_change();
    }

    /// Another owner signs in: nothing of the session is kept, and it ends once the new one is stored (`[I7]`).
    fn replace(&mut self) {
        let before = self.stored.clone().map(|stored| {
            let (body, authority) = (self.body.clone(), self.authority.clone());
            Box::new(Replaced { stored, body, authority, id_is_new: self.id_is_new })
        });
        let before = before.or_else(|| self.replaced.take());
        self.leave(Leave::Replace);
        self.replaced = before;
    }

    fn leave(&mut self, how: Leave) {
        let owner = self.owner().cloned();
        let keys = self.stored_keys();
        self.left.extend(keys.into_iter().map(|key| Left { key, owner: owner.clone(), how }));
        self.forget();
    }

    /// Goes back to an empty session that is not stored.
    fn forget(&mut self) {
        self.stored = None;
        self.body = Body::empty();
        self.changes = Changes::default();
        self.attempt = None;
        self.replaced = None;
        // Nobody would be given the id of what an application began in place of a session that it named by its key.
        if !matches!(self.authority, Authority::Key) {
            self.authority = Authority::None;
        }
        self.id_is_new = false;
        self.version += 1;
    }

    /// Others ended the session, or changed its id: what this request did is dropped, unless it signs somebody in, which
    /// begins a session of its own. Whether changes were dropped.
    pub(crate) fn end(&mut self, over: Over) -> bool {
        let changes = std::mem::take(&mut self.changes);
        let stored = self.stored.take();
        self.forget();
        if changes.signs_in {
            self.changes = changes;
            return false;
        }
        self.over = Some(over);
        if let (Over::Superseded, Some(stored)) = (over, stored) {
            self.named = Named::Lost(stored.key, stored.owner);
        }
        !changes.is_empty()
    }

    /// Whether nothing is left to be written.
    pub(crate) fn is_settled(&self) -> bool {
        self.changes.is_empty()
            && self.attempt.is_none()
            && self.left.is_empty()
            && self.uncounted.is_none()
            && !self.destroy_is_refused
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
        if self.is_trying(attempt) {
            self.attempt = None;
            self.put_back(attempt);
        }
    }

    /// Gives up an attempt of which nobody knows whether it happened.
    pub(crate) fn abandon(&mut self, attempt: &Arc<Attempt>) {
        if self.is_trying(attempt) {
            self.attempt = None;
            self.version += 1;
        }
    }

    /// Makes what an attempt wrote the version to stand on, unless the session was destroyed meanwhile.
    /// `uncounted` is the attempt as a sign-in after which the owner's sessions have to be counted.
    pub(crate) fn settle(&mut self, attempt: &Arc<Attempt>, uncounted: Option<SignIn>) {
        if !self.is_trying(attempt) {
            return;
        }
        self.attempt = None;
        self.uncounted = uncounted;
        self.body = attempt.body.clone();
        if let Some(secret) = attempt.write.new_secret() {
            self.authority = Authority::Secret(secret.clone());
            self.id_is_new = true;
            self.named = Named::Nothing;
        }
        self.stand_on(Stored::new(attempt.key, &attempt.record, attempt.identity.clone()));
    }

    /// The session ended with this attempt; `here`, if nobody else had ended it before. Else it stays ended, as with any
    /// other write that found it so.
    pub(crate) fn end_attempt(&mut self, attempt: &Arc<Attempt>, here: bool) {
        if self.is_trying(attempt) {
            let later = std::mem::take(&mut self.changes);
            self.forget();
            self.changes = later;
            self.ended_here |= here;
            self.over = (!here && !self.changes.signs_in).then_some(Over::Ended);
        }
    }

    /// A sign-in was refused before it was stored: what the request did is dropped, and the session is what it was.
    pub(crate) fn refuse(&mut self, attempt: &Arc<Attempt>) {
        if self.is_trying(attempt) {
            self.attempt = None;
            self.version += 1;
            self.restore();
        }
    }

    /// A sign-in was refused after it was stored under `key`, which was deleted again.
    pub(crate) fn refuse_stored(&mut self, key: SessionKey) {
        if self.stands_on(key) {
            let replaced = self.replaced.take();
            self.end(Over::Ended);
            self.replaced = replaced;
            self.restore();
        }
    }

    /// Goes back to the session of another owner, whom the sign-in should have replaced.
    fn restore(&mut self) {
        self.left.retain(|left| left.how != Leave::Replace);
        if let Some(replaced) = self.replaced.take() {
            let Replaced { stored, body, authority, id_is_new } = *replaced;
            self.stored = Some(stored);
            (self.body, self.authority, self.id_is_new) = (body, authority, id_is_new);
            self.changes = Changes::default();
            self.over = None;
        }
    }

    /// What a request left is dealt with.
    pub(crate) fn has_left(&mut self, done: &Left) {
        self.left.retain(|left| left != done);
        if done.how == Leave::Replace {
            self.replaced = None;
        }
    }

    /// Puts the changes of an attempt under those that were made since.
    pub(crate) fn put_back(&mut self, attempt: &Attempt) {
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

    fn stored_owner(&self) -> Option<&Owner> {
        self.stored.as_ref()?.owner.as_ref()
    }

    /// Every key under which this session may be stored, also by a write whose outcome is not known.
    fn stored_keys(&self) -> Vec<SessionKey> {
        let stored = self.stored.as_ref().map(|stored| stored.key);
        let sent = self.attempt.as_ref().map(|attempt| attempt.key).filter(|key| Some(*key) != stored);
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
