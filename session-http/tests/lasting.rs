//! How long browsers keep the cookie, and when it is sent again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy does not take the helpers of a test for tests"
)]

mod common;

use axum::http::Method;
use axum::http::header::CACHE_CONTROL;
use common::Stage;
use common::browser::{ALL, Browser, DAY, Told, Way, acts, app};
use session_core::{Lifetime, Policy};
use session_http::{CookieConfig, Persistence, SessionLayer, StoreInterface};

const PLAIN: &[&str] = &["Path=/", "HttpOnly", "Secure", "SameSite=Lax"];

fn with(stage: &Stage, change: impl FnOnce(StoreInterface) -> StoreInterface) -> Browser {
    let interface = change(StoreInterface::new(stage.manager.clone()));
    Browser::new(acts().0.layer(SessionLayer::with_interface(interface)), Way::Store)
}

#[tokio::test]
async fn with_refresh_each_request_a_permanent_session_is_sent_again_when_it_is_used() {
    let stage = Stage::new();
    let mut browser = with(&stage, |interface| interface.with_refresh_each_request(true));
    browser.post("/write").await;
    assert_eq!(
        browser.told(&browser.send(Method::GET, "/read").await),
        Told::Nothing,
        "it ends with the browser"
    );
    browser.post("/permanent").await;
    let held = browser.held.clone();
    stage.advance(DAY / 2);
    let answer = browser.get("/read").await;
    assert_eq!(browser.held, held, "the id changed without need");
    let until = ["Max-Age=2548800", "Expires=Tue, 06 Dec 1994 08:49:37 GMT"];
    assert_eq!(answer.attributes(), [&until[..], PLAIN].concat());
    assert_eq!(answer.headers[CACHE_CONTROL], "no-store", "a cache would hand the id to others");
    assert!(browser.get("/unused").await.is_untouched());
}

/// Why it is off by default.
#[tokio::test]
async fn with_refresh_each_request_an_answer_that_comes_late_puts_an_old_id_back() {
    for (refreshes, wanted) in [(true, "-"), (false, "v")] {
        let stage = Stage::new();
        let mut browser = with(&stage, |interface| interface.with_refresh_each_request(refreshes));
        browser.post("/write/permanent").await;
        let slow = browser.send(Method::GET, "/read").await;
        browser.post("/rotate").await;
        browser.take(&slow);
        assert_eq!(browser.get("/read").await.body, wanted, "refreshes: {refreshes}");
    }
}

#[tokio::test]
async fn a_permanent_cookie_lasts_as_long_as_its_session_can_and_as_browsers_allow() {
    let longest = Lifetime { idle_timeout: 30 * DAY, absolute: Some(90 * DAY) };
    for (absolute, path, days) in [
        (Some(3 * DAY), "/permanent", 3),
        (None, "/permanent", 400),
        (Some(500 * DAY), "/permanent", 400),
        (Some(3 * DAY), "/remember", 90),
        (Some(3 * DAY), "/sign-in=ada/remember", 90),
    ] {
        let policy = Policy::default().with_absolute_lifetime(absolute);
        let policy = if path.ends_with("/remember") { policy.with_longest_lifetime(longest) } else { policy };
        let stage = Stage::with_policy(policy);
        let (mut browser, _) = app(Way::Store, &stage);
        let answer = browser.post(path).await;
        assert_eq!(answer.attributes()[0], format!("Max-Age={}", days * 86_400), "{absolute:?} {path}");
        assert!(browser.get("/write").await.set_cookie.is_empty());
    }
}

#[tokio::test]
async fn a_permanent_cookie_that_is_sent_later_lasts_until_the_same_end() {
    let stage = Stage::with_policy(Policy::default().with_absolute_lifetime(Some(3 * DAY)));
    let (mut browser, _) = app(Way::Store, &stage);
    browser.post("/permanent").await;
    stage.advance(DAY / 2);
    assert_eq!(browser.post("/rotate").await.attributes()[0], "Max-Age=216000");
    assert_eq!(browser.post("/sign-in=ada").await.attributes()[0], "Max-Age=259200", "it starts anew");
    // The server holds the idle timeout.
    stage.advance(DAY + DAY / 2);
    assert_eq!(browser.get("/owner").await.body, "nobody");
}

#[tokio::test]
async fn to_remember_somebody_takes_one_request_and_the_server_holds_both_limits() {
    let longest = Lifetime { idle_timeout: 30 * DAY, absolute: Some(90 * DAY) };
    let policy = Policy::low_risk().with_longest_lifetime(longest);
    for &way in ALL {
        let stage = Stage::with_policy(policy.clone());
        let (mut browser, _) = app(way, &stage);
        browser.post("/sign-in=ada/remember").await;
        let mut forgotten = Browser::new(browser.app.clone(), way);
        forgotten.post("/sign-in=ada").await;
        stage.advance(29 * DAY);
        assert_eq!(forgotten.get("/owner").await.body, "nobody", "{way:?}");
        assert_eq!(browser.get("/owner").await.body, "ada", "{way:?}");
        stage.advance(29 * DAY);
        assert_eq!(browser.get("/owner").await.body, "ada", "{way:?}: its use was not noted");
        stage.advance(31 * DAY);
        assert_eq!(browser.get("/owner").await.body, "nobody", "{way:?}: idle for longer than it asked for");
    }
}

#[tokio::test]
async fn a_permanent_session_can_become_one_of_the_browser_again() {
    for &way in ALL.iter().filter(|way| **way != Way::Own) {
        let stage = Stage::new();
        let (mut browser, _) = app(way, &stage);
        assert!(browser.post("/permanent").await.attributes()[0].starts_with("Max-Age="));
        assert_eq!(browser.post("/permanent=off").await.attributes(), PLAIN, "{way:?}");
        assert!(browser.held.is_some(), "a session that holds only `_permanent` is not empty");
    }
}

#[tokio::test]
async fn whether_the_browser_keeps_the_cookie_can_be_settled_for_all_sessions() {
    for (persistence, path, lasts) in
        [(Persistence::Always, "/write", true), (Persistence::Never, "/permanent", false)]
    {
        let stage = Stage::new();
        let config = CookieConfig::default().with_persistence(persistence);
        let mut browser = with(&stage, |interface| interface.with_cookie(&config).unwrap());
        let first = browser.post(path).await;
        assert_eq!(first.attributes()[0].starts_with("Max-Age="), lasts, "{first:?}");
        assert!(browser.get("/read").await.set_cookie.is_empty(), "{persistence:?}");
    }
}
