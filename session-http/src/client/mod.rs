//! The whole session in a cookie: Flask's default.

mod envelope;
mod keys;
mod slot;

use std::sync::Arc;

use async_trait::async_trait;
use http::header::COOKIE;
use http::response;
use session_core::{
    Clock, Codecs, Commit, ErrorKind, Policy, Record, Result, Revision, Session, SessionManager, Status,
    SystemClock,
};

use crate::cookie::{Cookie, Expiry, values_of};
use crate::headers::{Sent, note_session};
use crate::{CookieConfig, RequestHead, SessionInterface};
use envelope::{Envelope, Protection};
pub use keys::KeyRing;
use slot::Slot;

const NO_KEY: &str = "the session cannot be written because no secret key is set: give ClientInterface a KeyRing \
                      with a secret of at least 32 random bytes";

/// Keeps the whole session in a cookie, signed or sealed: no store is needed.
///
/// **Signed**: the client can read the session and cannot change it. **Sealed**: it cannot read it either. The
/// protection covers the cookie's name, so that a value does not work in another cookie.
///
/// The server holds the limits: the expiry lies in the cookie, under the signature, and is held against the policy of today
/// when the cookie comes back. A response that used the session sends it again when a share of the idle timeout has passed
/// ([`Policy::with_touch_share`]).
///
/// # What a client-side session cannot do
///
/// - **End before its time.** Signing out removes the cookie from one browser. A copy of it, stolen or kept, works until
///   its limits. Nothing can be listed or revoked; `rotate_id` and a new owner change nothing about that.
/// - **Forget.** A client that keeps an old cookie can send it again, and has the old session back: an emptied
///   basket is full, a spent voucher is unspent. Keep nothing in it whose former state is worth something.
/// - **Count.** Of two requests at once the last response wins, with all it says; `update` does not add up, and both get
///   what they `consume`.
/// - **Be saved late.** The cookie leaves with the response's head. What is saved after that, in a spawned task or while
///   a body streams, is an error of kind [`TooLate`](ErrorKind::TooLate), also a sign-out.
/// - **Hold much.** Browsers drop cookies over about 4 KiB. Here that is an error before the response leaves.
///
/// Where one of these matters, take [`StoreInterface`](crate::StoreInterface); handlers do not change.
///
/// ```
/// use session_http::{ClientInterface, KeyRing, SessionLayer};
///
/// let secret = "k2Jx0Yd5m8c1W7Qp4Rt9Zs6Nf3Lb0Vh2Gu5Ke8Ai1Oq4"; // from a secret store
/// let layer = SessionLayer::with_interface(ClientInterface::signed(KeyRing::new(secret)?));
/// # Ok::<(), session_core::Error>(())
/// ```
///
/// # Without a key
///
/// As in Flask, sessions can then be read, and are empty; each write is an error that says how to set a key.
#[derive(Clone, Debug)]
pub struct ClientInterface {
    keys: KeyRing,
    protection: Protection,
    manager: SessionManager,
    /// Of the store that a cookie is, too.
    clock: Arc<dyn Clock>,
    cookie: Cookie,
    refresh: bool,
}

impl ClientInterface {
    /// Clients can read their session, and cannot change it.
    #[must_use]
    pub fn signed(keys: KeyRing) -> Self {
        Self::new(keys, Protection::Signed)
    }

    /// Clients can neither read nor change their session.
    #[must_use]
    pub fn sealed(keys: KeyRing) -> Self {
        Self::new(keys, Protection::Sealed)
    }

