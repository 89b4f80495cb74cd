//! From the changes of a request to the one write that brings them into the store.

use std::sync::Arc;

use super::SessionManager;
use crate::codec::{Body, Changed};
use crate::session::RESERVED;
use crate::session::identity::{ENTRY, Identity};
use crate::session::state::{Attempt, Authority, State, Write};
use crate::{Error, ErrorKind, Owner, Record, Result, Revision, SessionId, SessionKey, Timestamp};

/// What becomes of a record, but for its entries.
struct Version {
    key: SessionKey,
    write: Write,
    identity: Identity,
    is_owners_first: bool,
    owner: Option<Owner>,
    created_at: Timestamp,
    expires_at: Timestamp,
}

impl SessionManager {
    /// The write that brings the changes into the store; `None` when there is nothing to store.
    pub(super) fn plan(&self, state: &mut State) -> Result<Option<Arc<Attempt>>> {
        let owner = match &state.changes.owner {
            Some(owner) => owner.clone(),
            None => state.stored.as_ref().and_then(|stored| stored.owner.clone()),
        };
        if owner.is_none() && holds_nothing(state) {
            return plan_end(state);
        }
        self.plan_version(state, owner).map(Some)
    }

    /// A new record, or the next version of a stored one.
    fn plan_version(&self, state: &mut State, owner: Option<Owner>) -> Result<Arc<Attempt>> {
        let (stored, changes, now) = (state.stored.as_ref(), &state.changes, self.now());
        let (key, mut identity, write) = match stored {
            None => {
                let id = self.new_id(state)?;
                let secret = id.secret().clone();
                (id.key(), Identity::new(&secret, now, self.policy.idle_timeout()), Write::Create { secret })
            }
            Some(stored) => {
                let mut identity = stored.identity.clone();
                // Who had the session while it was somebody's has no part in what it is without an owner.
                let rotates = changes.rotate || stored.owner.is_some() && owner.is_none();
                let (secret, renews) = if rotates {
                    let id = self.new_id(state)?;
                    identity.change(id.secret(), now);
                    (Some(id.secret().clone()), false)
                } else {
                    (None, self.keep_up(state, &mut identity, now)?)
                };
                (stored.key, identity, Write::Save { expected: stored.revision, secret, renews })
            }
        };
        if let Some(lifetime) = changes.lifetime {
            identity.lifetime = lifetime;
        }
        let owned_since = now.max(state.owned_from.unwrap_or(now));
        let is_owners_first =
            identity.note_owner(stored.and_then(|stored| stored.owner.as_ref()), owner.as_ref(), owned_since);
        let created_at = match stored {
            Some(stored) if !changes.restart => stored.created_at,
            _ => now,
        };
        let is_restart = write.new_secret().is_some() || changes.restart;
        let lifetime = self.policy.lifetime(identity.lifetime);
        let expires_at = match stored {
            Some(stored) if state.is_no_use && !is_restart => {
                stored.expires_at.min(lifetime.expiry(now, created_at))
            }
            Some(stored) if !is_restart => {
                self.policy.expiry_after_save(lifetime, now, created_at, stored.expires_at)
            }
            _ => lifetime.expiry(now, created_at),
        };
        identity.idle = lifetime.idle_timeout;
        let version = Version { key, write, identity, is_owners_first, owner, created_at, expires_at };
        self.attempt(state, version)
    }

    /// A version without changes of the request's own: for a renewal of the id that is due, for its end, and for an expiry
    /// that a policy of today would not give. `None` when nothing of that is due.
    pub(super) fn plan_upkeep(&self, state: &mut State, now: Timestamp) -> Result<Option<Arc<Attempt>>> {
        let Some(stored) = &state.stored else { return Ok(None) };
        let mut identity = stored.identity.clone();
        let renews = self.keep_up(state, &mut identity, now)?;
        let lifetime = self.policy.lifetime(identity.lifetime);
        identity.idle = lifetime.idle_timeout;
        if identity == stored.identity {
            return Ok(None);
        }
        let version = Version {
            key: stored.key,
            write: Write::Upkeep { expected: stored.revision, renews },
            identity,
            is_owners_first: false,
            owner: stored.owner.clone(),
            created_at: stored.created_at,
            expires_at: self.policy.expiry_after_save(lifetime, now, stored.created_at, stored.expires_at),
        };
        self.attempt(state, version).map(Some)
    }

