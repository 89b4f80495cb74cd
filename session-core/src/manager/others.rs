//! Sessions that are not the request's own: lists, revocation, changes by key.

use std::sync::Arc;

use tracing::info;

use super::plan::ended;
use super::{EndReason, Event, EventKind, Outcome, SessionInfo, SessionManager, metrics};
use crate::codec::Body;
use crate::session::identity::{ENTRY, Identity};
use crate::session::state::{Authority, State, Stored};
use crate::{Cursor, Error, ErrorKind, Owner, Record, Result, Revision, Saved, Session, SessionKey};

const PAGE: usize = 256;

impl SessionManager {
    /// The live sessions of `owner`, such as a user's devices, in no particular order.
    ///
    /// # Errors
    /// The store's errors; sessions that cannot be decoded are listed all the same.
    pub async fn sessions_of(&self, owner: &Owner) -> Result<Vec<SessionInfo>> {
        let mut found = Vec::new();
        let mut cursor = None;
        loop {
            let (mut page, next) = self.page(Some(owner), cursor.as_ref(), PAGE).await?;
            found.append(&mut page);
            match next {
                Some(next) => cursor = Some(next),
                None => return Ok(found),
            }
        }
    }

    /// One page of all live sessions, for operators: start without a cursor, go on with the one returned.
    ///
    /// # Errors
    /// The store's errors.
    pub async fn sessions(
        &self,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<(Vec<SessionInfo>, Option<Cursor>)> {
        self.page(None, cursor, limit).await
    }

    async fn page(
        &self,
        owner: Option<&Owner>,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<(Vec<SessionInfo>, Option<Cursor>)> {
        self.make_prepared().await?;
        let page = self.store.list(owner, cursor, limit).await?;
        let mut sessions = Vec::with_capacity(page.sessions.len());
        for (key, record) in page.sessions {
            let body = self.codecs.decode(key, record.payload.clone());
            let identity = body.as_ref().ok().and_then(|body| Identity::of(body).ok()?);
            if !self.is_over(key, &record, identity.as_ref()).await {
                sessions.push(SessionInfo::new(key, record, identity, body));
            }
        }
        Ok((sessions, page.next))
    }

    /// Whether a record is no session: a tombstone, or one that a stricter policy allows no longer.
    async fn is_over(&self, key: SessionKey, record: &Record, identity: Option<&Identity>) -> bool {
        let Some(identity) = identity else { return false };
        let stored = Stored::new(key, record, identity.clone());
        identity.is_tombstone()
            || self.is_stricter_than(&stored) && self.has_outlived(&stored, self.certain_now().await)
    }

    /// Ends one session, whosever it is: for operators. Whether it was live. It stays ended, whatever requests that are
    /// under way do to it or to its id.
    ///
    /// For a device in a user's own list, where the key comes from a form, take [`revoke_of`](Self::revoke_of).
    ///
    /// # Errors
    /// The store's errors.
    pub async fn revoke(&self, key: SessionKey) -> Result<bool> {
        self.make_prepared().await?;
        let live = self.store.delete(key).await?;
        if live {
            self.note_revoked(key, None);
        }
        Ok(live)
    }

    /// Ends one session if it is `owner`'s, such as a device in a user's list. Whether it was.
    ///
    /// # Errors
    /// The store's errors.
    pub async fn revoke_of(&self, owner: &Owner, key: SessionKey) -> Result<bool> {
        self.make_prepared().await?;
        let live = self.end_of(owner, key).await?;
        if live {
            self.note_revoked(key, Some(owner));
        }
        Ok(live)
    }

    /// Ends one session if it is `owner`'s; whether it was. It may have become another owner's since it was listed, so this
    /// is compare-and-delete (`[E6]`).
    pub(super) async fn end_of(&self, owner: &Owner, key: SessionKey) -> Result<bool> {
        for _ in 0..self.policy.max_attempts() {
            let record = match self.store.load(key).await? {
                Some(record) if record.owner.as_ref() == Some(owner) => record,
                _ => return Ok(false),
            };
            match self.store.save(key, record.revision, &ended(record.created_at)?).await? {
                Saved::Stored => return Ok(true),
                Saved::Missing => return Ok(false),
                Saved::Conflict => {}
            }
        }
        Err(contended("the session could not be ended: other requests changed it each time"))
    }

    fn note_revoked(&self, key: SessionKey, owner: Option<&Owner>) {
        metrics::revoked(1);
        info!(target: "session", %key, "session revoked");
        self.tell(EventKind::Ended(EndReason::Revoked), key, owner);
    }

    /// Ends all sessions of `owner`: the password was changed, the account closed. How many.
    ///
    /// # Errors
    /// The store's errors.
    pub async fn revoke_all_of(&self, owner: &Owner) -> Result<u64> {
        self.revoke_owned(owner, None).await
    }

    /// Ends all sessions of `owner` but `keep`: "sign out everywhere else". How many.
    ///
    /// # Errors
    /// The store's errors.
    pub async fn revoke_others_of(&self, owner: &Owner, keep: SessionKey) -> Result<u64> {
        self.revoke_owned(owner, Some(keep)).await
    }

    async fn revoke_owned(&self, owner: &Owner, keep: Option<SessionKey>) -> Result<u64> {
        self.make_prepared().await?;
        let ended = self.store.delete_owned(owner, keep).await?;
        metrics::revoked(ended);
        info!(target: "session", %owner, ended, "sessions of an owner revoked");
        let kind = EventKind::Ended(EndReason::Revoked);
        self.events.tell(|| Event { kind, key: None, owner: Some(owner.clone()), at: self.now() });
        Ok(ended)
    }

    /// Changes another session by its key, such as an administrator who takes a role away, with the same replay as any
    /// commit: `change` may insert, remove, update or destroy. It is no use of the session, and cannot change its id.
    ///
    /// [`Outcome::Ended`] when there is no such session.
    ///
    /// # Errors
    /// Those of `change`, and as [`commit`](Self::commit).
    pub async fn change(
        &self,
        key: SessionKey,
        change: impl FnOnce(&Session) -> Result<()> + Send,
    ) -> Result<Outcome> {
        self.make_prepared().await?;
        let Some((stored, body)) = self.find(key).await? else { return Ok(Outcome::Ended) };
        if stored.identity.is_tombstone() {
            return Ok(Outcome::Ended);
        }
        let mut state = State::loaded(stored, body, Authority::Key);
        state.is_no_use = true;
        let session = Session::from_state(state);
        change(&session)?;
        Ok(self.commit(&session).await?.outcome)
    }

    /// Makes a session a tombstone, whatever its id is by now: no owner, no entries, and for `superseded_for` no secret
    /// opens it or begins anything in its place (`[I7]`). Whether it was live.
    pub(super) async fn replace(&self, key: SessionKey) -> Result<bool> {
        for _ in 0..self.policy.max_attempts() {
            let Some(record) = self.store.load(key).await? else { return Ok(false) };
            let body = self.codecs.decode(key, Arc::clone(&record.payload));
            let identity = body.and_then(|body| Identity::of(&body)).ok().flatten();
            if identity.as_ref().is_some_and(Identity::is_tombstone) {
                return Ok(false);
            }
            let now = self.now();
            let identity = Identity::tombstone(now).to_value();
            let (payload, _) = self.codecs.encode(key, &Body::empty(), &[(ENTRY, Some(&identity))])?;
            let tombstone = Record {
                revision: Revision::generate()?,
                owner: None,
                created_at: record.created_at,
                expires_at: now.saturating_add(self.policy.superseded_for()),
                payload,
            };
            match self.store.save(key, record.revision, &tombstone).await? {
                Saved::Stored => return Ok(true),
                Saved::Missing => return Ok(false),
                Saved::Conflict => {}
            }
        }
        Err(contended(
            "the session of the owner before could not be ended: other requests changed it each time",
        ))
    }
}

fn contended(message: &'static str) -> Error {
    Error::new(ErrorKind::Contended, message)
}
