//! Sessions in a store, their ids in a cookie.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use http::header::COOKIE;
use http::{request, response};
use session_core::{Result, Session, SessionId, SessionManager, Status};

use crate::cookie::{Cookie, Keep, values_of};
use crate::headers::{Sent, note_session};
use crate::{CookieConfig, RequestHead, SessionInterface};

type Choose = Arc<dyn Fn(&request::Parts) -> Option<CookieConfig> + Send + Sync>;

/// Keeps sessions in a store and their ids in a cookie.
///
/// What it does to a response follows Flask:
///
/// | the request | `Set-Cookie` | `Vary: Cookie` |
/// |---|---|---|
/// | did not use the session | none | no |
/// | only read it | none | yes |
/// | only read it, and it is permanent | sent again with the new expiry | yes |
/// | changed it, and something is in it | sent | yes |
/// | changed it to empty, destroyed it, or it ended meanwhile | removed | yes |
/// | named a session that does not exist, and did not use it | none | no |
///
/// A permanent session's cookie has `Max-Age` and `Expires` of its record; any other ends with the browser. Either way
/// the store ends the session: the cookie's expiry enforces nothing.
///
/// A response that carries a new id gets `Cache-Control: no-store`.
///
/// Of several cookies of one name, which only a neighbouring domain or an old configuration can cause, the first
/// that names a live session counts; at most four are looked up. The `__Host-` prefix of the default name makes
/// browsers refuse a neighbour's cookie.
#[derive(Clone)]
pub struct StoreInterface {
    manager: SessionManager,
    cookie: Cookie,
    choose: Option<Choose>,
    refresh: bool,
}

impl StoreInterface {
    /// Sessions of `manager` with the default cookie.
    #[must_use]
    pub fn new(manager: SessionManager) -> Self {
        Self { manager, cookie: Cookie::default(), choose: None, refresh: true }
    }

    /// Sets how the cookie looks.
    ///
    /// # Errors
    /// [`InvalidConfig`](session_core::ErrorKind::InvalidConfig) when browsers would drop such a cookie.
    pub fn with_cookie(mut self, config: &CookieConfig) -> Result<Self> {
        self.cookie = Cookie::new(config)?;
        Ok(self)
    }

    /// Chooses the cookie for each request by its head, where one application serves several hosts. `None` stands for
    /// the cookie of [`with_cookie`](Self::with_cookie).
    ///
    /// It runs for every request, and a configuration that [`CookieConfig::check`] refuses fails each request that uses
    /// its session: build the configurations once, and clone them here.
    #[must_use]
    pub fn with_cookie_by(
        mut self,
        choose: impl Fn(&request::Parts) -> Option<CookieConfig> + Send + Sync + 'static,
    ) -> Self {
        self.choose = Some(Arc::new(choose));
        self
    }

    /// Whether a permanent session's cookie is sent again with each response that used it, so that it lives as long
    /// as its session. Default: on. Off, the cookie keeps the expiry it got when the session last changed.
    #[must_use]
    pub fn with_refresh_each_request(mut self, refresh: bool) -> Self {
        self.refresh = refresh;
        self
    }

    /// The manager, to list and revoke sessions.
    #[must_use]
    pub fn manager(&self) -> &SessionManager {
        &self.manager
    }

    fn cookie(&self, request: &RequestHead) -> Result<Cow<'_, Cookie>> {
        match request.extensions().get::<CookieConfig>() {
            Some(config) => Cookie::new(config).map(Cow::Owned),
            None => Ok(Cow::Borrowed(&self.cookie)),
        }
    }

    /// Writes what the client has to know of a session that was committed. It follows from the session's state alone, so
    /// that a handler may save as often as it likes before the response is written.
    fn tell(&self, session: &Session, cookie: &Cookie, response: &mut response::Parts) -> Result<()> {
        let status = session.status();
        let sent = self.sent(&status, cookie)?;
        note_session(&mut response.headers, status.accessed, &COOKIE, sent);
        Ok(())
    }

    /// The `Set-Cookie` that the session's state asks for.
    fn sent(&self, session: &Status, cookie: &Cookie) -> Result<Sent> {
        let Some(id) = &session.id else {
            // A key without an id: the id was just renewed, and another response brings the client the new one.
            let ended = session.key.is_none() && (session.modified || !session.new);
            return if ended { cookie.removal().map(Sent::Removal) } else { Ok(Sent::Nothing) };
        };
        let persists = cookie.persists(session.permanent);
        if !(session.id_is_new || session.modified || (persists && self.refresh)) {
            return Ok(Sent::Nothing);
        }
        let keep = match session.expires_at {
            Some(expires_at) if persists => Keep::Until { expires_at, now: self.manager.now() },
            _ => Keep::BrowserSession,
        };
        let header = cookie.set(&id.expose(), keep)?;
        Ok(if session.id_is_new { Sent::NewSecret(header) } else { Sent::Again(header) })
    }
}

#[async_trait]
impl SessionInterface for StoreInterface {
    fn keep(&self, head: &request::Parts) -> RequestHead {
        let mut kept = RequestHead::with_headers(head, &[&COOKIE]);
        if let Some(config) = self.choose.as_ref().and_then(|choose| choose(head)) {
            kept.extensions_mut().insert(config);
        }
        kept
    }

    async fn open(&self, request: &RequestHead) -> Result<Session> {
        let cookie = self.cookie(request)?;
        let mut malformed = 0;
        let mut found = None;
        for text in values_of(request.headers(&COOKIE), cookie.name()) {
            match text.parse::<SessionId>() {
                Ok(id) if found.as_ref().is_none_or(Session::is_new) => {
                    found = Some(self.manager.open(Some(&id)).await?);
                }
                Ok(_) => {}
                Err(_) => malformed += 1,
            }
        }
        note_malformed(malformed);
        match found {
            Some(session) => Ok(session),
            None => self.manager.open(None).await,
        }
    }

    async fn save(
        &self,
        session: &Session,
        request: &RequestHead,
        response: &mut response::Parts,
    ) -> Result<()> {
        // Asked for first: what the client cannot be told must not be stored.
        let cookie = self.cookie(request)?;
        self.manager.commit(session).await?;
        self.tell(session, &cookie, response)
    }

    fn save_at_once(
        &self,
        session: &Session,
        request: &RequestHead,
        response: &mut response::Parts,
    ) -> Option<Result<()>> {
        self.manager.commit_at_once(session)?;
        let told = self.cookie(request).and_then(|cookie| self.tell(session, &cookie, response));
        Some(told)
    }

    async fn reload(&self, session: &Session) -> Result<bool> {
        self.manager.reload(session).await
    }
}

/// Makes guessing visible: an id that no server writes is counted, and never looked up.
fn note_malformed(malformed: u64) {
    if malformed > 0 {
        tracing::debug!(target: "session", malformed, "a cookie that holds no session id");
        #[cfg(feature = "metrics")]
        metrics::counter!("session_malformed_ids_total").increment(malformed);
    }
}

impl fmt::Debug for StoreInterface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreInterface")
            .field("manager", &self.manager)
            .field("cookie", &self.cookie)
            .field("refresh", &self.refresh)
            .finish_non_exhaustive()
    }
}
