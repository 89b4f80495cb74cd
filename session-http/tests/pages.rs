//! Pages around a session: what caches may keep, what nobody sees, two layers, several hosts, and storages in trouble.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy does not take the helpers of a test for tests"
)]

mod common;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, COOKIE, HOST};
use axum::http::{HeaderName, HeaderValue, Method, Request, Uri};
use axum::routing::any;
use common::browser::{ALL, Browser, NAME, STORED, Told, Way, acts, app};
use common::{Stage, get, send};
use session_core::{Codec, Codecs, Policy, Undecodable};
use session_http::{CookieConfig, Failure, Session, SessionLayer, SessionOf, StoreInterface};

const PUBLIC: [(&str, &str); 7] = [
    ("cache-control", "public, max-age=600, s-maxage=900"),
    ("cdn-cache-control", "max-age=600"),
    ("cloudflare-cdn-cache-control", "max-age=600"),
    ("x-litespeed-cache-control", "public, max-age=600"),
    ("surrogate-control", "max-age=600"),
    ("edge-control", "max-age=600"),
    ("x-accel-expires", "600"),
];

/// The acts, each page of which says that every cache may keep it.
fn public(way: Way, stage: &Stage) -> Browser {
    let (acts, _) = acts();
    let marks = axum::middleware::map_response(async |mut response: axum::response::Response| {
        for (name, value) in PUBLIC {
            response.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        response
    });
    Browser::new(acts.layer(marks).layer(way.layer(stage)), way)
}

/// A6.
#[tokio::test]
async fn no_cache_may_keep_an_answer_that_sets_or_removes_the_cookie() {
    for &way in ALL.iter().filter(|way| **way != Way::Own) {
        let stage = Stage::new();
        let mut browser = public(way, &stage);
        for path in ["/write", "/rotate/permanent", "/sign-in=ada", "/sign-out"] {
            let answer = browser.post(path).await;
            assert_ne!(browser.told(&answer), Told::Nothing, "{way:?} {path}");
            let said: Vec<_> = answer.headers.get_all(CACHE_CONTROL).iter().collect();
            assert_eq!(said, ["no-store"], "{way:?} {path}");
            for (name, _) in &PUBLIC[1..] {
                assert!(!answer.headers.contains_key(*name), "{way:?} {path}: {name} overrules it");
            }
        }
        for path in ["/unused", "/read"] {
            let answer = browser.get(path).await;
            assert_eq!(browser.told(&answer), Told::Nothing);
            assert_eq!(
                answer.headers[CACHE_CONTROL], PUBLIC[0].1,
                "{way:?} {path}: what the handler said is its own"
            );
        }
    }
}

/// A6, as it was reported: a page that only read a permanent session.
#[tokio::test]
async fn a_public_page_that_reads_a_permanent_session_carries_no_id() {
    let stage = Stage::new();
    let mut browser = public(Way::Store, &stage);
    browser.post("/write/permanent").await;
    stage.advance(Duration::from_secs(12 * 3600));
    let answer = browser.get("/read").await;
    assert_eq!((browser.told(&answer), &answer.vary[..]), (Told::Nothing, &["cookie".to_owned()][..]));
}

/// A9: the cookie is chosen for each host, the id is not bound to it. A namespace for each tenant binds it.
#[tokio::test]
async fn an_id_is_good_under_every_name_of_one_manager_and_under_none_of_another() {
    let name = |head: &http::request::Parts| {
        head.headers.get(HOST).and_then(|host| host.to_str().ok()).map(str::to_owned)
    };
    let shop = move |stage: &Stage| {
        let choose = move |head: &http::request::Parts| {
            let host = name(head)?;
            Some(CookieConfig::default().with_name(format!("__Host-{host}")))
        };
        let interface = StoreInterface::new(stage.manager.clone()).with_cookie_by(choose);
        acts().0.layer(SessionLayer::with_interface(interface))
    };
    let (one, other) = (Stage::new(), Stage::new());
    let (app, elsewhere) = (shop(&one), shop(&other));
    let request = |host: &str, cookie: &str, path: &str| {
        Request::get(path).header(HOST, host).header(COOKIE, cookie).body(Body::empty()).unwrap()
    };
    let begun = send(&app, request("blue", "", "/write")).await;
    let value = begun.value().unwrap();
    assert!(begun.set_cookie[0].starts_with("__Host-blue="));
    let moved = format!("__Host-red={value}");
    assert_eq!(send(&app, request("red", &moved, "/read")).await.body, "v", "say so in the README, then");
    assert_eq!(send(&elsewhere, request("red", &moved, "/read")).await.body, "-");
    assert_eq!(send(&app, request("blue", &moved, "/read")).await.body, "-", "a cookie of another name");
}

struct Staff;

/// A10.
#[tokio::test]
async fn two_layers_that_are_tagged_serve_one_handler_each_with_its_cookie() {
    async fn both(visitor: Session, staff: SessionOf<Staff>, uri: Uri) -> String {
        if uri.path() == "/begin" {
            visitor.insert("k", "visitor").unwrap();
            staff.insert("k", "staff").unwrap();
            staff.save().await.unwrap();
        }
        let read = |session: &Session| session.get::<String>("k").unwrap().unwrap_or_default();
        format!("{} {}", read(&visitor), read(&staff))
    }
    let (visitors, staff) = (Stage::new(), Stage::new());
    let config = CookieConfig::default().with_name("__Host-staff");
    let visitors_layer = SessionLayer::new(visitors.manager.clone());
    let staff_layer = SessionLayer::with_cookie(staff.manager.clone(), &config).unwrap().tagged::<Staff>();
    let routes = Router::new().fallback(both);
    for app in [
        routes.clone().layer(visitors_layer.clone()).layer(staff_layer.clone()),
        routes.clone().layer(staff_layer.clone()).layer(visitors_layer.clone()),
    ] {
        let begun = get(&app, "/begin", None).await;
        let mut names: Vec<_> = begun.set_cookie.iter().map(|line| line.split('=').next().unwrap()).collect();
        names.sort_unstable();
        assert_eq!((names, &begun.vary[..]), (vec![NAME, "__Host-staff"], &["cookie".to_owned()][..]));
        let pairs: Vec<_> = begun.set_cookie.iter().map(|line| line.split(';').next().unwrap()).collect();
        assert_eq!(get(&app, "/", Some(&pairs.join("; "))).await.body, "visitor staff");
    }
    assert_eq!((visitors.store.live().await, staff.store.live().await), (2, 2));
    let missing = get(&routes.layer(visitors_layer), "/", None).await;
    assert_eq!(missing.status, 500, "a tag without its layer");
}

/// A10.
#[tokio::test]
async fn two_layers_with_one_cookie_name_are_an_error_that_says_so() {
    async fn both(visitor: Session, staff: SessionOf<Staff>) {
        visitor.insert("k", "visitor").unwrap();
        staff.insert("k", "staff").unwrap();
    }
    let (visitors, staff) = (Stage::new(), Stage::new());
    let app = Router::new()
        .route("/", any(both))
        .layer(SessionLayer::new(visitors.manager.clone()))
        .layer(SessionLayer::new(staff.manager.clone()).tagged::<Staff>());
    let answer = get(&app, "/", None).await;
    let told = answer.extensions.get::<Failure>().unwrap().error.to_string();
    assert!(answer.status == 500 && answer.set_cookie.is_empty(), "one of both sessions is lost: {answer:?}");
    assert!(told.contains(NAME) && told.contains("with_name"), "{told}");
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

/// A10. The only test of this file that sets a subscriber: places that log are known to the whole process.
#[tokio::test]
async fn two_layers_that_are_not_tagged_are_warned_of() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    tracing::callsite::rebuild_interest_cache();
    let (inner, outer) = (Stage::new(), Stage::new());
    let config = CookieConfig::default().with_name("__Host-staff");
    let app = acts()
        .0
        .layer(SessionLayer::new(inner.manager.clone()))
        .layer(SessionLayer::with_cookie(outer.manager.clone(), &config).unwrap());
    let mut browser = Browser::new(app, Way::Store);
    browser.post("/write").await;
    assert_eq!((inner.store.live().await, outer.store.live().await), (1, 0));
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("two session layers") && log.contains("SessionLayer::tagged"), "{log}");
}

