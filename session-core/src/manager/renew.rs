//! A new id for a session by age, with a short grace for the old one.
//!
//! The new record is created first, with the grace as its life, then the old one becomes an alias of it by
//! compare-and-set, then the new one gets its full life. So at every moment the old id leads to the session, a
//! sign-out wins over the renewal, and a crash leaves a copy that nobody knows the id of and that soon expires.

use tracing::info;
use uuid::Uuid;

use super::SessionManager;
use crate::codec::{Body, Changed};
use crate::session::state::Stored;
use crate::value::from_value;
use crate::{Created, Record, Result, Revision, Saved, Session, SessionId, SessionKey, Timestamp, Value};

/// The key that an alias stands for.
const MOVED_TO: &str = "_session.moved_to";
/// When the session got its present id, in milliseconds.
const ID_SINCE: &str = "_session.id_since";

/// The key of the session that this alias stands for; `None` when it is no alias.
pub(super) fn target(body: &Body) -> Result<Option<SessionKey>> {
    if body.len() != 1 {
        return Ok(None);
    }
    match body.get(MOVED_TO)? {
        Some(value) => {
            let text: String = from_value(MOVED_TO, value)?;
            text.parse::<Uuid>().ok().and_then(|uuid| uuid.try_into().ok()).map_or_else(
                || Err(crate::Error::new(crate::ErrorKind::Corrupt, "a renewed session leads nowhere")),
                |key| Ok(Some(key)),
            )
        }
        None => Ok(None),
    }
}

/// What a session that gets an id now remembers of the id's age.
pub(super) fn since(now: Timestamp) -> Value {
    Value::I64(now.as_millis())
}

/// Lays it over the other changes.
pub(super) fn stamp<'a>(overlay: &mut Vec<Changed<'a>>, since: &'a Value) {
    let at = overlay.partition_point(|(key, _)| *key < ID_SINCE);
    overlay.insert(at, (ID_SINCE, Some(since)));
}

impl SessionManager {
    /// Renews the id of a committed session when its age asks for it; whether it did. Under a policy that renews ids.
    pub(super) async fn renew_if_due(&self, session: &Session) -> Result<bool> {
        let (stored, body) = {
            let state = session.lock();
            match (&state.stored, state.attempt.is_none() && state.changes.is_empty()) {
                (Some(stored), true) => (stored.clone(), state.body.clone()),
                _ => return Ok(false),
            }
        };
        let since = match body.get(ID_SINCE)? {
            Some(value) => Timestamp::from_millis(from_value(ID_SINCE, value)?),
            None => stored.created_at,
        };
        // Opened under the old id already: the new one is with the client, or about to be.
        if stored.id.is_none() || !self.policy.wants_renewal(self.now(), since) {
            return Ok(false);
        }
        self.renew(session, stored, &body).await
    }

    async fn renew(&self, session: &Session, old: Stored, body: &Body) -> Result<bool> {
        let now = self.now();
        let grace_ends = now.saturating_add(self.policy.renew_grace());
        let id = SessionId::generate()?;
        let key = id.key();
        let (payload, body) = self.codecs.encode(key, body, &[(ID_SINCE, Some(&since(now)))])?;
        let mut record = Record {
            revision: Revision::generate()?,
            owner: old.owner.clone(),
            created_at: old.created_at,
            expires_at: grace_ends.min(old.expires_at),
            payload,
        };
        if self.store.create(key, &record).await? == Created::Occupied {
            return Ok(false);
        }
        if !self.leave_alias(&old, key, grace_ends).await? {
            self.store.delete(key).await?;
            return Ok(false);
        }
        record.expires_at = self.policy.expiry(now, record.created_at);
        self.store.touch(key, record.expires_at).await?;
        info!(target: "session", from = %old.key, to = %key, "session id renewed");
        let mut state = session.lock();
        if !state.stands_on(old.key) {
            state.doomed.push(key); // a clone of this handle destroyed the session meanwhile
            return Ok(false);
        }
        state.stored = Some(Stored::new(Some(id), key, &record));
        state.id_is_new = true;
        state.body = body;
        state.version += 1;
        Ok(true)
    }

    /// Turns the old record into an alias; `false` when it was changed or ended meanwhile.
    async fn leave_alias(&self, old: &Stored, target: SessionKey, expires_at: Timestamp) -> Result<bool> {
        let target = Value::Text(target.to_string());
        let (payload, _) = self.codecs.encode(old.key, &Body::empty(), &[(MOVED_TO, Some(&target))])?;
        let alias = Record {
            revision: Revision::generate()?,
            owner: None,
            created_at: old.created_at,
            expires_at,
            payload,
        };
        Ok(self.store.save(old.key, old.revision, &alias).await? == Saved::Stored)
    }
}
