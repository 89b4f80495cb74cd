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
use common::{Answer, START, Stage, cookie, get};
use session_core::SessionId;
use session_http::{CookieConfig, Persistence, SameSite, Session, SessionLayer, StoreInterface};

const NAME: &str = "__Host-session";
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
async fn a_permanent_session_that_is_only_read_is_sent_again_with_its_new_expiry() {
    let stage = Stage::new();
    let app = app(&stage);
    let cookie = begun_permanent(&app).await;
    stage.advance(Duration::from_secs(12 * 3600));
    let answer = get(&app, "/read", Some(&cookie)).await;
    assert!(varies(&answer));
    assert_eq!(answer.value(), cookie.split_once('=').map(|(_, value)| value.to_owned()));
    assert_eq!(
        answer.attributes(),
        [&["Max-Age=86400", "Expires=Mon, 07 Nov 1994 20:49:37 GMT"], PLAIN].concat()
    );
    assert!(answer.headers.get(CACHE_CONTROL).is_none(), "the client has this id already");
}

#[tokio::test]
async fn without_refresh_each_request_a_permanent_session_is_only_sent_when_it_changes() {
    let stage = Stage::new();
    let app = app_with(&stage, |interface| interface.with_refresh_each_request(false));
    let cookie = begun_permanent(&app).await;
    let answer = get(&app, "/read", Some(&cookie)).await;
    assert!(varies(&answer) && answer.set_cookie.is_empty(), "{answer:?}");
    assert!(get(&app, "/write", Some(&cookie)).await.value().is_some());
}

#[tokio::test]
async fn with_eager_opening_a_permanent_session_is_refreshed_by_requests_that_do_not_use_it() {
    let stage = Stage::new();
    let app = routes().layer(SessionLayer::new(stage.manager.clone()).with_eager_opening(true));
    let permanent = begun_permanent(&app).await;
    let answer = get(&app, "/not-asked", Some(&permanent)).await;
    assert!(varies(&answer) && answer.value().is_some(), "{answer:?}");
    let cookie = begun(&app).await;
    assert!(get(&app, "/not-asked", Some(&cookie)).await.is_untouched());
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
    assert_eq!(again.value(), answer.value(), "the id changed without need");
}

#[tokio::test]
async fn the_cookie_expires_with_its_record_also_at_the_end_of_the_absolute_lifetime() {
    let hour = Duration::from_secs(3600);
    let policy =
        session_core::Policy::default().with_idle_timeout(2 * hour).with_absolute_lifetime(Some(3 * hour));
    let stage = Stage::with_policy(policy);
    let app = app(&stage);
    let cookie = begun_permanent(&app).await;
    stage.advance(hour + hour / 2);
    let answer = get(&app, "/read", Some(&cookie)).await;
    assert_eq!(answer.attributes()[0], "Max-Age=5400", "{answer:?}");
    stage.advance(hour + hour / 2);
    assert_eq!(get(&app, "/read", Some(&cookie)).await.body, "None");
}

#[tokio::test]
async fn a_touch_that_is_not_due_sends_the_expiry_that_the_record_has() {
    let stage = Stage::new();
    let app = app(&stage);
    let cookie = begun_permanent(&app).await;
    stage.advance(Duration::from_secs(60));
    let answer = get(&app, "/read", Some(&cookie)).await;
    let record_ends = START.saturating_add(Duration::from_secs(86_400));
    let session = stage.manager.open(Some(&answer.value().unwrap().parse().unwrap())).await.unwrap();
    assert_eq!(session.expires_at(), Some(record_ends));
    assert_eq!(answer.attributes()[..2], ["Max-Age=86340", "Expires=Mon, 07 Nov 1994 08:49:37 GMT"]);
}

