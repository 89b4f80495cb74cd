//! An interface of the user's own: the id in a header, for programs that call an API.
#![allow(clippy::unwrap_used, reason = "clippy does not take the helpers of a test for tests")]

mod common;

use axum::Router;
use axum::routing::get as on_get;
use common::own::{HeaderInterface, TOKEN};
use common::{Answer, Stage, send};
use http::Request;
use session_http::{Session, SessionLayer};

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
