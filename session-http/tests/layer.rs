//! What the layer promises beside the cookie: lazy, saved first, honest, and quiet in logs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy does not take the helpers of a test for tests"
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, Response, StatusCode};
use axum::routing::get as on_get;
use common::{Stage, cookie, get};
use session_core::SessionManager;
use session_http::{Failure, Session, SessionHandle, SessionLayer, SessionRejection, Stage as At};
use tower::{ServiceBuilder, ServiceExt as _, service_fn};

const NAME: &str = "__Host-session";

async fn write(session: Session) {
    session.update("n", |n: Option<u64>| n.unwrap_or(0) + 1).unwrap();
}

async fn read(session: Session) -> String {
    session.get::<u64>("n").unwrap().unwrap_or(0).to_string()
}

fn routes() -> Router {
    Router::new().route("/write", on_get(write)).route("/read", on_get(read))
}

fn app(manager: &SessionManager) -> Router {
    routes().layer(SessionLayer::new(manager.clone()))
}

#[tokio::test]
async fn a_store_that_fails_is_503_and_never_an_empty_session() {
    let stage = Stage::new();
    let app = app(&stage.manager);
    let cookie = cookie(NAME, &get(&app, "/write", None).await);
    stage.store.fail(true);
    for path in ["/read", "/write"] {
        let answer = get(&app, path, Some(&cookie)).await;
        assert_eq!(answer.status, 503, "{path}");
        assert!(answer.set_cookie.is_empty());
        assert_eq!(answer.extensions.get::<Failure>().unwrap().stage, At::Open);
        assert!(!answer.body.contains("switched off"), "the answer tells the client about the storage");
    }
    stage.store.fail(false);
    assert_eq!(get(&app, "/read", Some(&cookie)).await.body, "1", "the session was overwritten");
}

#[tokio::test]
async fn what_could_not_be_saved_is_never_answered_with_ok() {
    let stage = Stage::new();
    let app = app(&stage.manager);
    stage.store.fail_writes(true);
    let answer = get(&app, "/write", None).await;
    assert_eq!((answer.status, answer.body.as_str()), (503, ""));
    assert!(answer.set_cookie.is_empty());
    assert_eq!(answer.extensions.get::<Failure>().unwrap().stage, At::Save);
    assert_eq!(get(&app, "/read", None).await.status, 200, "nothing was to be saved");
}

#[tokio::test]
async fn the_policy_for_failures_can_be_changed() {
    let stage = Stage::new();
    stage.store.fail_writes(true);
    let layer = SessionLayer::new(stage.manager.clone());
    let keeps = routes().layer(layer.clone().with_keep_unsaved(true));
    let answer = get(&keeps, "/write", None).await;
    assert_eq!(answer.status, 200);
    assert!(answer.extensions.get::<Failure>().is_some());
    assert!(answer.set_cookie.is_empty(), "a cookie for a session that is not stored");
    let other = routes().layer(layer.with_failure_status(|_| StatusCode::BAD_GATEWAY));
    assert_eq!(get(&other, "/write", None).await.status, 502);
}

#[tokio::test]
async fn a_handler_may_do_without_its_session() {
    async fn lenient(session: Result<Session, SessionRejection>) -> String {
        session.map_or_else(|_| "no session".to_owned(), |_| "session".to_owned())
    }
    let stage = Stage::new();
    let app = routes().route("/lenient", on_get(lenient)).layer(SessionLayer::new(stage.manager.clone()));
    let cookie = cookie(NAME, &get(&app, "/write", None).await);
    stage.store.fail(true);
    let answer = get(&app, "/lenient", Some(&cookie)).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "no session"));
}

#[tokio::test]
async fn the_session_is_saved_before_the_head_of_a_streaming_body_leaves() {
    let stage = Stage::new();
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let receiver = Arc::new(std::sync::Mutex::new(Some(receiver)));
    let app = routes()
        .route(
            "/stream",
            on_get(move |s: Session| async move {
                write(s).await;
                let receiver = receiver.lock().unwrap().take().unwrap();
                Body::new(http_body_util::StreamBody::new(Chunks(receiver)))
            }),
        )
        .layer(SessionLayer::new(stage.manager.clone()));
    let request = Request::get("/stream").body(Body::empty()).unwrap();
    let response: Response<Body> = app.clone().oneshot(request).await.unwrap();
    assert!(response.headers().contains_key("set-cookie"));
    assert_eq!(stage.store.live().await, 1, "the head left first");
    sender.send(Bytes::from_static(b"late")).await.unwrap();
    drop(sender);
    let body = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
    assert_eq!(&body[..], b"late");
}

struct Chunks(tokio::sync::mpsc::Receiver<Bytes>);

impl futures_core::Stream for Chunks {
    type Item = Result<http_body::Frame<Bytes>, std::io::Error>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|chunk| chunk.map(|chunk| Ok(http_body::Frame::data(chunk))))
    }
}

#[tokio::test]
async fn a_handler_that_panics_or_is_dropped_saves_nothing_and_the_next_request_works() {
    let stage = Stage::new();
    let reached = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&reached);
    let app = routes()
        .route(
            "/panic",
            on_get(|s: Session| async move {
                write(s).await;
                if true {
                    panic!("the handler's own fault");
                }
            }),
        )
        .route(
            "/hang",
            on_get(move |s: Session| async move {
                write(s).await;
                seen.store(true, Ordering::SeqCst);
                std::future::pending::<()>().await;
            }),
        )
        .layer(SessionLayer::new(stage.manager.clone()));
    let cookie = cookie(NAME, &get(&app, "/write", None).await);
    let (app2, cookie2) = (app.clone(), cookie.clone());
    assert!(
        tokio::spawn(async move { get(&app2, "/panic", Some(&cookie2)).await }).await.unwrap_err().is_panic()
    );
    let (app2, cookie2) = (app.clone(), cookie.clone());
    let client = tokio::spawn(async move { get(&app2, "/hang", Some(&cookie2)).await });
    while !reached.load(Ordering::SeqCst) {
        tokio::task::yield_now().await;
    }
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    assert_eq!(get(&app, "/read", Some(&cookie)).await.body, "1");
    get(&app, "/write", Some(&cookie)).await;
    assert_eq!(get(&app, "/read", Some(&cookie)).await.body, "2");
}

