//! The extractors of axum.

use std::marker::PhantomData;
use std::ops::Deref;

use axum_core::extract::FromRequestParts;
use axum_core::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;

use crate::settings::{Failure, Stage};
use crate::{Session, SessionHandle};

const NO_LAYER: &str = "there is no session layer around this handler: add `.layer(SessionLayer::new(..))` to the router \
                        after the routes that use sessions, since a layer serves only what was added before it; a \
                        middleware that uses the session has to be added before the session layer, to lie inside it";

/// Why there is no session for a handler.
#[derive(Clone, Debug)]
pub struct SessionRejection(Reason);

#[derive(Clone, Debug)]
enum Reason {
    NoLayer,
    Failed(StatusCode, Failure),
}

impl SessionRejection {
    /// What went wrong with the storage; `None` when there is no session layer.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match &self.0 {
            Reason::NoLayer => None,
            Reason::Failed(_, failure) => Some(failure),
        }
    }
}

impl std::fmt::Display for SessionRejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Reason::NoLayer => f.write_str(NO_LAYER),
            Reason::Failed(..) => f.write_str("the session could not be opened"),
        }
    }
}

impl std::error::Error for SessionRejection {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.failure().map(|failure| failure.error.as_ref() as _)
    }
}

/// 500 without a session layer, else what the layer makes of the failure: 503 when trying again may help.
impl IntoResponse for SessionRejection {
    fn into_response(self) -> Response {
        let text = self.to_string();
        match self.0 {
            Reason::NoLayer => (StatusCode::INTERNAL_SERVER_ERROR, text).into_response(),
            Reason::Failed(status, failure) => {
                let mut response = (status, text).into_response();
                response.extensions_mut().insert(failure);
                response
            }
        }
    }
}

/// Opens the session; once per request, however many extractors ask.
impl<S: Send + Sync> FromRequestParts<S> for Session {
    type Rejection = SessionRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        open(parts.extensions.get::<SessionHandle>()).await
    }
}

/// The session of the layer that is told apart by `T`: see [`SessionLayer::tagged`](crate::SessionLayer::tagged).
pub struct SessionOf<T> {
    session: Session,
    tag: PhantomData<fn() -> T>,
}

impl<S: Send + Sync, T: 'static> FromRequestParts<S> for SessionOf<T> {
    type Rejection = SessionRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let session = open(SessionHandle::tagged::<T>(&parts.extensions)).await?;
        Ok(Self { session, tag: PhantomData })
    }
}

impl<T> Deref for SessionOf<T> {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl<T> std::fmt::Debug for SessionOf<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.session.fmt(f)
    }
}

async fn open(handle: Option<&SessionHandle>) -> Result<Session, SessionRejection> {
    let Some(handle) = handle else {
        tracing::error!(target: "session", "{NO_LAYER}");
        return Err(SessionRejection(Reason::NoLayer));
    };
    handle.open().await.map_err(|error| {
        let (status, failure) = handle.settings().fail(Stage::Open, error);
        SessionRejection(Reason::Failed(status, failure))
    })
}
