//! The tower layer: gives each request a way to its session, and saves it before the response head leaves.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response, StatusCode, response};
use pin_project_lite::pin_project;
use session_core::{Error, Result, SessionManager};
use tower_layer::Layer;
use tower_service::Service;

use crate::{CookieConfig, SessionHandle, SessionInterface, StoreInterface};

type Status = Arc<dyn Fn(&Error) -> StatusCode + Send + Sync>;

/// A tower layer that gives the services below it sessions.
///
/// **Lazy.** A request that does not ask for its session costs no call to the store.
///
/// **Saved first.** The session is saved after the service has answered and before the response head leaves, also
/// when the body streams. A handler that panics, or whose client goes away, saves nothing.
///
/// **Honest.** When the session cannot be opened, or cannot be saved, the client gets an error (503 when trying
/// again may help), never an empty session and never an answer that claims what is not saved. The [`Failure`] is in
/// the response's extensions, for a layer above that shows a page for it.
///
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::{Router, routing::get};
/// use session_core::SessionManager;
/// use session_http::SessionLayer;
///
/// let sessions = SessionManager::new(session_memory::MemoryStore::default());
/// let app: Router = Router::new()
///     .route("/", get(|| async { "hello" }))
///     .layer(SessionLayer::new(sessions)); // below the routes that it serves
/// # }
/// ```
#[derive(Clone)]
pub struct SessionLayer {
    settings: Arc<Settings>,
}

#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) interface: Arc<dyn SessionInterface>,
    eager: bool,
    save_on_server_error: bool,
    keep_unsaved: bool,
    status: Status,
}

impl SessionLayer {
    /// Sessions of `manager`, their ids in the default cookie. It needs `https`: see
    /// [`CookieConfig::insecure_for_development`].
    #[must_use]
    pub fn new(manager: SessionManager) -> Self {
        Self::with_interface(StoreInterface::new(manager))
    }

    /// Sessions of `manager`, their ids in a cookie of your choice.
    ///
    /// # Errors
    /// [`InvalidConfig`](session_core::ErrorKind::InvalidConfig) when browsers would drop such a cookie.
    pub fn with_cookie(manager: SessionManager, cookie: &CookieConfig) -> Result<Self> {
        Ok(Self::with_interface(StoreInterface::new(manager).with_cookie(cookie)?))
    }

    /// Sessions of any interface.
    #[must_use]
    pub fn with_interface(interface: impl SessionInterface) -> Self {
        Self {
            settings: Arc::new(Settings {
                interface: Arc::new(interface),
                eager: false,
                save_on_server_error: true,
                keep_unsaved: false,
                status: Arc::new(status_of),
            }),
        }
    }

    /// Opens the session of every request before the handler runs, as Flask does, so that a permanent session is
    /// refreshed also by requests that do not use it. Costs a look-up for each request with a cookie. Default: off.
    #[must_use]
    pub fn with_eager_opening(self, eager: bool) -> Self {
        self.change(|settings| settings.eager = eager)
    }

    /// Whether changes are saved when the handler answered with a status of 500 or more. Default: on, as in Flask.
    #[must_use]
    pub fn with_save_on_server_error(self, save: bool) -> Self {
        self.change(|settings| settings.save_on_server_error = save)
    }

    /// Whether the handler's response goes out even when the session could not be saved. Default: off, because such a
    /// response may claim what is not so.
    #[must_use]
    pub fn with_keep_unsaved(self, keep: bool) -> Self {
        self.change(|settings| settings.keep_unsaved = keep)
    }

    /// Which status a failure becomes. Default: 503 when [`Error::is_retryable`], else 500.
    #[must_use]
    pub fn with_failure_status(self, status: impl Fn(&Error) -> StatusCode + Send + Sync + 'static) -> Self {
        self.change(|settings| settings.status = Arc::new(status))
    }

    fn change(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }
}

fn status_of(error: &Error) -> StatusCode {
    if error.is_retryable() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::INTERNAL_SERVER_ERROR }
}

/// Why a response is an error of the session layer's: in the extensions of that response.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Failure {
    /// What was being done.
    pub stage: Stage,
    /// What went wrong.
    pub error: Arc<Error>,
}

/// Where a session failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// It could not be opened; the handler did not run, or not to its end.
    Open,
    /// It could not be saved; the handler's response was dropped.
    Save,
}

impl Settings {
    /// Logs a failure and gives its status.
    pub(crate) fn fail(&self, stage: Stage, error: Error) -> (StatusCode, Failure) {
        let status = (self.status)(&error);
        match stage {
            Stage::Open => {
                tracing::error!(target: "session", error = &error as &dyn std::error::Error, "session not opened");
            }
            Stage::Save => {
                tracing::error!(target: "session", error = &error as &dyn std::error::Error, "session not saved");
            }
        }
        (status, Failure { stage, error: Arc::new(error) })
    }

