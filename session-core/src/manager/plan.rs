//! From the changes of a request to the one write that brings them into the store.

use std::sync::Arc;

use super::SessionManager;
use crate::codec::{Body, Changed};
use crate::policy::Lifetime;
use crate::session::RESERVED;
use crate::session::changes::Changes;
use crate::session::identity::{ENTRY, Identity};
use crate::session::state::{Attempt, Authority, State, Stored, Write};
use crate::{Error, ErrorKind, Owner, Record, Result, Revision, SessionId, SessionKey, Timestamp};

impl SessionManager {
    /// The write that brings `changes` into the store; `None` when there is nothing to store.
    pub(super) fn plan(&self, state: &State, changes: &Changes) -> Result<Option<Attempt>> {
        let empty = Body::empty();
        let base = if changes.cleared { &empty } else { &state.body };
        let owner = match &changes.owner {
            Some(owner) => owner.clone(),
            None => state.stored.as_ref().and_then(|stored| stored.owner.clone()),
        };
        let is_empty = owner.is_none() && holds_nothing(base, &changes.overlay());
        match &state.stored {
            None if is_empty => Ok(None),
            Some(stored) if is_empty => self.plan_end(stored, changes).map(Some),
            stored => self.plan_version(state, stored.as_ref(), changes, base, owner).map(Some),
        }
    }

    /// A new record, or the next version of a stored one.
    fn plan_version(
        &self,
        state: &State,
        stored: Option<&Stored>,
        changes: &Changes,
        base: &Body,
        owner: Option<Owner>,
    ) -> Result<Attempt> {
        let now = self.now();
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
        let times = (created_at, expires_at);
        let attempt = self.attempt(changes, key, write, identity, lifetime, owner, times, base)?;
        Ok(Attempt { is_owners_first, ..attempt })
    }

    /// A version without changes of the request's own: for a renewal of the id that is due, for its end, and for an expiry
    /// that a policy of today would not give. `None` when nothing of that is due.
    pub(super) fn plan_upkeep(&self, state: &State, now: Timestamp) -> Result<Option<Attempt>> {
        let Some(stored) = &state.stored else { return Ok(None) };
        let mut identity = stored.identity.clone();
        let renews = self.keep_up(state, &mut identity, now)?;
        let lifetime = self.policy.lifetime(identity.lifetime);
        if identity == stored.identity && identity.idle == lifetime.idle_timeout {
            return Ok(None);
        }
        let expires_at = self.policy.expiry_after_save(lifetime, now, stored.created_at, stored.expires_at);
        let write = Write::Upkeep { expected: stored.revision, renews };
        let times = (stored.created_at, expires_at);
        let (key, owner) = (stored.key, stored.owner.clone());
        self.attempt(&Changes::default(), key, write, identity, lifetime, owner, times, &state.body).map(Some)
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

    /// The write of a session in which nothing is left: compare-and-delete (`[E6]`).
    fn plan_end(&self, stored: &Stored, changes: &Changes) -> Result<Attempt> {
        Ok(Attempt {
            changes: changes.clone(),
            key: stored.key,
            write: Write::End { expected: stored.revision },
            record: ended(stored.created_at)?,
            identity: stored.identity.clone(),
            is_owners_first: false,
            body: Body::empty(),
        })
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one record")]
    fn attempt(
        &self,
        changes: &Changes,
        key: SessionKey,
        write: Write,
        mut identity: Identity,
        lifetime: Lifetime,
        owner: Option<Owner>,
        (created_at, expires_at): (Timestamp, Timestamp),
        base: &Body,
    ) -> Result<Attempt> {
        identity.idle = lifetime.idle_timeout;
        let entry = identity.to_value();
        let mut overlay = changes.overlay();
        lay(&mut overlay, (ENTRY, Some(&entry)));
        let (payload, body) = self.codecs.encode(key, base, &overlay)?;
        self.check_size(payload.len())?;
        let record = Record { revision: Revision::generate()?, owner, created_at, expires_at, payload };
        Ok(Attempt { changes: changes.clone(), key, write, record, identity, is_owners_first: false, body })
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

fn holds_nothing(base: &Body, overlay: &[Changed<'_>]) -> bool {
    let changed = |key: &str| overlay.binary_search_by_key(&key, |(changed, _)| changed).is_ok();
    let mut left = base.keys().filter(|key| !key.starts_with(RESERVED) && !changed(key));
    overlay.iter().all(|(_, value)| value.is_none()) && left.next().is_none()
}
