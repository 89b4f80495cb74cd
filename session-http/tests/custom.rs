//! An interface of the user's own: the id in a header, for programs that call an API.
#![allow(clippy::unwrap_used, reason = "clippy does not take the helpers of a test for tests")]

mod common;

use async_trait::async_trait;
use axum::Router;
use axum::routing::get as on_get;
use common::{Answer, Stage, send};
use http::{HeaderName, HeaderValue, Request, header, request, response};
use session_core::{Commit, Error, ErrorKind, Result, SessionId, SessionManager};
use session_http::{RequestHead, Session, SessionInterface, SessionLayer};

static TOKEN: HeaderName = HeaderName::from_static("x-session-token");

#[derive(Debug)]
struct HeaderInterface(SessionManager);

#[async_trait]
impl SessionInterface for HeaderInterface {
    fn capture(&self, head: &request::Parts) -> RequestHead {
        RequestHead::with_headers(head, &[&TOKEN])
    }

    async fn open(&self, request: &RequestHead) -> Result<session_core::Session> {
        let text = request.headers(&TOKEN).next().and_then(|value| value.to_str().ok());
        let id: Option<SessionId> = text.and_then(|text| text.parse().ok());
        self.0.open(id.as_ref()).await
    }

    async fn commit(&self, session: &session_core::Session, _: &RequestHead) -> Result<Commit> {
        self.0.commit(session).await
    }

    fn respond(
        &self,
        session: &session_core::Session,
        _: &RequestHead,
        response: &mut response::Parts,
    ) -> Result<()> {
        let status = session.status();
        let text = match status.id {
            Some(id) if status.id_is_new => id.expose(),
            None if status.ended_here => String::new(),
            _ => return Ok(()),
        };
        let value = HeaderValue::from_str(&text)
            .map_err(|error| Error::new(ErrorKind::Other, "not a header").with_source(error))?;
        response.headers.insert(TOKEN.clone(), value);
        response.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(())
    }

    async fn reload(&self, session: &session_core::Session) -> Result<bool> {
        self.0.reload(session).await
    }
}

async fn count(session: Session) -> String {
    session.update("n", |n: Option<u64>| n.unwrap_or(0) + 1).unwrap().to_string()
}

async fn call(app: &Router, path: &str, token: Option<&str>) -> Answer {
    let mut request = Request::get(path);
    if let Some(token) = token {
        request = request.header(&TOKEN, token);
    }
    send(app, request.body(axum::body::Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_program_gets_its_token_and_comes_back_with_it() {
    let stage = Stage::new();
    let app = Router::new()
        .route("/count", on_get(count))
        .route("/end", on_get(|session: Session| async move { session.destroy() }))
        .layer(SessionLayer::with_interface(HeaderInterface(stage.manager.clone())));
    let first = call(&app, "/count", None).await;
    assert!(first.set_cookie.is_empty() && first.body == "1");
    let token = first.headers[&TOKEN].to_str().unwrap().to_owned();
    assert_eq!(call(&app, "/count", Some(&token)).await.body, "2");
    assert_eq!(call(&app, "/count", Some("forged")).await.body, "1");
    let ended = call(&app, "/end", Some(&token)).await;
    assert_eq!(ended.headers[&TOKEN], "");
    assert_eq!(call(&app, "/count", Some(&token)).await.body, "1");
}
