//! The layer on a real socket, under axum and under plain hyper; and what it writes into logs.
#![allow(clippy::unwrap_used, reason = "clippy does not take the helpers of a test for tests")]

mod common;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::get as on_get;
use common::{Stage, cookie, get};
use http::{Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use session_core::SessionId;
use session_http::{Session, SessionHandle, SessionLayer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceBuilder;

const NAME: &str = "__Host-session";

/// Answers 101 and then counts the messages of the connection in the session.
async fn upgrade(session: Session, mut request: Request) -> Response<Body> {
    session.insert("messages", 0_u64).unwrap();
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut stream = TokioIo::new(upgraded.await.unwrap());
        let mut message = [0_u8; 4];
        while stream.read_exact(&mut message).await.is_ok() {
            session.update("messages", |n: Option<u64>| n.unwrap_or(0) + 1).unwrap();
            let reply =
                if session.save().await.is_ok() && session.key().is_some() { b"kept" } else { b"gone" };
            stream.write_all(reply).await.unwrap();
        }
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "echo")
        .body(Body::empty())
        .unwrap()
}

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn a_websocket_upgrade_sets_the_cookie_and_its_connection_saves_by_hand() {
    let stage = Stage::new();
    let app = Router::new()
        .route("/ws", on_get(upgrade))
        .route(
            "/messages",
            on_get(|s: Session| async move { format!("{:?}", s.get::<u64>("messages").unwrap()) }),
        )
        .layer(SessionLayer::new(stage.manager.clone()));
    let mut stream = TcpStream::connect(serve(app.clone()).await).await.unwrap();
    stream
        .write_all(b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        .await
        .unwrap();
    let head = head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let cookie = head.split_once("set-cookie: ").unwrap().1.split(';').next().unwrap();

    let mut reply = [0_u8; 4];
    for messages in 1..=2 {
        stream.write_all(b"ping").await.unwrap();
        stream.read_exact(&mut reply).await.unwrap();
        assert_eq!(&reply, b"kept");
        assert_eq!(get(&app, "/messages", Some(cookie)).await.body, format!("Some({messages})"));
    }

    // Signed out elsewhere: the open connection notices at its next save, and revives nothing.
    let id: SessionId = cookie.split_once('=').unwrap().1.parse().unwrap();
    assert!(stage.manager.revoke(id.key()).await.unwrap());
    stream.write_all(b"ping").await.unwrap();
    stream.read_exact(&mut reply).await.unwrap();
    assert_eq!(&reply, b"gone");
    assert_eq!(stage.store.live().await, 0);
}

#[tokio::test]
async fn plain_hyper_serves_it_without_a_framework() {
    async fn handle(
        request: http::Request<hyper::body::Incoming>,
    ) -> Result<Response<http_body_util::Full<axum::body::Bytes>>, session_core::Error> {
        let session = request.extensions().get::<SessionHandle>().unwrap().open().await?;
        let visits: u64 = session.update("visits", |n: Option<u64>| n.unwrap_or(0) + 1)?;
        Ok(Response::new(visits.to_string().into()))
    }
    let stage = Stage::new();
    let service = ServiceBuilder::new()
        .layer(SessionLayer::new(stage.manager.clone()))
        .service(tower::service_fn(handle));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper_util::service::TowerToHyperService::new(service.clone());
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });

    let mut cookie = String::new();
    for visit in 1..=3 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: {cookie}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with(&format!("\r\n\r\n{visit}")), "{answer}");
        match answer.split_once("set-cookie: ") {
            Some((_, rest)) if visit == 1 => cookie = rest.split(';').next().unwrap().to_owned(),
            sent => assert!(visit > 1 && sent.is_none(), "{answer}"),
        }
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_log_line_span_or_debug_text_holds_an_id() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // For the whole process: what other tests run beside this one decides which places log as well.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    tracing::callsite::rebuild_interest_cache();

    let stage = Stage::new();
    let app = Router::new()
        .route("/write", on_get(|s: Session| async move { s.insert("n", 1).unwrap() }))
        .route("/rotate", on_get(|s: Session| async move { s.rotate_id() }))
        .route(
            "/debug",
            on_get(|request: Request| async move {
                let handle = request.extensions().get::<SessionHandle>().unwrap();
                let session = handle.open().await.unwrap();
                format!("{handle:?} {session:?} {:?}", session.id())
            }),
        )
        .layer(SessionLayer::new(stage.manager.clone()));
    let first = cookie(NAME, &get(&app, "/write", None).await);
    let second = cookie(NAME, &get(&app, "/rotate", Some(&first)).await);
    let debug = get(&app, "/debug", Some(&second)).await.body;
    get(&app, "/debug", Some(&first)).await;
    stage.store.fail(true);
    get(&app, "/write", Some(&second)).await;

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for wanted in
        ["session.open", "session.save", "session created", "session id changed", "session not opened"]
    {
        assert!(log.contains(wanted), "{wanted:?} is not in the log: {log}");
    }
    for secret in [&first, &second] {
        let (_, secret) = secret.split_once('=').unwrap();
        assert!(!log.contains(secret), "an id is in the log: {log}");
        assert!(!debug.contains(secret), "an id is in a debug text: {debug}");
    }
    assert!(debug.contains("SessionId(..)"), "{debug}");
}
