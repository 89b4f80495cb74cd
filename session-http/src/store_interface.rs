//! Sessions in a store, their ids in a cookie.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use http::header::COOKIE;
use http::{request, response};
use session_core::{Commit, Result, Session, SessionId, SessionManager, Status};

use crate::cookie::{Cookie, Expiry, values_of};
use crate::headers::{Sent, note_session};
use crate::{CookieConfig, RequestHead, SessionInterface};

type Choose = Arc<dyn Fn(&request::Parts) -> Option<CookieConfig> + Send + Sync>;

/// Keeps sessions in a store and their ids in a cookie.
///
/// What it does to a response:
///
/// | the request | `Set-Cookie` | `Vary: Cookie` |
/// |---|---|---|
/// | did not use the session | none | no |
/// | only read it | none | yes |
/// | began a session, or changed its id: sign-in, `rotate_id`, renewal by age | sent | yes |
/// | changed its data | none: the browser has the id | yes |
/// | ended it: `destroy`, `sign_out`, nothing was left in it | removed | yes |
/// | used it, and others ended it or changed its id meanwhile | none | yes |
/// | named a session that does not exist, and did not use it | none | no |
///
/// So an answer that overtakes another never puts an old id back, and a slow one never removes a new cookie (`[I8]`).
///
/// A permanent session's cookie lasts as long as the session can live at most (its absolute lifetime, and 400 days, which
/// browsers allow); any other ends with the browser. Either way the store ends the session, at its idle timeout too: the
/// cookie's expiry enforces nothing.
///
/// A response that sets or removes the cookie may not be stored by any cache: `Cache-Control: no-store`, whatever the
/// handler said.
///
/// Of several cookies of one name, which only a neighbouring domain or an old configuration can cause, the first
/// that opens a live session counts; at most four are looked up. The `__Host-` prefix of the default name makes
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
        Self { manager, cookie: Cookie::default(), choose: None, refresh: false }
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
    ///
    /// It chooses the cookie and nothing else: an id is accepted under every name and on every host whose requests reach
    /// this manager. To keep tenants apart, give each a store with a namespace of its own, and a layer on it.
    #[must_use]
    pub fn with_cookie_by(
        mut self,
        choose: impl Fn(&request::Parts) -> Option<CookieConfig> + Send + Sync + 'static,
    ) -> Self {
        self.choose = Some(Arc::new(choose));
        self
    }

    /// Whether a permanent session's cookie is sent again with each response that used it, as Flask does. Default: off.
    ///
    /// On, an answer that is delivered late can put an id back that another answer has replaced meanwhile: the browser is
    /// then signed out. The cookie's expiry needs no refreshing, see above.
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

    /// The `Set-Cookie` that the session's state asks for.
    fn sent(&self, session: &Status, cookie: &Cookie) -> Result<Sent> {
        let Some(id) = &session.id else {
            return if session.ended_here { cookie.removal().map(Sent::Cookie) } else { Ok(Sent::Nothing) };
        };
        let persists = cookie.persists(session.permanent);
        if !(session.id_is_new || persists && self.refresh && session.accessed) {
            return Ok(Sent::Nothing);
        }
        let expiry = match session.created_at {
            Some(created_at) if persists => {
                let latest_end = self.manager.policy().latest_end(created_at, session.lifetime);
                Expiry::at(latest_end, self.manager.now())
            }
            _ => Expiry::BrowserSession,
        };
        cookie.set(&id.expose(), expiry).map(Sent::Cookie)
    }
}

#[async_trait]
impl SessionInterface for StoreInterface {
    fn capture(&self, head: &request::Parts) -> RequestHead {
        let mut kept = RequestHead::with_headers(head, &[&COOKIE]);
        if let Some(config) = self.choose.as_ref().and_then(|choose| choose(head)) {
            kept.extensions_mut().insert(config);
        }
        kept
    }

    async fn open(&self, request: &RequestHead) -> Result<Session> {
        let cookie = self.cookie(request)?;
        let mut malformed = 0;
        let mut found: Option<Session> = None;
        for text in values_of(request.headers(&COOKIE), cookie.name()) {
            match text.parse::<SessionId>() {
                Ok(id) if found.as_ref().is_none_or(Session::is_new) => {
                    let opened = self.manager.open(Some(&id)).await?;
                    // Beside a live session nothing counts; one that was superseded may begin nothing.
                    if !(opened.is_new() && found.as_ref().is_some_and(Session::is_superseded)) {
                        found = Some(opened);
                    }
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

    async fn commit(&self, session: &Session, _: &RequestHead) -> Result<Commit> {
        self.manager.commit(session).await
    }

    fn try_commit_now(&self, session: &Session, _: &RequestHead) -> Option<Commit> {
        self.manager.try_commit_now(session)
    }

    fn respond(
        &self,
        session: &Session,
        request: &RequestHead,
        response: &mut response::Parts,
    ) -> Result<()> {
        let status = session.status();
        let cookie = self.cookie(request)?;
        let sent = self.sent(&status, &cookie)?;
        note_session(&mut response.headers, status.accessed, &COOKIE, cookie.name(), sent)
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