    fn saves(&self, status: StatusCode) -> bool {
        self.save_on_server_error || !status.is_server_error()
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        SessionService { inner, settings: Arc::clone(&self.settings) }
    }
}

/// The service that [`SessionLayer`] makes.
#[derive(Clone)]
pub struct SessionService<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S, RequestBody, ResponseBody> Service<Request<RequestBody>> for SessionService<S>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>> + Clone,
    ResponseBody: Default,
{
    type Response = Response<ResponseBody>;
    type Error = S::Error;
    type Future = SessionFuture<S, Request<RequestBody>, ResponseBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        let handle = SessionHandle::new(&self.settings, self.settings.interface.keep(&head));
        head.extensions.insert(handle.clone());
        let request = Request::from_parts(head, body);
        if !self.settings.eager {
            return SessionFuture { state: State::Handling { handling: self.inner.call(request) }, handle };
        }
        // The service that was found ready is the one to call later: its clone stays behind.
        let clone = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, clone);
        let opening = handle.clone();
        let opening = Box::pin(async move { opening.open().await.map(drop) });
        SessionFuture { state: State::Opening { opening, next: Some((inner, request)) }, handle }
    }
}

type Opening = Pin<Box<dyn Future<Output = Result<()>> + Send>>;
type Saving = Pin<Box<dyn Future<Output = (response::Parts, Result<()>)> + Send>>;

pin_project! {
    /// The future of [`SessionService`].
    pub struct SessionFuture<S, Q, B>
    where
        S: Service<Q>,
    {
        handle: SessionHandle,
        #[pin]
        state: State<S, Q, B>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, Q, B>
    where
        S: Service<Q>,
    {
        Opening { opening: Opening, next: Option<(S, Q)> },
        Handling { #[pin] handling: S::Future },
        Saving { saving: Saving, body: Option<B> },
    }
}

impl<S, Q, B> Future for SessionFuture<S, Q, B>
where
    S: Service<Q, Response = Response<B>>,
    B: Default,
{
    type Output = Result<Response<B>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let settings = this.handle.settings();
        loop {
            match this.state.as_mut().project() {
                StateProjection::Opening { opening, next } => {
                    match (ready!(opening.as_mut().poll(cx)), next.take()) {
                        (Ok(()), Some((mut service, request))) => {
                            let handling = service.call(request);
                            this.state.set(State::Handling { handling });
                        }
                        (Err(error), _) => return Poll::Ready(Ok(failed(settings.fail(Stage::Open, error)))),
                        (Ok(()), None) => return Poll::Pending,
                    }
                }
                StateProjection::Handling { handling } => {
                    let response = ready!(handling.poll(cx))?;
                    if !this.handle.is_open() || !settings.saves(response.status()) {
                        return Poll::Ready(Ok(response));
                    }
                    let (mut head, body) = response.into_parts();
                    if let Some(result) = this.handle.save_at_once(&mut head) {
                        return Poll::Ready(Ok(answer(settings, Response::from_parts(head, body), result)));
                    }
                    let handle = this.handle.clone();
                    let saving = Box::pin(async move {
                        let result = handle.save(&mut head).await;
                        (head, result)
                    });
                    this.state.set(State::Saving { saving, body: Some(body) });
                }
                StateProjection::Saving { saving, body } => {
                    let (head, result) = ready!(saving.as_mut().poll(cx));
                    let response = Response::from_parts(head, body.take().unwrap_or_default());
                    return Poll::Ready(Ok(answer(settings, response, result)));
                }
            }
        }
    }
}

/// The response, if the session was saved.
fn answer<B: Default>(settings: &Settings, mut response: Response<B>, saved: Result<()>) -> Response<B> {
    let Err(error) = saved else { return response };
    let failure = settings.fail(Stage::Save, error);
    if settings.keep_unsaved {
        response.extensions_mut().insert(failure.1);
        return response;
    }
    failed(failure)
}

fn failed<B: Default>((status, failure): (StatusCode, Failure)) -> Response<B> {
    let mut response = Response::new(B::default());
    *response.status_mut() = status;
    response.extensions_mut().insert(failure);
    response
}

impl fmt::Debug for SessionLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionLayer").field("settings", &self.settings).finish()
    }
}

impl<S: fmt::Debug> fmt::Debug for SessionService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionService")
            .field("inner", &self.inner)
            .field("settings", &self.settings)
            .finish()
    }
}

impl<S: Service<Q>, Q, B> fmt::Debug for SessionFuture<S, Q, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionFuture").field("handle", &self.handle).finish_non_exhaustive()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("interface", &self.interface)
            .field("eager", &self.eager)
            .field("save_on_server_error", &self.save_on_server_error)
            .field("keep_unsaved", &self.keep_unsaved)
            .finish_non_exhaustive()
    }
}
