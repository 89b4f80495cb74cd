//! What a request does to its session after the head of its response has left.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy does not take the helpers of a test for tests"
)]

mod common;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Method, StatusCode};
use axum::routing::any;
use common::browser::{ALL, Browser, Gate, STORED, Told, Way, acts, outcome};
use common::{Answer, Stage};
use http_body::Frame;
use session_core::Owner;
use session_http::{Session, SessionHandle};
use tokio::sync::mpsc;

#[derive(Clone, Copy)]
enum Late {
    Write,
    Rotate,
    SignIn,
    SignOut,
}

/// Where the task, or the body, reports.
#[derive(Clone)]
struct Report(Arc<Mutex<mpsc::UnboundedReceiver<String>>>, mpsc::UnboundedSender<String>);

impl Report {
    fn new() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self(Arc::new(Mutex::new(receiver)), sender)
    }

    async fn next(&self) -> String {
        let waiting = async {
            loop {
                if let Ok(text) = self.0.lock().unwrap().try_recv() {
                    return text;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), waiting).await.unwrap()
    }
}

async fn act(session: &Session, late: Late) -> String {
    match late {
        Late::Write => session.insert("k", "late").unwrap(),
        Late::Rotate => session.rotate_id(),
        Late::SignIn => session.sign_in("ada".parse::<Owner>().unwrap()),
        Late::SignOut => session.sign_out(),
    }
    outcome(session.save().await)
}

/// A stream of one chunk, whose bytes say what became of an act.
fn streaming(gate: Gate, session: Session, late: Late) -> Body {
    struct Acts<F>(Option<std::pin::Pin<Box<F>>>);

    impl<F: Future<Output = String>> futures_core::Stream for Acts<F> {
        type Item = Result<Frame<Bytes>, std::io::Error>;

        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Self::Item>> {
            let Some(acts) = &mut self.0 else { return std::task::Poll::Ready(None) };
            let text = std::task::ready!(acts.as_mut().poll(cx));
            self.0 = None;
            std::task::Poll::Ready(Some(Ok(Frame::data(Bytes::from(text)))))
        }
    }

    Body::new(http_body_util::StreamBody::new(Acts(Some(Box::pin(async move {
        gate.hold().await;
        act(&session, late).await
    })))))
}

/// `/task` spawns a task that acts once it is let go, `/stream` answers with a body that does, `/opens` spawns one that
/// opens the session only then.
fn app(way: Way, stage: &Stage, late: Late) -> (Browser, Gate, Report) {
    let (acts, _) = acts();
    let (gate, report) = (Gate::new(), Report::new());
    let (task_gate, task_report) = (gate.clone(), report.clone());
    let (open_gate, open_report) = (gate.clone(), report.clone());
    let stream_gate = gate.clone();
    let app = Router::new()
        .route(
            "/task",
            any(move |session: Session| async move {
                tokio::spawn(async move {
                    task_gate.hold().await;
                    let _ = task_report.1.send(act(&session, late).await);
                });
            }),
        )
        .route(
            "/opens",
            any(move |request: axum::extract::Request| async move {
                let handle = request.extensions().get::<SessionHandle>().unwrap().clone();
                tokio::spawn(async move {
                    open_gate.hold().await;
                    let _ = open_report.1.send(act(&handle.open().await.unwrap(), late).await);
                });
            }),
        )
        .route("/stream", any(move |session: Session| async move { streaming(stream_gate, session, late) }))
        .fallback_service(acts)
        .layer(way.layer(stage));
    (Browser::new(app, way), gate, report)
}

/// Sends a request whose handler acts late; how that went, and the answer.
async fn run(browser: &Browser, gate: &Gate, report: &Report, path: &'static str) -> (String, Answer) {
    if path == "/stream" {
        // The head has left when the body is first polled.
        gate.release(1);
        let answer = browser.send(Method::POST, path).await;
        return (answer.body.clone(), answer);
    }
    let answer = browser.send(Method::POST, path).await;
    gate.release(1);
    (report.next().await, answer)
}

const PATHS: [&str; 3] = ["/task", "/opens", "/stream"];