#[tokio::test]
async fn a_permanent_session_can_become_one_of_the_browser_again() {
    let stage = Stage::new();
    let app = app(&stage);
    let cookie = begun_permanent(&app).await;
    let answer = get(&app, "/browser", Some(&cookie)).await;
    assert_eq!(answer.attributes(), PLAIN);
    assert_eq!(stage.store.live().await, 1, "a session that holds only `_permanent` is not empty");
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
async fn a_session_that_somebody_else_ends_meanwhile_stays_ended_and_its_cookie_is_removed() {
    let stage = Stage::new();
    let manager = stage.manager.clone();
    let app = Router::new()
        .route("/write", on_get(|s: Session| async move { s.insert("k", "v").unwrap() }))
        .route(
            "/late",
            on_get(move |s: Session| async move {
                manager.revoke(s.key().unwrap()).await.unwrap();
                s.insert("k", "late").unwrap();
            }),
        )
        .layer(SessionLayer::new(stage.manager.clone()));
    let cookie = begun(&app).await;
    let answer = get(&app, "/late", Some(&cookie)).await;
    assert_eq!(answer.value(), None, "{answer:?}");
    assert_eq!(stage.store.live().await, 0, "a late write revived the session");
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
    for path in ["/own-headers", "/own-cookie"] {
        let answer = get(&app, path, Some(pair)).await;
        assert_eq!((answer.set_cookie.len(), answer.set_cookie[0].as_str()), (2, "theme=dark"), "{path}");
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
async fn whether_the_browser_keeps_the_cookie_can_be_settled_for_all_sessions() {
    for (persistence, path, lasting) in
        [(Persistence::Always, "/write", true), (Persistence::Never, "/permanent", false)]
    {
        let stage = Stage::new();
        let config = CookieConfig::default().with_persistence(persistence);
        let app = app_with(&stage, |interface| interface.with_cookie(&config).unwrap());
        let first = get(&app, path, None).await;
        assert_eq!(first.attributes()[0].starts_with("Max-Age="), lasting, "{first:?}");
        let read = get(&app, "/read", Some(&cookie(NAME, &first))).await;
        assert_eq!(read.set_cookie.len(), usize::from(lasting), "{persistence:?}: {read:?}");
    }
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

#[tokio::test]
async fn an_id_that_is_due_is_renewed_and_the_old_one_reads_for_a_short_grace() {
    let hour = Duration::from_secs(3600);
    let policy = session_core::Policy::default()
        .with_renewal_after(Some(hour))
        .with_renewal_grace(Duration::from_secs(30));
    let stage = Stage::with_policy(policy);
    let app = app(&stage);
    let old = begun(&app).await;
    stage.advance(hour);
    let renewed = get(&app, "/read", Some(&old)).await;
    let new = cookie(NAME, &renewed);
    assert_ne!(new, old);
    assert_eq!(renewed.headers[CACHE_CONTROL], "no-store");
    // A parallel request that left the browser before the new cookie came.
    let parallel = get(&app, "/read", Some(&old)).await;
    assert_eq!(parallel.body, r#"Some("v")"#);
    assert!(parallel.set_cookie.is_empty(), "it would take the new id from the browser: {parallel:?}");
    let written = get(&app, "/write", Some(&old)).await;
    assert!(written.set_cookie.is_empty(), "{written:?}");
    stage.advance(Duration::from_secs(31));
    assert_eq!(get(&app, "/read", Some(&old)).await.body, "None", "the old id outlived its grace");
    assert_eq!(get(&app, "/read", Some(&new)).await.body, r#"Some("v")"#);
}

#[tokio::test]
async fn after_a_change_of_privilege_the_old_id_has_no_grace() {
    let policy = session_core::Policy::default().with_renewal_after(Some(Duration::from_secs(3600)));
    let stage = Stage::with_policy(policy);
    let app = app(&stage);
    let old = begun(&app).await;
    get(&app, "/rotate", Some(&old)).await;
    assert_eq!(get(&app, "/read", Some(&old)).await.body, "None");
}

#[tokio::test]
async fn a_session_that_is_found_ended_when_its_expiry_is_moved_loses_its_cookie_too() {
    let stage = Stage::new();
    let manager = stage.manager.clone();
    let app = Router::new()
        .route("/write", on_get(|s: Session| async move { s.insert("k", "v").unwrap() }))
        .route(
            "/read-late",
            on_get(move |s: Session| async move {
                manager.revoke(s.key().unwrap()).await.unwrap();
                s.contains_key("k").to_string()
            }),
        )
        .layer(SessionLayer::new(stage.manager.clone()));
    let cookie = begun(&app).await;
    stage.advance(Duration::from_secs(12 * 3600));
    let answer = get(&app, "/read-late", Some(&cookie)).await;
    assert_eq!(answer.value(), None, "{answer:?}");
}
