//! Client-side sessions: the table of what a request does, and the limits that the server holds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy does not take the helpers of a test for tests"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Method;
use axum::http::header::CACHE_CONTROL;
use axum::routing::get as on_get;
use common::browser::{Browser, Told, Way, acts};
use common::{Answer, START, cookie, get};
use session_core::{Codec, Codecs, ManualClock, Policy};
use session_http::{ClientInterface, CookieConfig, Failure, KeyRing, SameSite, Session, SessionLayer};

const NAME: &str = "__Host-session";
const PLAIN: &[&str] = &["Path=/", "HttpOnly", "Secure", "SameSite=Lax"];
const SECRET: &str = "a secret of more than thirty-two bytes, for tests";
const HOUR: Duration = Duration::from_secs(3600);

fn keys() -> KeyRing {
    KeyRing::new(SECRET).unwrap()
}

fn routes() -> Router {
    Router::new()
        .route("/not-asked", on_get(|| async { "hello" }))
        .route("/unused", on_get(|_: Session| async { "hello" }))
        .route("/read", on_get(|s: Session| async move { format!("{:?}", s.get::<String>("k").unwrap()) }))
        .route("/write", on_get(|s: Session| async move { s.insert("k", "v").unwrap() }))
        .route("/remove", on_get(|s: Session| async move { s.remove("k").to_string() }))
        .route("/clear", on_get(|s: Session| async move { s.clear() }))
        .route("/destroy", on_get(|s: Session| async move { s.destroy() }))
        .route("/permanent", on_get(|s: Session| async move { s.set_permanent(true) }))
        .route("/big", on_get(|s: Session| async move { s.insert("k", "x".repeat(4_000)).unwrap() }))
        .route(
            "/owner",
            on_get(|s: Session| async move {
                s.sign_in("ada".parse().unwrap());
                s.save().await.unwrap();
                s.insert("k", "signed in").unwrap();
            }),
        )
        .route(
            "/whose",
            on_get(|s: Session| async move { format!("{:?}", s.owner().map(|o| o.to_string())) }),
        )
        .route(
            "/try",
            on_get(|s: Session| async move {
                s.insert("k", "v").map_or_else(|error| error.to_string(), |()| "written".to_owned())
            }),
        )
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(START))
}

fn app(interface: ClientInterface) -> Router {
    routes().layer(SessionLayer::with_interface(interface))
}

fn both() -> [Router; 2] {
    [ClientInterface::signed(keys()), ClientInterface::sealed(keys())].map(app)
}

fn varies(answer: &Answer) -> bool {
    answer.vary.len() == 1 && answer.vary[0].eq_ignore_ascii_case("cookie")
}

