//! The service that the layer makes, and its future.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response, StatusCode};
use pin_project_lite::pin_project;
use session_core::{Commit, Error, ErrorKind, Result};
use tower_service::Service;

use crate::headers::forbid_storing;
use crate::settings::{Failure, Settings, Stage};
use crate::{SessionBody, SessionHandle};

/// The service that [`SessionLayer`](crate::SessionLayer) makes.
#[derive(Clone)]
pub struct SessionService<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S> SessionService<S> {
    pub(crate) fn new(inner: S, settings: Arc<Settings>) -> Self {
        Self { inner, settings }
    }
}

impl<S, RequestBody, ResponseBody> Service<Request<RequestBody>> for SessionService<S>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>> + Clone,
{
    type Response = Response<SessionBody<ResponseBody>>;
    type Error = S::Error;
    type Future = SessionFuture<S, Request<RequestBody>, ResponseBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        let handle = SessionHandle::new(&self.settings, &head);
        (self.settings.attach)(&mut head.extensions, handle.clone());
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
type Committing = Pin<Box<dyn Future<Output = Result<Option<Commit>>> + Send>>;

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
        Committing { committing: Committing, response: Option<Response<B>> },
    }
}

impl<S, Q, B> Future for SessionFuture<S, Q, B>
where
    S: Service<Q, Response = Response<B>>,
{
    type Output = Result<Response<SessionBody<B>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let handle = &*this.handle;
        loop {
            match this.state.as_mut().project() {
                StateProjection::Opening { opening, next } => {
                    match (ready!(opening.as_mut().poll(cx)), next.take()) {
                        (Ok(()), Some((mut service, request))) => {
                            let handling = service.call(request);
                            this.state.set(State::Handling { handling });
                        }
                        (Err(error), _) => {
                            let failure = handle.settings().fail(Stage::Open, error);
                            return Poll::Ready(Ok(failed(handle, failure)));
                        }
                        (Ok(()), None) => return Poll::Pending,
                    }
                }
                StateProjection::Handling { handling } => {
                    let response = ready!(handle.while_polled(|| handling.poll(cx)))?;
                    let panicked = handle.panicked();
                    let saves = !panicked && handle.settings().saves(&response);
                    let claims = panicked && is_success(response.status()) && handle.has_unsaved_changes();
                    if let Some(commit) = handle.try_finish(saves) {
                        let commit = if claims { Err(cut_off()) } else { Ok(commit) };
                        return Poll::Ready(Ok(answer(handle, response, commit)));
                    }
                    let handle = handle.clone();
                    let committing = Box::pin(async move {
                        let commit = handle.finish(saves).await;
                        if claims { Err(cut_off()) } else { commit }
                    });
                    this.state.set(State::Committing { committing, response: Some(response) });
                }
                StateProjection::Committing { committing, response } => {
                    let commit = ready!(committing.as_mut().poll(cx));
                    let Some(response) = response.take() else { return Poll::Pending };
                    return Poll::Ready(Ok(answer(handle, response, commit)));
                }
            }
        }
    }
}

fn is_success(status: StatusCode) -> bool {
    !(status.is_client_error() || status.is_server_error())
}

/// A panic was caught inside this layer and made a success of, which would claim what is not saved.
fn cut_off() -> Error {
    Error::new(
        ErrorKind::Other,
        "the handler, or a part of it, panicked with the session in its hands: its changes are not saved, and an answer \
         that is no error would claim them",
    )
}

/// The response, if the session was saved, with what the client has to know. That follows from what is stored, so it goes
/// into every answer: a handler may have changed the id before it failed.
fn answer<B>(
    handle: &SessionHandle,
    response: Response<B>,
    commit: Result<Option<Commit>>,
) -> Response<SessionBody<B>> {
    let settings = handle.settings();
    let mut response = response.map(SessionBody::of);
    match commit.and_then(|commit| settings.check(commit, handle.is_safe())) {
        Ok(()) => {}
        Err(error) if settings.keep_unsaved => {
            let (_, failure) = settings.fail(Stage::Save, error);
            response.extensions_mut().insert(failure);
        }
        Err(error) => return failed(handle, settings.fail(Stage::Save, error)),
    }
    let (mut head, body) = response.into_parts();
    let told = handle.respond(&mut head);
    let response = Response::from_parts(head, body);
    match told {
        Ok(()) => response,
        Err(error) => {
            let (status, failure) = settings.fail(Stage::Save, error);
            let mut response = if settings.keep_unsaved { response } else { own(status) };
            response.extensions_mut().insert(failure);
            response
        }
    }
}

/// An answer of the layer's own, with what the client has to know all the same.
fn failed<B>(handle: &SessionHandle, (status, failure): (StatusCode, Failure)) -> Response<SessionBody<B>> {
    let (mut head, body) = own(status).into_parts();
    head.extensions.insert(failure);
    if let Err(error) = handle.respond(&mut head) {
        let error: &dyn std::error::Error = &error;
        tracing::error!(target: "session", error, "the client was not told of its session");
    }
    Response::from_parts(head, body)
}

/// Without a body; nobody may store it.
fn own<B>(status: StatusCode) -> Response<SessionBody<B>> {
    let mut response = Response::new(SessionBody::empty());
    *response.status_mut() = status;
    forbid_storing(response.headers_mut());
    response
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
