//! One request's session: opened when it is first asked for, saved before the response head leaves.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, OnceLock};

use http::request;
use http::{Extensions, Method, response};
use serde::de::DeserializeOwned;
use session_core::{Commit, Result};
use tokio::sync::{Mutex, OnceCell};
use tracing::Instrument as _;

use crate::settings::Settings;
use crate::{RequestHead, SessionInterface};

/// The way to a request's session, which the layer puts into the request's extensions.
///
/// It costs nothing until it is used. Handlers of axum use the extractor [`Session`] instead.
///
/// ```
/// # use session_http::SessionHandle;
/// async fn handle(request: http::Request<String>) -> session_core::Result<String> {
///     let Some(handle) = request.extensions().get::<SessionHandle>() else {
///         return Ok("no session layer".to_owned());
///     };
///     let session = handle.open().await?;
///     Ok(format!("{:?}", session.get::<String>("user")?))
/// }
/// ```
#[derive(Clone)]
pub struct SessionHandle(Arc<Shared>);

struct Shared {
    settings: Arc<Settings>,
    request: RequestHead,
    opened: OnceCell<session_core::Session>,
    /// The method is one that should change nothing (RFC 9110, 9.2.1).
    is_safe: bool,
    /// Nobody may see the answer: to `HEAD`, or to a prefetch.
    is_speculative: bool,
    /// One save at a time, and none while it is decided what the response says of the session.
    saving: Mutex<()>,
    /// The commit of a [`Session::consume`] that dropped the request's changes, of which nobody was told.
    dropped: OnceLock<Commit>,
    /// On which thread the service inside the layer is being polled; 0 while it is not.
    polled_on: AtomicUsize,
    /// The service inside the layer dropped the session in a panic.
    panicked: AtomicBool,
}

/// In the extensions of a request: the way to the session of a layer that was told apart by `T`.
pub(crate) struct Tagged<T> {
    handle: SessionHandle,
    tag: PhantomData<fn() -> T>,
}

impl<T> Clone for Tagged<T> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), tag: PhantomData }
    }
}

impl SessionHandle {
    pub(crate) fn new(settings: &Arc<Settings>, head: &request::Parts) -> Self {
        Self(Arc::new(Shared {
            settings: Arc::clone(settings),
            request: settings.interface.capture(head),
            opened: OnceCell::new(),
            is_safe: head.method.is_safe(),
            is_speculative: head.method == Method::HEAD || is_prefetch(head),
            saving: Mutex::new(()),
            dropped: OnceLock::new(),
            polled_on: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
        }))
    }

    /// The way to the session of the layer that was told apart by `T` ([`SessionLayer::tagged`]), if there is one.
    ///
    /// [`SessionLayer::tagged`]: crate::SessionLayer::tagged
    #[must_use]
    pub fn tagged<T: 'static>(extensions: &Extensions) -> Option<&Self> {
        extensions.get::<Tagged<T>>().map(|tagged| &tagged.handle)
    }

    pub(crate) fn attach(extensions: &mut Extensions, handle: Self) {
        if extensions.insert(handle).is_some() {
            tracing::warn!(
                target: "session",
                "two session layers lie around one handler, which reaches the inner one only: use SessionLayer::tagged"
            );
        }
    }

    pub(crate) fn attach_tagged<T: 'static>(extensions: &mut Extensions, handle: Self) {
        extensions.insert(Tagged::<T> { handle, tag: PhantomData });
    }

    /// Opens the session; the first call of a request asks the store, all others give the same session.
    ///
    /// # Errors
    /// When the storage failed. The next call tries again.
    ///
    /// # Cancellation
    /// May be dropped at any point.
    pub async fn open(&self) -> Result<Session> {
        let shared = &*self.0;
        let session = shared
            .opened
            .get_or_try_init(|| {
                let span = tracing::debug_span!(target: "session", "session.open");
                self.interface().open(&shared.request).instrument(span)
            })
            .await?;
        session.set_speculative(shared.is_speculative);
        // Pairs with `close`: one of both sees what the other did.
        fence(Ordering::SeqCst);
        if shared.request.is_answered() {
            session.fix_id();
        }
        Ok(Session { session: session.clone(), handle: self.clone() })
    }

    /// Whether the session was opened in this request.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.opened.initialized()
    }

    /// Polls the service inside the layer, so that a panic of it can be told from one of a task that it spawned.
    pub(crate) fn while_polled<T>(&self, poll: impl FnOnce() -> T) -> T {
        self.0.polled_on.store(this_thread(), Ordering::Relaxed);
        let polled = poll();
        self.0.polled_on.store(0, Ordering::Relaxed);
        polled
    }

    /// Whether an answer may claim nothing that is not stored: a safe method asks for no change.
    pub(crate) fn is_safe(&self) -> bool {
        self.0.is_safe
    }

    /// Whether a handler that held the session did not run to its end, as far as that can be seen.
    pub(crate) fn panicked(&self) -> bool {
        self.0.panicked.load(Ordering::Relaxed)
    }

    /// Whether the session holds changes that were not saved.
    pub(crate) fn has_unsaved_changes(&self) -> bool {
        self.0
            .opened
            .get()
            .is_some_and(|session| session.is_modified() && self.try_commit_now(session).is_none())
    }

    /// Commits the session, if it was opened and the response is one that saves. No commit that begins afterwards can
    /// change the id, because the response's head could not tell of it.
    pub(crate) async fn finish(&self, saves: bool) -> Result<Option<Commit>> {
        let _one = self.0.saving.lock().await;
        let commit = match self.0.opened.get() {
            Some(session) if saves => self.commit(session).await.map(|commit| Some(self.worst(commit))),
            _ => Ok(None),
        };
        self.close();
        commit
    }

    /// The same, if there is nothing to wait for.
    pub(crate) fn try_finish(&self, saves: bool) -> Option<Option<Commit>> {
        let _one = self.0.saving.try_lock().ok()?;
        let commit = match self.0.opened.get() {
            Some(session) if saves => Some(self.worst(self.try_commit_now(session)?)),
            _ => None,
        };
        self.close();
        Some(commit)
    }

    /// Writes what the client has to know of the session into the response's head.
    pub(crate) fn respond(&self, response: &mut response::Parts) -> Result<()> {
        let shared = &*self.0;
        let Some(session) = shared.opened.get() else { return Ok(()) };
        self.interface().respond(session, &shared.request, response)
    }

    async fn commit(&self, session: &session_core::Session) -> Result<Commit> {
        let span = tracing::debug_span!(target: "session", "session.save");
        self.interface().commit(session, &self.0.request).instrument(span).await
    }

    fn try_commit_now(&self, session: &session_core::Session) -> Option<Commit> {
        self.interface().try_commit_now(session, &self.0.request)
    }

    fn worst(&self, commit: Commit) -> Commit {
        self.0.dropped.get().copied().unwrap_or(commit)
    }

    fn close(&self) {
        self.0.request.note_answered();
        if let Some(session) = self.0.opened.get() {
            session.fix_id();
        }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    fn interface(&self) -> &dyn SessionInterface {
        &*self.0.settings.interface
    }
}