/// A11.
#[tokio::test]
async fn flashed_messages_wait_for_a_page_that_somebody_sees() {
    for &way in ALL {
        let stage = Stage::new();
        let (mut browser, _) = app(way, &stage);
        browser.post("/flash=hello").await;
        let head = browser.send(Method::HEAD, "/flashes").await;
        assert_eq!((head.status, browser.told(&head)), (200, Told::Nothing), "{way:?}");
        for (name, value) in
            [("sec-purpose", "prefetch"), ("sec-purpose", "prefetch;prerender"), ("purpose", "prefetch")]
        {
            let mut request = Request::get("/flashes").header(name, value);
            let held = browser.held.as_ref().unwrap();
            request = match way {
                Way::Own => request.header(&common::own::TOKEN, held),
                _ => request.header(COOKIE, format!("{NAME}={held}")),
            };
            let fetched = send(&browser.app, request.body(Body::empty()).unwrap()).await;
            assert_eq!(fetched.body, "hello", "{way:?} {name}: a page for later shows them all the same");
        }
        assert_eq!(browser.get("/flashes").await.body, "hello", "{way:?}: nobody saw it, and it is gone");
        assert_eq!(browser.get("/flashes").await.body, "", "{way:?}");
    }
}

/// B8.
#[tokio::test]
async fn a_session_that_cannot_be_decoded_is_an_error_or_by_policy_over_and_its_visitor_begins_anew() {
    for way in STORED {
        for undecodable in [Undecodable::Error, Undecodable::Ended] {
            let mut stage = Stage::with_policy(Policy::default().with_undecodable(undecodable));
            let with = stage.manager.clone();
            stage.manager = with.clone().with_codecs(Codecs::new(Codec::json()));
            let (mut browser, _) = app(way, &stage);
            browser.post("/write").await;
            stage.manager = with;
            browser.app = app(way, &stage).0.app;
            let read = browser.get("/read").await;
            let signed_in = browser.post("/sign-in=ada").await;
            if undecodable == Undecodable::Error {
                assert_eq!(
                    (read.status, signed_in.status, stage.store.live().await),
                    (500, 500, 1),
                    "{way:?}"
                );
                continue;
            }
            assert_eq!((read.status, read.body.as_str(), signed_in.status), (200, "-", 200), "{way:?}");
            assert_eq!(browser.get("/owner").await.body, "ada", "{way:?}");
        }
    }
}

