//! What the model drives: whatever opens sessions for requests, commits them, and says what becomes of the cookie.

use async_trait::async_trait;
use session_core::{Commit, Result, Session, SessionId, SessionManager};

/// A session interface, as a browser and a handler see it. Implement it for one of your own to have it tested.
#[async_trait]
pub trait Interface: Send + Sync + 'static {
    /// Begins a request that carries this cookie.
    ///
    /// # Errors
    /// When the storage failed; the answer then changes no cookie.
    async fn open(&self, cookie: Option<&str>) -> Result<Box<dyn Exchange>>;
}

/// A request and its answer.
#[async_trait]
pub trait Exchange: Send + Sync {
    /// The session that the handler works with.
    fn session(&self) -> &Session;

    /// Stores what the handler did. It may be called more than once.
    ///
    /// # Errors
    /// As [`SessionManager::commit`].
    async fn commit(&self) -> Result<Commit>;

    /// What the answer does to the browser's cookie, after the last commit.
    fn cookie(&self) -> CookieChange;
}

/// What an answer does to the browser's cookie.
#[derive(Clone, PartialEq, Eq)]
pub enum CookieChange {
    /// Nothing.
    Keep,
    /// It sets this value.
    Set(String),
    /// It removes the cookie.
    Remove,
}

/// Does not show the cookie.
impl std::fmt::Debug for CookieChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Keep => "Keep",
            Self::Set(_) => "Set(..)",
            Self::Remove => "Remove",
        })
    }
}

/// The manager alone, with the rule for cookies that `[I8]` gives.
#[async_trait]
impl Interface for SessionManager {
    async fn open(&self, cookie: Option<&str>) -> Result<Box<dyn Exchange>> {
        // What is no id of ours names no session.
        let id: Option<SessionId> = cookie.and_then(|text| text.parse().ok());
        let session = Self::open(self, id.as_ref()).await?;
        Ok(Box::new(Managed { manager: self.clone(), session }))
    }
}

struct Managed {
    manager: SessionManager,
    session: Session,
}

#[async_trait]
impl Exchange for Managed {
    fn session(&self) -> &Session {
        &self.session
    }

    async fn commit(&self) -> Result<Commit> {
        self.manager.commit(&self.session).await
    }

    fn cookie(&self) -> CookieChange {
        let status = self.session.status();
        match status.id {
            Some(id) if status.id_is_new => CookieChange::Set(id.expose()),
            None if status.ended_here && status.key.is_none() => CookieChange::Remove,
            _ => CookieChange::Keep,
        }
    }
}
