//! The table of what a request does to `Set-Cookie` and `Vary`, each row and rule a test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy does not take the helpers of a test for tests"
)]

mod common;

use std::time::Duration;

use axum::Router;
use axum::http::header::{CACHE_CONTROL, SET_COOKIE, VARY};
use axum::routing::get as on_get;
use common::browser::NAME;
use common::{Answer, Stage, cookie, get};
use session_core::SessionId;
use session_http::{CookieConfig, SameSite, Session, SessionLayer, StoreInterface};

const PLAIN: &[&str] = &["Path=/", "HttpOnly", "Secure", "SameSite=Lax"];

fn routes() -> Router {
    Router::new()
        .route("/not-asked", on_get(|| async { "hello" }))
        .route("/unused", on_get(|_: Session| async { "hello" }))
        .route("/read", on_get(|s: Session| async move { format!("{:?}", s.get::<String>("k").unwrap()) }))
        .route("/contains", on_get(|s: Session| async move { s.contains_key("k").to_string() }))
        .route("/len", on_get(|s: Session| async move { s.len().to_string() }))
        .route("/write", on_get(|s: Session| async move { s.insert("k", "v").unwrap() }))
        .route("/remove", on_get(|s: Session| async move { s.remove("k").to_string() }))
        .route("/clear", on_get(|s: Session| async move { s.clear() }))
        .route("/destroy", on_get(|s: Session| async move { s.destroy() }))
        .route("/rotate", on_get(|s: Session| async move { s.rotate_id() }))
        .route("/permanent", on_get(|s: Session| async move { s.set_permanent(true) }))
        .route("/browser", on_get(|s: Session| async move { s.set_permanent(false) }))
        .route(
            "/save-twice",
            on_get(|s: Session| async move {
                s.insert("k", "1").unwrap();
                s.save().await.unwrap();
                s.insert("k", "2").unwrap();
                s.save().await.unwrap();
            }),
        )
        .route(
            "/own-cookie",
            on_get(|s: Session| async move {
                s.destroy();
                [(SET_COOKIE, "theme=dark")]
            }),
        )
        .route(
            "/own-headers",
            on_get(|s: Session| async move {
                s.insert("k", "v").unwrap();
                [
                    (SET_COOKIE, "theme=dark"),
                    (VARY, "Accept-Language"),
                    (CACHE_CONTROL, "public, max-age=600"),
                ]
            }),
        )
}

fn app(stage: &Stage) -> Router {
    routes().layer(SessionLayer::new(stage.manager.clone()))
}

fn app_with(stage: &Stage, change: impl FnOnce(StoreInterface) -> StoreInterface) -> Router {
    routes().layer(SessionLayer::with_interface(change(StoreInterface::new(stage.manager.clone()))))
}

async fn begun(app: &Router) -> String {
    cookie(NAME, &get(app, "/write", None).await)
}

async fn begun_permanent(app: &Router) -> String {
    cookie(NAME, &get(app, "/permanent", None).await)
}

fn varies(answer: &Answer) -> bool {
    answer.vary.len() == 1 && answer.vary[0].eq_ignore_ascii_case("cookie")
}

#[tokio::test]
async fn a_session_that_is_not_touched_leaves_the_response_alone() {
    let stage = Stage::new();
    let app = app(&stage);
    let cookie = begun(&app).await;
    let before = stage.store.calls();
    assert!(get(&app, "/not-asked", Some(&cookie)).await.is_untouched());
    assert_eq!(stage.store.calls(), before, "a handler that does not ask costs a call");
    assert!(get(&app, "/unused", Some(&cookie)).await.is_untouched());
    assert!(get(&app, "/unused", None).await.is_untouched());
    assert_eq!(stage.store.live().await, 1, "a session was stored for nothing");
}

