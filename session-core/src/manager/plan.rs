//! From the changes of a request to the one write that brings them into the store.

use std::sync::Arc;

use super::SessionManager;
use crate::codec::{Body, Changed};
use crate::session::RESERVED;
use crate::session::changes::Changes;
use crate::session::state::{State, Write};
use crate::{Error, ErrorKind, Record, Result, Revision, SessionId, SessionKey, Timestamp};

/// One write, and how the session is once it is stored.
pub(super) struct Plan {
    pub(super) write: Write,
    pub(super) record: Record,
    pub(super) body: Body,
    /// Nothing is left in the session: the write ends it.
    pub(super) ends: bool,
}

impl SessionManager {
    /// The write that brings `changes` into the store; `None` when there is nothing to store.
    pub(super) fn plan(&self, state: &State, changes: &Changes) -> Result<Option<Plan>> {
        let now = self.now();
        let stored = state.stored.as_ref();
        let empty = Body::empty();
        let base = if changes.cleared { &empty } else { &state.body };
        let overlay = changes.overlay();
        let owner = match &changes.owner {
            Some(owner) => owner.clone(),
            None => stored.and_then(|stored| stored.owner.clone()),
        };
        let ends = owner.is_none() && holds_nothing(base, &overlay);
        let write = match stored {
            None if ends => return Ok(None),
            None => Write::Create { id: SessionId::generate()? },
            Some(stored) => Write::Save { id: stored.id.clone(), key: stored.key, expected: stored.revision },
        };
        let created_at = match stored {
            Some(stored) if !changes.restart => stored.created_at,
            _ => now,
        };
        let key = write.key();
        let (payload, body) =
            if ends { (Arc::from([]), empty) } else { self.codecs.encode(key, base, &overlay)? };
        self.check_size(payload.len())?;
        let expires_at = match (&write, stored) {
            _ if ends => Timestamp::EPOCH,
            (Write::Save { .. }, Some(stored)) => {
                self.policy.expiry_after_save(now, created_at, stored.expires_at)
            }
            _ => self.policy.expiry(now, created_at),
        };
        let record = Record { revision: Revision::generate()?, owner, created_at, expires_at, payload };
        Ok(Some(Plan { write, record, body, ends }))
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

impl Write {
    /// The key under which the record lies afterwards.
    pub(super) fn key(&self) -> SessionKey {
        match self {
            Self::Create { id } => id.key(),
            Self::Save { key, .. } => *key,
        }
    }

    /// The key under which the record lies before.
    pub(super) fn lies_at(&self) -> SessionKey {
        self.key()
    }
}

fn holds_nothing(base: &Body, overlay: &[Changed<'_>]) -> bool {
    let changed = |key: &str| overlay.binary_search_by_key(&key, |(changed, _)| changed).is_ok();
    let mut left = base.keys().filter(|key| !key.starts_with(RESERVED) && !changed(key));
    overlay.iter().all(|(_, value)| value.is_none()) && left.next().is_none()
}