    /// Whether [`plan_upkeep`](Self::plan_upkeep) has to look closer.
    pub(super) fn is_upkeep_due(&self, state: &State, now: Timestamp) -> bool {
        let Some(stored) = &state.stored else { return false };
        let identity = &stored.identity;
        identity.is_pending()
            || self.policy.wants_renewal(now, identity.changed_at)
            || identity.idle != self.policy.lifetime(identity.lifetime).idle_timeout
    }

    /// Notes that the client showed a renewed secret, or begins a renewal that is due; whether it did (`[I3]`).
    fn keep_up(&self, state: &State, identity: &mut Identity, now: Timestamp) -> Result<bool> {
        let Authority::Secret(secret) = &state.authority else { return Ok(false) };
        let wants_renewal = !state.id_is_fixed && self.policy.wants_renewal(now, identity.changed_at);
        if !(identity.is_pending() || wants_renewal) || !identity.is_opened_by(secret) {
            return Ok(false);
        }
        if identity.is_pending() {
            identity.note_shown(now);
        } else if identity.may_renew(now, self.policy.renew_grace()) {
            identity.renew(secret, now)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Takes the changes out of `state`, unless it fails.
    fn attempt(&self, state: &mut State, version: Version) -> Result<Arc<Attempt>> {
        let Version { key, write, identity, is_owners_first, owner, created_at, expires_at } = version;
        let empty = Body::empty();
        let base = if state.changes.cleared { &empty } else { &state.body };
        let mut overlay = state.changes.overlay();
        // An identity that stays as it is is copied with the entries beside it.
        let stays = state.stored.as_ref().is_some_and(|stored| stored.identity == identity);
        let entry = (!stays || state.changes.cleared).then(|| identity.to_value());
        if let Some(entry) = &entry {
            lay(&mut overlay, (ENTRY, Some(entry)));
        }
        let (payload, body) = self.codecs.encode(key, base, &overlay)?;
        self.check_size(payload.len())?;
        let record = Record { revision: Revision::generate()?, owner, created_at, expires_at, payload };
        let changes = std::mem::take(&mut state.changes);
        Ok(Arc::new(Attempt { changes, key, write, record, identity, is_owners_first, body }))
    }

    /// An id that the client will be given.
    fn new_id(&self, state: &State) -> Result<SessionId> {
        if state.id_is_fixed {
            return Err(Error::new(
                ErrorKind::TooLate,
                "the head of the response has left, so the client cannot be given a new id: begin sessions, sign in \
                 and change ids before it does",
            ));
        }
        if matches!(state.authority, Authority::Key) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "a session that was opened by its key cannot get a new id: nobody would be given it",
            ));
        }
        SessionId::generate()
    }

    fn check_size(&self, len: usize) -> Result<()> {
        let limit = self.policy.max_payload();
        if len <= limit {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::TooLarge,
            format!(
                "the session takes {len} bytes, the limit is {limit}: put less in it, or raise the policy's and the store's limit"
            ),
        ))
    }
}

/// The record of a session that is over: to save it is compare-and-delete (`[E6]`).
pub(super) fn ended(created_at: Timestamp) -> Result<Record> {
    Ok(Record {
        revision: Revision::generate()?,
        owner: None,
        created_at,
        expires_at: Timestamp::EPOCH,
        payload: Arc::from([]),
    })
}

/// Puts one entry among changes that are in ascending order.
pub(super) fn lay<'a>(overlay: &mut Vec<Changed<'a>>, entry: Changed<'a>) {
    let at = overlay.partition_point(|(key, _)| *key < entry.0);
    overlay.insert(at, entry);
}

/// The write of a session in which nothing is left: compare-and-delete (`[E6]`).
fn plan_end(state: &mut State) -> Result<Option<Arc<Attempt>>> {
    let Some(stored) = &state.stored else { return Ok(None) };
    let (key, write) = (stored.key, Write::End { expected: stored.revision });
    let (record, identity) = (ended(stored.created_at)?, stored.identity.clone());
    let (changes, body) = (std::mem::take(&mut state.changes), Body::empty());
    Ok(Some(Arc::new(Attempt { changes, key, write, record, identity, is_owners_first: false, body })))
}

/// Whether no entry is left once the changes are stored.
fn holds_nothing(state: &State) -> bool {
    let changes = &state.changes;
    let is_left = |key: &str| !key.starts_with(RESERVED) && !changes.entries.contains_key(key);
    changes.entries.values().all(|change| change.value().is_none())
        && (changes.cleared || !state.body.keys().any(|key| is_left(&key)))
}
