//! Handlers that do not run to their end save nothing, in whichever order the layers lie.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy does not take the helpers of a test for tests"
)]

mod common;

use std::any::Any;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use axum::routing::any;
use common::browser::{ALL, Browser, Told, Way, acts, app, app_with};
use common::{Stage, get};
use session_http::{Failure, Session, SessionLayer, Stage as At};
use tower::{ServiceBuilder, ServiceExt as _};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;

const SHORT: Duration = Duration::from_millis(20);

/// The session holds `k = v`, and is nobody's, when a request is done that had signed in and was cut off.
async fn is_as_before(browser: &mut Browser, answer: &common::Answer, what: &str) {
    let way = browser.way;
    assert_eq!(
        browser.told(answer),
        Told::Nothing,
        "{way:?} {what}: signed in by a handler that was cut off"
    );
    assert_eq!(browser.get("/read/owner").await.body, "v nobody", "{way:?} {what}");
}

/// B4.
#[tokio::test]
async fn a_handler_that_a_timeout_cuts_off_saves_nothing_in_both_orders() {
    for &way in ALL {
        for status in [StatusCode::REQUEST_TIMEOUT, StatusCode::GATEWAY_TIMEOUT] {
            for inside in [true, false] {
                let stage = Stage::new();
                let (routes, _) = acts();
                let timeout = TimeoutLayer::with_status_code(status, SHORT);
                let app = if inside {
                    routes.layer(timeout).layer(way.layer(&stage))
                } else {
                    routes.layer(way.layer(&stage)).layer(timeout)
                };
                let mut browser = Browser::new(app, way);
                browser.post("/write").await;
                let answer = browser.post("/sign-in=ada/write=late/pending").await;
                assert_eq!(answer.status, status);
                is_as_before(&mut browser, &answer, &format!("{status}, inside: {inside}")).await;
            }
        }
    }
}

/// What an application makes of a panic.
fn page(status: StatusCode) -> impl Fn(Box<dyn Any + Send>) -> Response<Body> + Clone {
    move |_| {
        let mut page = Response::new(Body::from("sorry"));
        *page.status_mut() = status;
        page
    }
}

/// B4.
#[tokio::test]
async fn a_handler_that_panics_saves_nothing_in_both_orders_and_whatever_is_made_of_it() {
    for &way in ALL {
        for inside in [true, false] {
            // Inside the layer a success would claim what is not saved.
            for (made, wanted) in [
                (StatusCode::INTERNAL_SERVER_ERROR, 500),
                (StatusCode::BAD_REQUEST, 400),
                (StatusCode::OK, if inside { 500 } else { 200 }),
            ] {
                let stage = Stage::new();
                let (routes, _) = acts();
                let catch = CatchPanicLayer::custom(page(made));
                let app = if inside {
                    routes.layer(catch).layer(way.layer(&stage).with_save_on_server_error(true))
                } else {
                    routes.layer(way.layer(&stage).with_save_on_server_error(true)).layer(catch)
                };
                let mut browser = Browser::new(app, way);
                browser.post("/write").await;
                let answer = browser.post("/sign-in=ada/write=late/panic").await;
                assert_eq!(answer.status, wanted, "{way:?} {made}, inside: {inside}");
                is_as_before(&mut browser, &answer, &format!("{made}, inside: {inside}")).await;
                let read = browser.get("/read/panic").await;
                assert_eq!(
                    read.status,
                    made.as_u16(),
                    "{way:?}: nothing was dropped, so nothing was claimed"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_task_that_panics_with_the_session_does_not_cut_its_handler_off() {
    async fn spawns(session: Session) -> &'static str {
        let clone = session.clone();
        let task = tokio::spawn(async move {
            clone.insert("task", true).unwrap();
            panic!("the task's own fault");
        });
        assert!(task.await.unwrap_err().is_panic());
        session.insert("k", "handler").unwrap();
        "done"
    }
    for &way in ALL {
        let stage = Stage::new();
        let (acts, _) = acts();
        let app = Router::new().route("/spawns", any(spawns)).fallback_service(acts).layer(way.layer(&stage));
        let mut browser = Browser::new(app, way);
        assert_eq!(browser.post("/spawns").await.status, 200, "{way:?}");
        assert_eq!(browser.get("/read").await.body, "handler", "{way:?}: dropped, and answered with 200");
    }
}

#[tokio::test]
async fn a_part_of_a_handler_that_panics_and_is_caught_is_no_success_of_the_session() {
    async fn catches(session: Session) -> &'static str {
        session.insert("k", "handler").unwrap();
        let clone = session;
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            clone.insert("part", true).unwrap();
            panic!("the part's own fault");
        }));
        assert!(caught.is_err());
        "done"
    }
    for keeps in [false, true] {
        let stage = Stage::new();
        let layer = SessionLayer::new(stage.manager.clone()).with_keep_unsaved(keeps);
        let app = Router::new().route("/", any(catches)).layer(layer);
        let answer = get(&app, "/", None).await;
        assert_eq!((answer.status, answer.set_cookie.len()), (if keeps { 200 } else { 500 }, 0));
        let failure = answer.extensions.get::<Failure>().unwrap();
        assert!(failure.stage == At::Save && failure.error.to_string().contains("panicked"), "{failure:?}");
        assert_eq!(stage.store.live().await, 0);
    }
}