#[tokio::test]
async fn a_session_that_is_only_read_varies_and_sets_nothing() {
    let stage = Stage::new();
    let app = app(&stage);
    let cookie = begun(&app).await;
    for path in ["/read", "/contains", "/len"] {
        for cookie in [Some(cookie.as_str()), None] {
            let answer = get(&app, path, cookie).await;
            assert!(varies(&answer) && answer.set_cookie.is_empty(), "{path}: {answer:?}");
        }
    }
    assert_eq!(get(&app, "/read", Some(&cookie)).await.body, r#"Some("v")"#);
}

#[tokio::test]
async fn one_request_costs_one_load_and_at_most_one_write() {
    let stage = Stage::new();
    let app = app(&stage);
    let cookie = begun(&app).await;
    assert_eq!(stage.store.calls(), 1, "the first request");
    for (path, calls) in [("/read", 1), ("/write", 2), ("/rotate", 2)] {
        let before = stage.store.calls();
        get(&app, path, Some(&cookie)).await;
        assert_eq!(stage.store.calls() - before, calls, "{path}");
    }
}

#[tokio::test]
async fn a_change_of_data_sends_no_cookie_also_of_a_permanent_session() {
    let stage = Stage::new();
    let app = app(&stage);
    for cookie in [begun(&app).await, begun_permanent(&app).await] {
        stage.advance(Duration::from_secs(3 * 3600));
        for path in ["/write", "/save-twice", "/read"] {
            let answer = get(&app, path, Some(&cookie)).await;
            assert!(varies(&answer) && answer.set_cookie.is_empty(), "{path}: {answer:?}");
            assert!(answer.headers.get(CACHE_CONTROL).is_none(), "{path}: the client has this id already");
        }
    }
}

#[tokio::test]
async fn with_eager_opening_a_session_that_is_not_used_leaves_the_response_alone() {
    let stage = Stage::new();
    let interface = StoreInterface::new(stage.manager.clone()).with_refresh_each_request(true);
    let app = routes().layer(SessionLayer::with_interface(interface).with_eager_opening(true));
    for cookie in [begun(&app).await, begun_permanent(&app).await] {
        let before = stage.store.calls();
        assert!(get(&app, "/not-asked", Some(&cookie)).await.is_untouched());
        assert_eq!(stage.store.calls() - before, 1, "one load");
    }
    assert!(get(&app, "/not-asked", None).await.is_untouched());
}

#[tokio::test]
async fn a_changed_session_is_set_with_safe_attributes_and_not_stored_by_caches() {
    let stage = Stage::new();
    let app = app(&stage);
    let answer = get(&app, "/write", None).await;
    assert!(varies(&answer));
    assert_eq!(answer.attributes(), PLAIN, "a session that is not permanent ends with the browser");
    assert!(answer.value().unwrap().parse::<SessionId>().is_ok());
    assert_eq!(answer.headers[CACHE_CONTROL], "no-store");
    let cookie = cookie(NAME, &answer);
    let again = get(&app, "/write", Some(&cookie)).await;
    assert!(again.set_cookie.is_empty(), "the browser has the id: {again:?}");
}

#[tokio::test]
async fn a_session_that_is_emptied_or_destroyed_is_removed_with_the_same_attributes() {
    for path in ["/clear", "/remove", "/destroy"] {
        let stage = Stage::new();
        let app = app(&stage);
        let cookie = begun(&app).await;
        let answer = get(&app, path, Some(&cookie)).await;
        assert!(varies(&answer), "{path}");
        assert_eq!(answer.value(), None, "{path}");
        let removal = [&["Max-Age=0", "Expires=Thu, 01 Jan 1970 00:00:00 GMT"], PLAIN].concat();
        assert_eq!(answer.attributes(), removal, "{path}");
        assert_eq!(stage.store.live().await, 0, "{path}: the session lives on at the server");
        assert_eq!(get(&app, "/read", Some(&cookie)).await.body, "None", "{path}");
    }
}

#[tokio::test]
async fn removal_repeats_attributes_that_are_not_the_defaults() {
    let stage = Stage::new();
    let config = CookieConfig::default()
        .with_name("__Secure-s")
        .with_domain("example.com")
        .with_path("/")
        .with_same_site(SameSite::None)
        .with_partitioned(true);
    let app = app_with(&stage, |interface| interface.with_cookie(&config).unwrap());
    let set = get(&app, "/write", None).await;
    let removed = get(&app, "/clear", Some(&cookie("__Secure-s", &set))).await;
    let wanted = ["Domain=example.com", "Path=/", "HttpOnly", "Secure", "SameSite=None", "Partitioned"];
    assert_eq!(set.attributes(), wanted);
    assert_eq!(removed.attributes()[2..], wanted);
}

#[tokio::test]
async fn removing_what_is_not_there_changes_nothing() {
    let stage = Stage::new();
    let app = app(&stage);
    let answer = get(&app, "/remove", None).await;
    assert!(varies(&answer) && answer.set_cookie.is_empty(), "{answer:?}");
}

#[tokio::test]
async fn an_unknown_forged_or_expired_cookie_is_left_alone_and_never_adopted() {
    let stage = Stage::new();
    let app = app(&stage);
    let expired = begun(&app).await;
    stage.advance(Duration::from_secs(40 * 86_400));
    let unknown = format!("{NAME}={}", SessionId::generate().unwrap().expose());
    for bad in [expired.as_str(), unknown.as_str(), "__Host-session=forged", "__Host-session="] {
        assert!(get(&app, "/unused", Some(bad)).await.is_untouched(), "{bad}");
        let read = get(&app, "/read", Some(bad)).await;
        assert!(read.set_cookie.is_empty() && read.body == "None", "{bad}: {read:?}");
        let written = get(&app, "/write", Some(bad)).await;
        let presented = bad.split_once('=').map(|(_, value)| value.to_owned());
        assert!(written.value().is_some() && written.value() != presented, "{bad}: adopted");
    }
}

#[tokio::test]
async fn a_malformed_id_is_refused_before_any_look_up() {
    let stage = Stage::new();
    let app = app(&stage);
    for bad in ["x", "AAECAwQFBgcICQoLDA0ODx", "AAECAwQFBgcICQoLDA0ODw==", "..%2f..%2fetc"] {
        get(&app, "/read", Some(&format!("{NAME}={bad}"))).await;
    }
    assert_eq!(stage.store.calls(), 0);
}

#[tokio::test]
async fn a_rotated_id_is_set_and_the_old_one_is_dead() {
    let stage = Stage::new();
    let app = app(&stage);
    let old = begun(&app).await;
    let answer = get(&app, "/rotate", Some(&old)).await;
    let new = cookie(NAME, &answer);
    assert_ne!(new, old);
    assert_eq!(answer.headers[CACHE_CONTROL], "no-store");
    assert_eq!(get(&app, "/read", Some(&new)).await.body, r#"Some("v")"#);
    assert_eq!(get(&app, "/read", Some(&old)).await.body, "None");
}

#[tokio::test]
async fn headers_of_the_handler_stay_and_vary_is_merged() {
    let stage = Stage::new();
    let app = app(&stage);
    let answer = get(&app, "/own-headers", None).await;
    assert_eq!(answer.set_cookie.len(), 2, "{answer:?}");
    assert_eq!(answer.set_cookie[0], "theme=dark");
    assert_eq!(answer.vary.len(), 1);
    assert_eq!(answer.vary[0].to_ascii_lowercase(), "accept-language, cookie");
    assert_eq!(answer.headers.get_all(CACHE_CONTROL).iter().collect::<Vec<_>>(), ["no-store"]);
    let pair = answer.set_cookie[1].split(';').next().unwrap();
    for (path, cookies) in [("/own-headers", 1), ("/own-cookie", 2)] {
        let answer = get(&app, path, Some(pair)).await;
        assert_eq!(
            (answer.set_cookie.len(), answer.set_cookie[0].as_str()),
            (cookies, "theme=dark"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_session_saved_by_hand_is_still_set_once() {
    let stage = Stage::new();
    let app = app(&stage);
    let answer = get(&app, "/save-twice", None).await;
    assert_eq!(answer.set_cookie.len(), 1);
    assert_eq!(answer.headers[CACHE_CONTROL], "no-store");
    assert_eq!(get(&app, "/read", Some(&cookie(NAME, &answer))).await.body, r#"Some("2")"#);
}

#[tokio::test]
async fn of_several_cookies_of_one_name_the_live_one_counts() {
    let stage = Stage::new();
    let app = app(&stage);
    let good = begun(&app).await;
    let unknown = SessionId::generate().unwrap().expose();
    for header in [
        format!("{NAME}={unknown}; {good}"),
        format!("{good}; {NAME}={unknown}"),
        format!("{NAME}=; {NAME}=\"x\"; a=b; {good}"),
    ] {
        assert_eq!(get(&app, "/read", Some(&header)).await.body, r#"Some("v")"#, "{header}");
    }
    let tossed = format!("{NAME}={unknown}; ").repeat(10_000);
    let before = stage.store.calls();
    get(&app, "/read", Some(&tossed)).await;
    assert!(stage.store.calls() - before <= 4, "look-ups follow the number of cookies sent");
}

#[tokio::test]
async fn the_cookie_can_be_chosen_for_each_host() {
    let stage = Stage::new();
    let shop = CookieConfig::default().with_name("__Host-shop");
    let app = app_with(&stage, |interface| {
        interface.with_cookie_by(move |head| {
            let host = head.headers.get("host")?.to_str().ok()?;
            (host == "shop.example").then(|| shop.clone())
        })
    });
    let request = |host: &str| {
        http::Request::get("/write").header("host", host).body(axum::body::Body::empty()).unwrap()
    };
    let answer = common::send(&app, request("shop.example")).await;
    assert!(answer.set_cookie[0].starts_with("__Host-shop="), "{answer:?}");
    let answer = common::send(&app, request("other.example")).await;
    assert!(answer.set_cookie[0].starts_with("__Host-session="), "{answer:?}");
}

#[tokio::test]
async fn headers_that_are_long_or_not_text_do_no_harm() {
    let stage = Stage::new();
    let app = app(&stage);
    let good = begun(&app).await;
    let neighbours: [Vec<u8>; 4] = [
        vec![b'x'; 60_000],
        b"a=\xff\xfe\x80; \xc3\xa9=1".to_vec(),
        b";;;=;=;\"".to_vec(),
        format!("{NAME}=\u{e9}\u{e9}").into_bytes(),
    ];
    for neighbour in neighbours {
        let header = [&neighbour[..], b"; ", good.as_bytes()].concat();
        let request = http::Request::get("/read")
            .header("cookie", http::HeaderValue::from_bytes(&header).unwrap())
            .body(axum::body::Body::empty())
            .unwrap();
        assert_eq!(common::send(&app, request).await.body, r#"Some("v")"#);
    }
}

#[tokio::test]
async fn cookies_split_over_several_headers_are_read() {
    let stage = Stage::new();
    let app = app(&stage);
    let good = begun(&app).await;
    let request = http::Request::get("/read")
        .header("cookie", "theme=dark")
        .header("cookie", good)
        .body(axum::body::Body::empty())
        .unwrap();
    assert_eq!(common::send(&app, request).await.body, r#"Some("v")"#);
}