#[tokio::test]
async fn concurrent_requests_of_one_session_are_all_counted() {
    let stage = Stage::new();
    let app = app(&stage.manager);
    let cookie = cookie(NAME, &get(&app, "/write", None).await);
    let requests: Vec<_> = (0..64)
        .map(|_| {
            let (app, cookie) = (app.clone(), cookie.clone());
            tokio::spawn(async move { get(&app, "/write", Some(&cookie)).await.status })
        })
        .collect();
    for request in requests {
        assert_eq!(request.await.unwrap(), 200);
    }
    assert_eq!(get(&app, "/read", Some(&cookie)).await.body, "65");
}

#[tokio::test]
async fn several_extractors_of_one_request_share_one_session_and_one_load() {
    let stage = Stage::new();
    let app = Router::new()
        .route("/begin", on_get(write))
        .route(
            "/two",
            on_get(|one: Session, two: Session| async move {
                one.insert("a", 1).unwrap();
                two.get::<u64>("a").unwrap().map(|a| a.to_string()).unwrap_or_default()
            }),
        )
        .layer(SessionLayer::new(stage.manager.clone()));
    let cookie = cookie(NAME, &get(&app, "/begin", None).await);
    let before = stage.store.calls();
    assert_eq!(get(&app, "/two", Some(&cookie)).await.body, "1");
    assert_eq!(stage.store.calls() - before, 2, "one load and one save");
}

#[tokio::test]
async fn reload_brings_what_other_requests_stored() {
    let stage = Stage::new();
    let app = app(&stage.manager);
    let cookie = cookie(NAME, &get(&app, "/write", None).await);
    let manager = stage.manager.clone();
    let waiting = routes()
        .route(
            "/wait",
            on_get(move |s: Session| async move {
                s.insert("mine", "x").unwrap();
                let other = manager.open(s.id().as_ref()).await.unwrap();
                other.insert("n", 7_u64).unwrap();
                manager.commit(&other).await.unwrap().into_result().unwrap();
                let before = s.get::<u64>("n").unwrap();
                assert!(s.reload().await.unwrap());
                format!("{before:?} {:?} {:?}", s.get::<u64>("n").unwrap(), s.get::<String>("mine").unwrap())
            }),
        )
        .layer(SessionLayer::new(stage.manager.clone()));
    assert_eq!(get(&waiting, "/wait", Some(&cookie)).await.body, r#"Some(1) Some(7) Some("x")"#);
}

#[tokio::test]
async fn a_missing_layer_is_explained() {
    // The mistake: the layer serves only the routes that were added before it.
    let stage = Stage::new();
    let app = Router::new().layer(SessionLayer::new(stage.manager.clone())).route("/read", on_get(read));
    let answer = get(&app, "/read", None).await;
    assert_eq!(answer.status, 500);
    assert!(answer.body.contains("after the routes that use sessions"), "{}", answer.body);
}

#[tokio::test]
async fn a_middleware_outside_the_layer_is_told_so() {
    let stage = Stage::new();
    let counts = axum::middleware::from_fn(
        async |session: Session, request: axum::extract::Request, next: axum::middleware::Next| {
            write(session).await;
            next.run(request).await
        },
    );
    let outside = routes().layer(SessionLayer::new(stage.manager.clone())).layer(counts.clone());
    let answer = get(&outside, "/read", None).await;
    assert_eq!(answer.status, 500);
    assert!(answer.body.contains("middleware"), "{}", answer.body);
    let inside = routes().layer(counts).layer(SessionLayer::new(stage.manager.clone()));
    assert_eq!(get(&inside, "/read", None).await.body, "1");
}

#[tokio::test]
async fn the_layer_serves_plain_tower_services() {
    let stage = Stage::new();
    let service = ServiceBuilder::new().layer(SessionLayer::new(stage.manager.clone())).service(service_fn(
        async |request: Request<()>| {
            let session = request.extensions().get::<SessionHandle>().unwrap().open().await?;
            let visits = session.update("n", |n: Option<u64>| n.unwrap_or(0) + 1)?;
            Ok::<_, session_core::Error>(Response::new(visits.to_string()))
        },
    ));
    let response = service.clone().oneshot(Request::new(())).await.unwrap();
    let line = response.headers()["set-cookie"].to_str().unwrap();
    let pair = line.split(';').next().unwrap();
    let request = Request::get("/").header("cookie", pair).body(()).unwrap();
    assert_eq!(service.oneshot(request).await.unwrap().into_body().into_inner().unwrap(), "2");
}

#[tokio::test]
async fn an_error_of_the_service_below_passes_through_and_saves_nothing() {
    let stage = Stage::new();
    let service = ServiceBuilder::new().layer(SessionLayer::new(stage.manager.clone())).service(service_fn(
        async |request: Request<()>| {
            let session = request.extensions().get::<SessionHandle>().unwrap().open().await.unwrap();
            session.insert("n", 1).unwrap();
            Err::<Response<String>, _>(std::io::Error::other("broken"))
        },
    ));
    assert_eq!(service.oneshot(Request::new(())).await.unwrap_err().to_string(), "broken");
    assert_eq!(stage.store.live().await, 0);
}