/// Browsers say so of requests that their user may never look at (the header `Sec-Purpose` of fetch; older ones `Purpose`).
fn is_prefetch(head: &request::Parts) -> bool {
    let says = |name| {
        let values = head.headers.get_all(name).iter();
        values.into_iter().any(|value| value.as_bytes().starts_with(b"prefetch"))
    };
    says("sec-purpose") || says("purpose")
}

impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionHandle")
            .field("interface", &self.0.settings.interface)
            .field("session", &self.0.opened.get())
            .finish_non_exhaustive()
    }
}

/// The session of this request.
///
/// It is a [`session_core::Session`], with all its methods, that also knows how to save itself. The layer saves it
/// after the handler; call [`save`](Self::save) for what must be durable before that, or what is changed
/// after the response head has left: in a spawned task, or while a body streams.
///
/// In axum it is an extractor, with the feature `axum`. A handler that takes it costs one look-up in the store, and
/// none when the request has no cookie; a handler that does not take it costs none.
///
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::{Router, routing::get};
/// use session_http::{Session, SessionError};
///
/// async fn visit(session: Session) -> Result<String, SessionError> {
///     let visits = session.update("visits", |visits: Option<u64>| visits.unwrap_or(0) + 1)?;
///     Ok(format!("visit number {visits}"))
/// }
///
/// let routes: Router = Router::new().route("/", get(visit));
/// # }
/// ```
#[derive(Clone)]
pub struct Session {
    session: session_core::Session,
    handle: SessionHandle,
}

impl Session {
    /// Makes all changes durable now instead of after the handler.
    ///
    /// The cookie still goes out with the response. Once its head has left, in a spawned task or while a body streams, a
    /// session cannot begin or change its id any more, and one that lies in its cookie cannot be saved at all: that is an
    /// error of kind [`TooLate`](session_core::ErrorKind::TooLate), and the session is as before.
    ///
    /// # Errors
    /// [`Ended`](session_core::ErrorKind::Ended) or [`Superseded`](session_core::ErrorKind::Superseded) when others ended
    /// the session, or changed its id, and changes of this request were dropped; else as the interface's
    /// [`commit`](SessionInterface::commit).
    ///
    /// # Cancellation
    /// The store holds the old session or the new one.
    pub async fn save(&self) -> Result<()> {
        self.commit().await?.into_result().map(drop)
    }

    /// Takes `key` out of the session and saves: of N requests that do so at once, one gets the value, the others `None`.
    /// For what may be used once, such as a nonce or a voucher.
    ///
    /// # Errors
    /// As [`save`](Self::save) and [`get`](session_core::Session::get).
    ///
    /// # Cancellation
    /// The value may be gone without anybody having got it.
    pub async fn consume<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let Some(consume) = self.session.start_consume::<T>(key)? else { return Ok(None) };
        let commit = self.commit().await?;
        if commit.dropped_changes {
            let _ = self.handle.0.dropped.set(commit);
            return Ok(None);
        }
        consume.finish()
    }

    /// Brings what other requests stored since into this session; what this one changed stays on top. `false` when others
    /// ended the session, or changed its id: it is then empty, and stays so. For handlers that wait for long, such as
    /// websockets.
    ///
    /// # Errors
    /// When the storage failed; the session is then as before.
    pub async fn reload(&self) -> Result<bool> {
        self.handle.interface().reload(&self.session).await
    }

    async fn commit(&self) -> Result<Commit> {
        let _one = self.handle.0.saving.lock().await;
        self.handle.commit(&self.session).await
    }
}

/// A handler that panics drops its session on the way out: what it did is not saved, also where a layer inside this one
/// makes an answer of the panic. In a task that it spawned a panic ends the task and not the handler.
impl Drop for Session {
    fn drop(&mut self) {
        let shared = &*self.handle.0;
        if std::thread::panicking() && shared.polled_on.load(Ordering::Relaxed) == this_thread() {
            shared.panicked.store(true, Ordering::Relaxed);
        }
    }
}

/// A number that no other running thread has; never 0.
fn this_thread() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    HERE.try_with(|here| std::ptr::from_ref(here).addr()).unwrap_or(usize::MAX)
}

impl Deref for Session {
    type Target = session_core::Session;

    fn deref(&self) -> &Self::Target {
        &self.session
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.session.fmt(f)
    }
}
