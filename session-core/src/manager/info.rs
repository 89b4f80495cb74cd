//! A stored session as its owner, or an operator, sees it.

use serde::de::DeserializeOwned;

use crate::codec::Body;
use crate::value::from_value;
use crate::{Owner, Result, SessionKey, Timestamp};

/// A stored session in a list: enough to recognise a device and revoke it, without the secret.
#[derive(Debug)]
pub struct SessionInfo {
    pub(super) key: SessionKey,
    pub(super) owner: Option<Owner>,
    pub(super) created_at: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) body: Result<Body>,
}

impl SessionInfo {
    /// The key, for [`revoke`](crate::SessionManager::revoke); safe to show.
    #[must_use]
    pub fn key(&self) -> SessionKey {
        self.key
    }

    /// The principal the session belongs to.
    #[must_use]
    pub fn owner(&self) -> Option<&Owner> {
        self.owner.as_ref()
    }

    /// When the session began: when its owner signed in.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// When the session ends unless it is used.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// An entry of the session, such as the browser's name that the application put there.
    ///
    /// # Errors
    /// As [`Session::get`](crate::Session::get); also when the whole session cannot be decoded.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let value = match &self.body {
            Ok(body) => body.get(key)?,
            Err(error) => return Err(error.restate()),
        };
        value.map(|value| from_value(key, value)).transpose()
    }
}