#[tokio::test]
async fn server_errors_and_timeouts_save_nothing_unless_told_otherwise() {
    for &way in ALL {
        for status in ["status=408", "status=500", "status=503", "status=599"] {
            for saves in [false, true] {
                let stage = Stage::new();
                let (mut browser, _) = app_with(way, &stage, |layer| layer.with_save_on_server_error(saves));
                browser.post("/write").await;
                browser.post(&format!("/write=late/{status}")).await;
                let wanted = if saves { "late" } else { "v" };
                assert_eq!(browser.get("/read").await.body, wanted, "{way:?} {status} {saves}");
            }
        }
        for status in ["status=200", "status=303", "status=400", "status=404", "status=422"] {
            let stage = Stage::new();
            let (mut browser, _) = app(way, &stage);
            browser.post(&format!("/write/{status}")).await;
            assert_eq!(browser.get("/read").await.body, "v", "{way:?} {status}");
        }
    }
}

#[tokio::test]
async fn an_error_of_the_session_that_a_handler_returns_saves_nothing() {
    let stage = Stage::new();
    let limited =
        session_core::Policy::default().with_session_limit(Some(session_core::SessionLimit::Refuse(1)));
    let limited = Stage::with_policy(limited);
    let (mut first, _) = app(Way::Store, &limited);
    first.post("/sign-in=ada").await;
    let (mut second, _) = app(Way::Store, &limited);
    let answer = second.post("/sign-in=ada/save").await;
    assert_eq!((answer.status, second.told(&answer), limited.store.live().await), (409, Told::Nothing, 1));

    let (mut browser, gate) = app(Way::Store, &stage);
    browser.post("/write").await;
    let slow = browser.start(Method::GET, "/hold/write=late/save/sign-in=ada");
    gate.reached(1).await;
    browser.post("/rotate").await;
    gate.release(1);
    let answer = slow.await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (409, ""));
    assert_eq!(answer.extensions.get::<Failure>().unwrap().stage, At::Handler);

    stage.store.fail_writes(true);
    let answer = browser.post("/write=late/save").await;
    assert_eq!((answer.status, answer.body.as_str()), (503, ""), "the answer tells of the storage");
    stage.store.fail_writes(false);
    browser.post("/count").await;
    let answer = browser.post("/write=early/flash/consume/counted/read/sign-in=").await;
    assert_eq!(answer.status, 500, "what is no owner is the handler's own fault");
    assert_eq!(browser.get("/read").await.body, "-", "only what `consume` had saved");
}

#[tokio::test]
async fn an_error_of_one_session_does_not_save_another_around_the_same_handler() {
    struct Staff;
    async fn both(
        visitor: Session,
        staff: session_http::SessionOf<Staff>,
    ) -> Result<(), session_http::SessionError> {
        visitor.insert("k", "late")?;
        staff.sign_in("ada".parse()?);
        staff.save().await?;
        Ok(())
    }
    let limit =
        session_core::Policy::default().with_session_limit(Some(session_core::SessionLimit::Refuse(1)));
    let (visitors, staff) = (Stage::new(), Stage::with_policy(limit));
    let config = session_http::CookieConfig::default().with_name("__Host-staff");
    let app = Router::new()
        .route("/", any(both))
        .layer(SessionLayer::new(visitors.manager.clone()))
        .layer(SessionLayer::with_cookie(staff.manager.clone(), &config).unwrap().tagged::<Staff>());
    assert_eq!((get(&app, "/", None).await.status, visitors.store.live().await), (200, 1));
    assert_eq!(get(&app, "/", None).await.status, 409);
    assert_eq!(visitors.store.live().await, 1, "a handler that gave up saved its visitor");
}

/// B12.
#[tokio::test]
async fn the_layer_and_a_trace_layer_fit_in_both_orders() {
    let stage = Stage::new();
    let handle = || {
        tower::service_fn(async |request: Request<Body>| {
            let handle = request.extensions().get::<session_http::SessionHandle>().unwrap();
            handle.open().await.unwrap().insert("k", "v").unwrap();
            Ok::<_, std::convert::Infallible>(Response::new(Body::from("body")))
        })
    };
    let session = || SessionLayer::new(stage.manager.clone());
    let outside = ServiceBuilder::new().layer(session()).layer(TraceLayer::new_for_http()).service(handle());
    let inside = ServiceBuilder::new().layer(TraceLayer::new_for_http()).layer(session()).service(handle());
    let outside = outside.oneshot(Request::new(Body::empty())).await.unwrap();
    let inside = inside.oneshot(Request::new(Body::empty())).await.unwrap();
    assert!(outside.headers().contains_key("set-cookie") && inside.headers().contains_key("set-cookie"));
    let body = axum::body::to_bytes(Body::new(inside.into_body()), 100).await.unwrap();
    assert_eq!(&body[..], b"body");
}
