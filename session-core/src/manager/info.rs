//! A stored session as its owner, or an operator, sees it.

use serde::de::DeserializeOwned;

use crate::codec::Body;
use crate::session::RESERVED;
use crate::session::identity::Identity;
use crate::value::from_value;
use crate::{Owner, Record, Result, SessionKey, Timestamp};

/// A stored session in a list: enough to recognise a device and revoke it, without the secret.
#[derive(Debug)]
pub struct SessionInfo {
    key: SessionKey,
    owner: Option<Owner>,
    created_at: Timestamp,
    expires_at: Timestamp,
    identity: Option<Identity>,
    body: Result<Body>,
}

impl SessionInfo {
    pub(super) fn new(
        key: SessionKey,
        record: Record,
        identity: Option<Identity>,
        body: Result<Body>,
    ) -> Self {
        let Record { owner, created_at, expires_at, .. } = record;
        Self { key, owner, created_at, expires_at, identity, body }
    }

    /// The key, for [`revoke`](crate::SessionManager::revoke); safe to show, and the same for the session's whole life.
    #[must_use]
    pub fn key(&self) -> SessionKey {
        self.key
    }

    /// The principal the session belongs to.
    #[must_use]
    pub fn owner(&self) -> Option<&Owner> {
        self.owner.as_ref()
    }

    /// When the session began: when its owner last signed in.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// When the session ends unless it is used.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// The session was last used at this time or later, derived from its expiry: later by at most the share of the idle
    /// timeout that has to pass before an expiry is moved ([`Policy::with_touch_share`](crate::Policy::with_touch_share)),
    /// but by up to the whole idle timeout once the absolute lifetime limits the expiry. `None` when the session cannot be
    /// decoded.
    #[must_use]
    pub fn used_since(&self) -> Option<Timestamp> {
        Some(self.expires_at.saturating_sub(self.identity.as_ref()?.idle))
    }

    /// When the session first got its owner, as far as that is known: the order in which a limit ends sessions.
    pub(super) fn owned_since(&self) -> Timestamp {
        self.identity.as_ref().and_then(|identity| identity.owned_since).unwrap_or(self.created_at)
    }

    /// An entry of the session, such as the browser's name that the application put there.
    ///
    /// # Errors
    /// As [`Session::get`](crate::Session::get); also when the whole session cannot be decoded.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let value = match &self.body {
            Ok(_) if key.starts_with(RESERVED) => None,
            Ok(body) => body.get(key)?,
            Err(error) => return Err(error.restate()),
        };
        value.map(|value| from_value(key, value)).transpose()
    }
}