/// B6.
#[tokio::test]
async fn after_the_head_has_left_no_id_can_change_and_no_session_begin() {
    for &way in ALL {
        for path in PATHS {
            for late in [Late::Rotate, Late::SignIn] {
                let stage = Stage::new();
                let (mut browser, gate, report) = app(way, &stage, late);
                browser.post("/write").await;
                let (became, answer) = run(&browser, &gate, &report, path).await;
                assert_eq!(
                    (became.as_str(), browser.told(&answer)),
                    ("TooLate", Told::Nothing),
                    "{way:?} {path}"
                );
                assert_eq!(browser.get("/read/owner").await.body, "v nobody", "{way:?} {path}: signed out");
            }
            for late in [Late::Write, Late::SignIn] {
                let stage = Stage::new();
                let (browser, gate, report) = app(way, &stage, late);
                let (became, _) = run(&browser, &gate, &report, path).await;
                assert_eq!(became, "TooLate", "{way:?} {path}");
                assert_eq!(stage.store.live().await, 0, "{way:?} {path}: a session that nobody can open");
            }
        }
    }
}

/// B6.
#[tokio::test]
async fn after_the_head_has_left_data_is_saved_and_a_sign_out_ends_the_session() {
    for way in STORED {
        for path in PATHS {
            let stage = Stage::new();
            let (mut browser, gate, report) = app(way, &stage, Late::Write);
            browser.post("/write").await;
            assert_eq!(run(&browser, &gate, &report, path).await.0, "saved", "{way:?} {path}");
            assert_eq!(browser.get("/read").await.body, "late", "{way:?} {path}");

            let (mut browser, gate, report) = app(way, &stage, Late::SignOut);
            browser.post("/write").await;
            let live = stage.store.live().await;
            assert_eq!(run(&browser, &gate, &report, path).await.0, "saved", "{way:?} {path}");
            assert_eq!(stage.store.live().await, live - 1, "{way:?} {path}");
            assert_eq!(browser.get("/read").await.body, "-", "{way:?} {path}");
        }
    }
}

/// B6: the cookie is the session, and it has left.
#[cfg(feature = "client")]
#[tokio::test]
async fn a_client_side_session_cannot_be_saved_after_the_head_has_left() {
    for path in PATHS {
        for late in [Late::Write, Late::SignOut] {
            let stage = Stage::new();
            let (mut browser, gate, report) = app(Way::Client, &stage, late);
            browser.post("/write").await;
            let (became, answer) = run(&browser, &gate, &report, path).await;
            assert_eq!((became.as_str(), browser.told(&answer)), ("TooLate", Told::Nothing), "{path}");
            assert_eq!(browser.get("/read").await.body, "v", "{path}");
        }
    }
}

/// A task that is told by a failed save what it may not do can still do the rest.
#[tokio::test]
async fn a_handle_that_was_too_late_still_signs_out() {
    let stage = Stage::new();
    let report = Report::new();
    let (gate, sender) = (Gate::new(), report.1.clone());
    let task_gate = gate.clone();
    let (acts, _) = acts();
    let app = Router::new()
        .route(
            "/task",
            any(move |session: Session| async move {
                tokio::spawn(async move {
                    task_gate.hold().await;
                    let _ = sender.send(act(&session, Late::Rotate).await);
                    let _ = sender.send(act(&session, Late::SignOut).await);
                });
            }),
        )
        .fallback_service(acts)
        .layer(Way::Store.layer(&stage));
    let mut browser = Browser::new(app, Way::Store);
    browser.post("/write").await;
    browser.send(Method::POST, "/task").await;
    gate.release(1);
    assert_eq!((report.next().await.as_str(), report.next().await.as_str()), ("TooLate", "saved"));
    assert_eq!(stage.store.live().await, 0);
}

/// A save that began in time and ends late: the response waits for it, and tells the client, also when it does not save
/// itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_waits_for_a_change_of_id_that_is_being_saved() {
    for status in [StatusCode::OK, StatusCode::INTERNAL_SERVER_ERROR] {
        let stage = Stage::new();
        let store = stage.store.clone();
        let (acts, _) = acts();
        let app = Router::new()
            .route(
                "/task",
                any(move |session: Session| async move {
                    session.rotate_id();
                    let saving = store.slow_writes();
                    tokio::spawn(async move { session.save().await.unwrap() });
                    saving.await;
                    status
                }),
            )
            .fallback_service(acts)
            .layer(Way::Store.layer(&stage));
        let mut browser = Browser::new(app, Way::Store);
        browser.post("/write").await;
        let answer = browser.post("/task").await;
        assert!(
            matches!(browser.told(&answer), Told::Set(_)),
            "{status}: the id changed and nobody was told"
        );
        assert_eq!(browser.get("/read").await.body, "v", "{status}");
    }
}