#[tokio::test]
async fn untouched_unused_read_changed_and_emptied_follow_the_table() {
    for app in both() {
        assert!(get(&app, "/unused", None).await.is_untouched());
        let written = get(&app, "/write", None).await;
        assert!(varies(&written));
        assert_eq!(written.attributes(), PLAIN);
        assert_eq!(written.headers[CACHE_CONTROL], "no-store");
        let cookie = cookie(NAME, &written);
        assert!(get(&app, "/not-asked", Some(&cookie)).await.is_untouched());
        assert!(get(&app, "/unused", Some(&cookie)).await.is_untouched());
        let read = get(&app, "/read", Some(&cookie)).await;
        assert_eq!(read.body, r#"Some("v")"#);
        assert!(varies(&read) && read.set_cookie.is_empty(), "{read:?}");
        assert!(get(&app, "/write", Some(&cookie)).await.value().is_some());
        for path in ["/remove", "/clear", "/destroy"] {
            let removed = get(&app, path, Some(&cookie)).await;
            assert!(varies(&removed) && removed.value().is_none(), "{path}: {removed:?}");
            assert_eq!(removed.attributes()[2..], *PLAIN, "{path}");
        }
    }
}

#[tokio::test]
async fn removal_repeats_attributes_that_are_not_the_defaults() {
    let config = CookieConfig::default()
        .with_name("__Secure-s")
        .with_domain("example.com")
        .with_same_site(SameSite::None)
        .with_partitioned(true);
    let app = app(ClientInterface::signed(keys()).with_cookie(&config).unwrap());
    let set = get(&app, "/write", None).await;
    let removed = get(&app, "/clear", Some(&cookie("__Secure-s", &set))).await;
    assert_eq!(removed.attributes()[2..], set.attributes());
    assert_eq!(set.attributes().len(), 6);
}

#[tokio::test]
async fn a_permanent_session_is_sent_again_when_it_is_used_unless_that_is_off() {
    for refresh in [true, false] {
        let app = app(ClientInterface::signed(keys()).with_clock(clock()).with_refresh_each_request(refresh));
        let first = get(&app, "/permanent", None).await;
        let until = ["Max-Age=86400", "Expires=Mon, 07 Nov 1994 08:49:37 GMT"];
        assert_eq!(first.attributes(), [&until[..], PLAIN].concat());
        let read = get(&app, "/read", Some(&cookie(NAME, &first))).await;
        assert!(varies(&read));
        assert_eq!(read.set_cookie.len(), usize::from(refresh), "{read:?}");
        assert!(get(&app, "/not-asked", Some(&cookie(NAME, &first))).await.is_untouched());
    }
}

#[tokio::test]
async fn the_server_holds_the_idle_timeout_and_use_moves_it() {
    for make in [ClientInterface::signed, ClientInterface::sealed] {
        let clock = clock();
        let policy = Policy::default().with_idle_timeout(HOUR).with_absolute_lifetime(None);
        let app = app(make(keys()).with_clock(clock.clone()).with_policy(policy).unwrap());
        let old = cookie(NAME, &get(&app, "/write", None).await);
        clock.advance(HOUR / 2);
        let touched = get(&app, "/read", Some(&old)).await;
        assert!(touched.value().is_some(), "the session was used and its time was not moved");
        clock.advance(HOUR / 2);
        assert_eq!(get(&app, "/read", Some(&old)).await.body, "None", "an idle session is live");
        let moved = cookie(NAME, &touched);
        assert_eq!(get(&app, "/read", Some(&moved)).await.body, r#"Some("v")"#);
    }
}

#[tokio::test]
async fn the_server_holds_the_absolute_lifetime_however_much_the_session_is_used() {
    let clock = clock();
    let policy = Policy::default().with_idle_timeout(HOUR).with_absolute_lifetime(Some(2 * HOUR));
    let app = app(ClientInterface::signed(keys()).with_clock(clock.clone()).with_policy(policy).unwrap());
    let mut held = cookie(NAME, &get(&app, "/permanent", None).await);
    let mut ages = Vec::new();
    for _ in 0..3 {
        clock.advance(HOUR / 2);
        let answer = get(&app, "/write", Some(&held)).await;
        ages.push(answer.attributes()[0].to_owned());
        held = cookie(NAME, &answer);
    }
    assert_eq!(ages, ["Max-Age=3600", "Max-Age=3600", "Max-Age=1800"]);
    clock.advance(HOUR / 2);
    assert_eq!(get(&app, "/read", Some(&held)).await.body, "None");
}

#[tokio::test]
async fn a_stricter_policy_ends_sessions_that_were_issued_before() {
    let clock = clock();
    let lax = app(ClientInterface::signed(keys()).with_clock(clock.clone()));
    let held = cookie(NAME, &get(&lax, "/write", None).await);
    clock.advance(HOUR);
    let policy = Policy::default().with_idle_timeout(HOUR / 2);
    let strict = app(ClientInterface::signed(keys()).with_clock(clock).with_policy(policy).unwrap());
    assert_eq!(get(&strict, "/read", Some(&held)).await.body, "None");
    assert_eq!(get(&lax, "/read", Some(&held)).await.body, r#"Some("v")"#);
}

#[tokio::test]
async fn a_stricter_policy_leaves_sessions_that_are_within_it_and_holds_from_then_on() {
    let clock = clock();
    let lax = app(ClientInterface::signed(keys()).with_clock(clock.clone()));
    let mut held = cookie(NAME, &get(&lax, "/write", None).await);
    clock.advance(HOUR / 4);
    let policy = Policy::default().with_idle_timeout(HOUR / 2);
    let strict = app(ClientInterface::signed(keys()).with_clock(clock.clone()).with_policy(policy).unwrap());
    for _ in 0..3 {
        let read = get(&strict, "/read", Some(&held)).await;
        assert_eq!(read.body, r#"Some("v")"#, "it was used a quarter of an hour ago");
        held = cookie(NAME, &read);
        clock.advance(HOUR / 4);
    }
    clock.advance(HOUR / 4);
    assert_eq!(get(&strict, "/read", Some(&held)).await.body, "None");
}

fn browser(interface: ClientInterface) -> (Browser, common::browser::Gate) {
    let (acts, gate) = acts();
    (Browser::new(acts.layer(SessionLayer::with_interface(interface)), Way::Client), gate)
}

#[tokio::test]
async fn a_request_that_is_no_use_moves_nothing_although_its_cookie_is_sent_again() {
    let clock = clock();
    let (mut browser, _) = browser(ClientInterface::signed(keys()).with_clock(clock.clone()));
    browser.post("/write/permanent").await;
    for _ in 0..4 {
        clock.advance(6 * HOUR);
        browser.get("/poll/read").await;
    }
    assert_eq!(browser.get("/read").await.body, "-", "a page that polls kept the session alive");
}

/// A1 and A2, as far as a session that no store knows can keep out of them.
#[tokio::test]
async fn a_slow_page_that_only_reads_sends_nothing_without_refresh_and_an_old_session_with_it() {
    for (refreshes, wanted) in [(false, "ada"), (true, "nobody")] {
        let (mut browser, gate) =
            browser(ClientInterface::signed(keys()).with_refresh_each_request(refreshes));
        browser.post("/write/permanent").await;
        let slow = browser.start(Method::GET, "/read/hold");
        gate.reached(1).await;
        browser.post("/sign-in=ada").await;
        gate.release(1);
        let slow = slow.await.unwrap();
        assert_eq!(browser.told(&slow) == Told::Nothing, !refreshes);
        browser.take(&slow);
        assert_eq!(browser.get("/owner").await.body, wanted);
    }
}

#[tokio::test]
async fn a_cookie_does_not_grow_with_use() {
    let (mut browser, _) = browser(ClientInterface::signed(keys()).with_clock(clock()));
    browser.post("/write/sign-in=ada").await;
    let length = |browser: &Browser| browser.held.as_ref().unwrap().len();
    let first = length(&browser);
    assert!(first <= 300, "{first} bytes for one entry");
    for path in ["/rotate", "/write", "/sign-in=ada", "/permanent/permanent=off", "/rotate"] {
        browser.post(path).await;
    }
    assert!(length(&browser) <= first + 20, "{first} bytes became {}", length(&browser));
}

#[tokio::test]
async fn a_forged_moved_or_foreign_cookie_is_left_alone_and_never_adopted() {
    let config = CookieConfig::default().with_name("__Host-other");
    let other = app(ClientInterface::signed(keys()).with_cookie(&config).unwrap());
    let moved = get(&other, "/write", None).await.value().unwrap();
    let foreign_keys = KeyRing::new("the secret of another server, which is as long").unwrap();
    let foreign = get(&app(ClientInterface::signed(foreign_keys)), "/write", None).await.value().unwrap();
    let app = app(ClientInterface::signed(keys()));
    let long = "A".repeat(100_000);
    for bad in [moved.as_str(), &foreign, "", "x", "\u{e9}", &long, "AAAA", "\"\""] {
        let bad = format!("{NAME}={bad}");
        assert!(get(&app, "/unused", Some(&bad)).await.is_untouched());
        let read = get(&app, "/read", Some(&bad)).await;
        assert!(read.body == "None" && read.set_cookie.is_empty());
        assert!(get(&app, "/write", Some(&bad)).await.value().is_some());
    }
}

#[tokio::test]
async fn of_several_cookies_of_one_name_the_one_that_verifies_counts() {
    let app = app(ClientInterface::signed(keys()));
    let good = cookie(NAME, &get(&app, "/write", None).await);
    for header in [format!("{NAME}=tossed; {good}"), format!("{good}; {NAME}=tossed")] {
        assert_eq!(get(&app, "/read", Some(&header)).await.body, r#"Some("v")"#);
    }
}

#[tokio::test]
async fn a_new_key_takes_over_without_logging_anyone_out() {
    let new = "the new secret, of more than thirty-two bytes";
    let before = app(ClientInterface::signed(keys()));
    let during = app(ClientInterface::signed(KeyRing::new(new).unwrap().with_fallback(SECRET).unwrap()));
    let after = app(ClientInterface::signed(KeyRing::new(new).unwrap()));
    let old = cookie(NAME, &get(&before, "/write", None).await);
    let read = get(&during, "/read", Some(&old)).await;
    assert_eq!(read.body, r#"Some("v")"#);
    assert!(read.set_cookie.is_empty(), "signed anew before it was set");
    let renewed = cookie(NAME, &get(&during, "/write", Some(&old)).await);
    assert_eq!(get(&after, "/read", Some(&renewed)).await.body, r#"Some("v")"#);
    assert_eq!(get(&after, "/read", Some(&old)).await.body, "None");
}

#[tokio::test]
async fn a_sealed_cookie_shows_nothing_and_a_signed_one_is_not_taken_for_it() {
    let [signed, sealed] = both();
    let readable = get(&signed, "/write", None).await.value().unwrap();
    let opaque = get(&sealed, "/write", None).await.value().unwrap();
    let bytes =
        |text: &str| base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, text).unwrap();
    assert!(bytes(&readable).ends_with(b"v"), "this codec writes text as it is");
    assert!(!bytes(&opaque).ends_with(b"v"));
    assert_eq!(get(&sealed, "/read", Some(&format!("{NAME}={readable}"))).await.body, "None");
    assert_eq!(get(&signed, "/read", Some(&format!("{NAME}={opaque}"))).await.body, "None");
}

#[tokio::test]
async fn a_session_too_large_for_a_cookie_is_an_error_that_says_so() {
    let app = app(ClientInterface::signed(keys()));
    let held = cookie(NAME, &get(&app, "/write", None).await);
    let answer = get(&app, "/big", Some(&held)).await;
    assert_eq!(answer.status, 500);
    assert!(answer.set_cookie.is_empty(), "a cookie that the browser drops in silence");
    let told = answer.extensions.get::<Failure>().unwrap().error.to_string();
    assert!(told.contains("4093") && told.contains("keep it in a store"), "{told}");
}

#[tokio::test]
async fn without_a_key_sessions_are_read_as_empty_and_writing_says_what_to_do() {
    for keys in [KeyRing::default(), KeyRing::new("").unwrap()] {
        let app = app(ClientInterface::signed(keys));
        let forged = format!("{NAME}=AAAA");
        assert_eq!(get(&app, "/read", Some(&forged)).await.body, "None");
        let told = get(&app, "/try", None).await;
        assert!(told.status == 200 && told.body.contains("KeyRing"), "{told:?}");
        let answer = get(&app, "/permanent", None).await;
        assert_eq!(answer.status, 500);
        assert!(answer.set_cookie.is_empty());
    }
}

#[tokio::test]
async fn owner_and_explicit_saves_work_as_with_a_store() {
    for app in both() {
        let answer = get(&app, "/owner", None).await;
        let held = cookie(NAME, &answer);
        assert_eq!(get(&app, "/whose", Some(&held)).await.body, r#"Some("ada")"#);
        assert_eq!(get(&app, "/read", Some(&held)).await.body, r#"Some("signed in")"#);
    }
}

#[tokio::test]
async fn what_was_signed_and_cannot_be_decoded_is_an_empty_session_and_not_an_error() {
    let json = app(ClientInterface::signed(keys()).with_codecs(Codecs::new(Codec::json())));
    let held = cookie(NAME, &get(&json, "/write", None).await);
    let bincode = app(ClientInterface::signed(keys()));
    let read = get(&bincode, "/read", Some(&held)).await;
    assert_eq!((read.status, read.body.as_str()), (200, "None"));
    let app =
        app(ClientInterface::signed(keys())
            .with_codecs(Codecs::new(Codec::json()).also_reads(Codec::bincode())));
    assert_eq!(get(&app, "/read", Some(&held)).await.body, r#"Some("v")"#);
}