/// B9.
#[tokio::test]
async fn a_page_that_only_reads_goes_out_although_the_store_cannot_write() {
    let renewing = Policy::default().with_renewal_after(Some(Duration::from_secs(3600)));
    for policy in [Policy::default(), renewing] {
        for way in STORED {
            let stage = Stage::with_policy(policy.clone());
            let (mut browser, _) = app(way, &stage);
            browser.post("/write").await;
            stage.advance(Duration::from_secs(12 * 3600));
            stage.store.fail_writes(true);
            let answer = browser.get("/read").await;
            assert_eq!(
                (answer.status, answer.body.as_str(), browser.told(&answer)),
                (200, "v", Told::Nothing),
                "{way:?}"
            );
            assert_eq!(browser.post("/write=late").await.status, 503, "{way:?}");
            stage.store.fail_writes(false);
            assert_eq!(browser.get("/read").await.body, "v", "{way:?}");
        }
    }
}

/// Beside a superseded cookie of a neighbour, or of an old configuration, the live one counts; alone it begins nothing.
#[tokio::test]
async fn of_several_cookies_of_one_name_a_superseded_one_neither_wins_nor_begins_a_session() {
    let stage = Stage::new();
    let (mut browser, _) = app(Way::Store, &stage);
    browser.post("/write").await;
    let old = browser.held.clone().unwrap();
    browser.post("/rotate").await;
    let live = browser.held.clone().unwrap();
    let unknown = session_core::SessionId::generate().unwrap().expose();
    for held in [
        format!("{old}; {NAME}={live}"),
        format!("{live}; {NAME}={old}"),
        format!("{unknown}; {NAME}={old}; {NAME}={live}"),
    ] {
        browser.held = Some(held.clone());
        let answer = browser.send(Method::POST, "/read/write").await;
        assert_eq!(
            (answer.status, answer.body.as_str(), browser.told(&answer)),
            (200, "v", Told::Nothing),
            "{held}"
        );
    }
    for held in
        [format!("{old}; {NAME}={unknown}"), format!("{unknown}; {NAME}={old}"), format!("x; {NAME}={old}")]
    {
        browser.held = Some(held.clone());
        let answer = browser.send(Method::POST, "/write").await;
        assert_eq!(
            (answer.status, browser.told(&answer)),
            (409, Told::Nothing),
            "{held}: over the browser's new cookie"
        );
    }
    assert_eq!(stage.store.live().await, 1);
}
