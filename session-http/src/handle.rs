//! One request's session: opened when it is first asked for, saved before the response head leaves.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use http::{Response, response};
use session_core::Result;
use tokio::sync::OnceCell;
use tracing::Instrument as _;

use crate::layer::Settings;
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
}

impl SessionHandle {
    pub(crate) fn new(settings: &Arc<Settings>, request: RequestHead) -> Self {
        Self(Arc::new(Shared { settings: Arc::clone(settings), request, opened: OnceCell::new() }))
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
        Ok(Session { session: session.clone(), handle: self.clone() })
    }

    /// Whether the session was opened in this request.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.opened.initialized()
    }

    /// Saves the session, if it was opened, and writes what the client has to know into `response`.
    pub(crate) async fn save(&self, response: &mut response::Parts) -> Result<()> {
        let shared = &*self.0;
        let Some(session) = shared.opened.get() else { return Ok(()) };
        let span = tracing::debug_span!(target: "session", "session.save");
        self.interface().save(session, &shared.request, response).instrument(span).await
    }

    /// The same, if there is nothing to wait for.
    pub(crate) fn save_at_once(&self, response: &mut response::Parts) -> Option<Result<()>> {
        let shared = &*self.0;
        let Some(session) = shared.opened.get() else { return Some(Ok(())) };
        self.interface().save_at_once(session, &shared.request, response)
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    fn interface(&self) -> &dyn SessionInterface {
        &*self.0.settings.interface
    }
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
/// use axum::{Router, http::StatusCode, routing::get};
/// use session_http::Session;
///
/// async fn visit(session: Session) -> Result<String, StatusCode> {
///     let visits: u64 = session
///         .update("visits", |visits: Option<u64>| visits.unwrap_or(0) + 1)
///         .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
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
    /// The cookie still goes out with the response: a session that is saved for the first time after the response
    /// head has left is not known to its client.
    ///
    /// # Errors
    /// As the interface's [`save`](SessionInterface::save): then nothing, or everything, is saved.
    ///
    /// # Cancellation
    /// The store holds the old session or the new one.
    pub async fn save(&self) -> Result<()> {
        let (mut unused, ()) = Response::new(()).into_parts();
        self.handle.save(&mut unused).await
    }

    /// Brings what other requests stored since into this session; what this one changed stays on top. `false` when the
    /// session has ended meanwhile: it is then empty. For handlers that wait for long, such as websockets.
    ///
    /// # Errors
    /// When the storage failed; the session is then as before.
    pub async fn reload(&self) -> Result<bool> {
        self.handle.interface().reload(&self.session).await
    }
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