    fn new(keys: KeyRing, protection: Protection) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let manager = SessionManager::new(Slot::empty(&clock));
        Self { keys, protection, manager, clock, cookie: Cookie::default(), refresh: true }
    }

    /// Sets how the cookie looks.
    ///
    /// # Errors
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) when browsers would drop such a cookie.
    pub fn with_cookie(mut self, config: &CookieConfig) -> Result<Self> {
        self.cookie = Cookie::new(config)?;
        Ok(self)
    }

    /// Sets how long sessions live. The id's renewal by age is left out: the cookie is another one each time anyway.
    ///
    /// # Errors
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) when the values cannot work together.
    pub fn with_policy(mut self, policy: Policy) -> Result<Self> {
        policy.check()?;
        self.manager = self.manager.with_policy(policy.with_renewal_after(None));
        Ok(self)
    }

    /// Sets how sessions are encoded, and which other encodings are read.
    #[must_use]
    pub fn with_codecs(mut self, codecs: Codecs) -> Self {
        self.manager = self.manager.with_codecs(codecs);
        self
    }

    /// Sets the clock, for tests.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.manager = self.manager.with_store(Slot::empty(&clock)).with_clock(Arc::clone(&clock));
        self.clock = clock;
        self
    }

    /// Whether a permanent session's cookie is sent again with each response that used it. Default: on.
    #[must_use]
    pub fn with_refresh_each_request(mut self, refresh: bool) -> Self {
        self.refresh = refresh;
        self
    }

    /// The session in one cookie's value, unless this server did not write it or its time is over.
    async fn read(&self, text: &str) -> Result<Option<(Session, Open)>> {
        let Some(envelope) = Envelope::read(text, &self.keys, self.protection, self.cookie.name()) else {
            return Ok(None);
        };
        let Envelope { id, expires_at, created_at, owner, payload } = envelope;
        let revision = Revision::generate()?;
        let record = Record { revision, owner, created_at, expires_at, payload: payload.into() };
        let open = Open::new(&self.manager, Slot::of(id.key(), record, &self.clock));
        match open.manager.open(Some(&id)).await {
            Ok(session) => Ok((!session.is_new()).then_some((session, open))),
            // Our own signature around something unreadable: a codec was taken away. To refuse every request until the
            // cookie is gone would help nobody.
            Err(error) if matches!(error.kind(), ErrorKind::Codec | ErrorKind::Corrupt) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(target: "session", error, "a session that this server signed cannot be decoded; it begins anew");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The `Set-Cookie` that the session's state asks for.
    fn sent(&self, session: &Status, slot: &Slot) -> Result<Sent> {
        let (record, written) = slot.content();
        let (Some(record), Some(id)) = (record, &session.id) else {
            return if session.ended_here {
                self.cookie.removal().map(Sent::Cookie)
            } else {
                Ok(Sent::Nothing)
            };
        };
        let persists = self.cookie.persists(session.permanent);
        if !(written || persists && self.refresh) {
            return Ok(Sent::Nothing);
        }
        let Record { owner, created_at, expires_at, payload, .. } = record;
        let expiry =
            if persists { Expiry::at(Some(expires_at), self.manager.now()) } else { Expiry::BrowserSession };
        let envelope = Envelope { id: id.clone(), expires_at, created_at, owner, payload: payload.to_vec() };
        let text = envelope.write(&self.keys, self.protection, self.cookie.name())?;
        self.cookie.set(&text, expiry).map(Sent::Cookie)
    }
}

/// What belongs to an open session.
#[derive(Debug)]
struct Open {
    manager: SessionManager,
    slot: Slot,
}

impl Open {
    fn new(manager: &SessionManager, slot: Slot) -> Self {
        Self { manager: manager.clone().with_store(slot.clone()), slot }
    }
}

#[async_trait]
impl SessionInterface for ClientInterface {
    async fn open(&self, request: &RequestHead) -> Result<Session> {
        if self.keys.is_empty() {
            return Ok(Session::read_only(NO_KEY));
        }
        for text in values_of(request.headers(&COOKIE), self.cookie.name()) {
            if let Some((session, open)) = self.read(text).await? {
                request.remember(open);
                return Ok(session);
            }
        }
        let open = Open::new(&self.manager, Slot::empty(&self.clock));
        let session = open.manager.open(None).await?;
        request.remember(open);
        Ok(session)
    }

    async fn commit(&self, session: &Session, request: &RequestHead) -> Result<Commit> {
        // Without a key nothing could be written, and an attempt is an error of the commit.
        let Some(open) = request.remembered::<Open>() else { return self.manager.commit(session).await };
        if request.is_answered() {
            open.slot.close();
        }
        open.manager.commit(session).await
    }

    fn respond(
        &self,
        session: &Session,
        request: &RequestHead,
        response: &mut response::Parts,
    ) -> Result<()> {
        let status = session.status();
        let sent = match request.remembered::<Open>() {
            Some(open) => self.sent(&status, &open.slot)?,
            None => Sent::Nothing,
        };
        note_session(&mut response.headers, status.accessed, &COOKIE, self.cookie.name(), sent)
    }

    /// There is nothing newer than what this request brought.
    async fn reload(&self, session: &Session) -> Result<bool> {
        Ok(session.key().is_some())
    }
}
