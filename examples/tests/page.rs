//! The page, driven without a socket: what it promises to its users.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy does not take the helpers of a test for tests"
)]

mod common;

use common::{Browser, app, sessions};

#[tokio::test]
async fn visits_of_one_browser_at_once_are_counted_once_each() {
    let sessions = sessions();
    let app = app(&sessions);
    let mut browser = Browser::new(&app);
    browser.get("/").await;
    let visits: Vec<_> = (0..40)
        .map(|_| {
            let browser = browser.clone();
            tokio::spawn(async move { browser.clone().get("/").await.visits() })
        })
        .collect();
    let mut numbers = Vec::new();
    for visit in visits {
        numbers.push(visit.await.unwrap());
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (2..=41).collect::<Vec<u64>>(), "each visitor sees a number of its own");
}

#[tokio::test]
async fn signing_in_changes_the_id_and_keeps_the_session() {
    let sessions = sessions();
    let app = app(&sessions);
    let mut browser = Browser::new(&app);
    browser.get("/").await;
    let before = browser.clone();
    browser.sign_in("Ada <Lovelace>").await;
    assert_ne!(browser.cookie, before.cookie);
    let page = browser.get("/").await;
    assert_eq!(page.visits(), 4);
    assert!(page.body.contains("Ada &lt;Lovelace&gt;") && !page.body.contains("<Lovelace>"), "{}", page.body);
    // Whoever has the old id, another tab or a thief, is told to look again, and nothing begins under it.
    let answer = before.clone().get("/").await;
    assert_eq!((answer.status, &answer.headers["refresh"]), (409, &"1".parse().unwrap()));
    assert!(
        !answer.body.contains("Lovelace") && answer.headers.get("set-cookie").is_none(),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn a_form_without_the_sessions_token_changes_nothing() {
    let sessions = sessions();
    let app = app(&sessions);
    let (mut browser, mut other) = (Browser::new(&app), Browser::new(&app));
    let foreign = other.get("/").await.token();
    browser.get("/").await;
    for token in ["", "forged", &foreign] {
        let answer = browser.post("/sign-in", &[("name", "ada"), ("csrf", token)]).await;
        assert_eq!(answer.status, 403, "{token:?}");
    }
    assert!(browser.get("/").await.body.contains("Not signed in"));
    browser.sign_in("ada").await;
    for path in ["/sign-out", "/sign-out-elsewhere", "/devices/x/revoke"] {
        assert_eq!(browser.post(path, &[("csrf", &foreign)]).await.status, 403, "{path}");
        assert_eq!(browser.post(path, &[]).await.status, 422, "{path}: a form with no token");
    }
    assert!(browser.get("/").await.body.contains("id=\"owner\">ada<"));
}

#[tokio::test]
async fn a_sign_in_form_that_is_sent_twice_signs_in_from_this_page_only() {
    let sessions = sessions();
    let app = app(&sessions);
    let mut browser = Browser::new(&app);
    let token = browser.get("/").await.token();
    let form = [("name", "ada"), ("csrf", token.as_str())];
    let mut second = browser.clone();
    assert_eq!(browser.post("/sign-in", &form).await.status, 303);
    // The same form again, by a browser that did not wait for the answer.
    for site in ["", "cross-site", "same-site", "none"] {
        assert_eq!(second.clone().post_from(site, "/sign-in", &form).await.status, 403, "{site:?}");
    }
    assert_eq!(second.post_from("same-origin", "/sign-in", &form).await.status, 303);
    assert_ne!(second.cookie, browser.cookie);
    for browser in [&mut browser, &mut second] {
        assert!(browser.get("/").await.body.contains("id=\"owner\">ada<"), "whichever answer comes last");
    }
}

#[tokio::test]
async fn a_token_from_before_the_sign_in_is_worthless_after_it() {
    let sessions = sessions();
    let app = app(&sessions);
    let mut browser = Browser::new(&app);
    let old = browser.get("/").await.token();
    browser.sign_in("ada").await;
    assert_eq!(browser.post("/sign-out", &[("csrf", &old)]).await.status, 403);
}

#[tokio::test]
async fn revoking_a_device_signs_it_out_and_no_other() {
    let sessions = sessions();
    let app = app(&sessions);
    let (mut laptop, mut phone) = (Browser::new(&app), Browser::new(&app));
    laptop.sign_in("ada").await;
    phone.sign_in("ada").await;
    let page = laptop.get("/").await;
    assert_eq!(page.devices().len(), 2, "{}", page.body);
    let this = page.key();
    let other = page.devices().into_iter().find(|key| *key != this).unwrap();
    let token = page.token();
    laptop.post(&format!("/devices/{other}/revoke"), &[("csrf", &token)]).await;
    assert!(phone.get("/").await.body.contains("Not signed in"));
    let page = laptop.get("/").await;
    assert_eq!(page.devices(), [this]);
    assert!(page.body.contains("was signed out."));
}

#[tokio::test]
async fn nobody_revokes_a_device_of_another_owner() {
    let sessions = sessions();
    let app = app(&sessions);
    let (mut ada, mut mallory) = (Browser::new(&app), Browser::new(&app));
    ada.sign_in("ada").await;
    mallory.sign_in("mallory").await;
    let target = ada.get("/").await.key();
    let token = mallory.get("/").await.token();
    for key in [target.as_str(), "not-a-key", "%2e%2e"] {
        mallory.post(&format!("/devices/{key}/revoke"), &[("csrf", &token)]).await;
    }
    assert!(ada.get("/").await.body.contains("id=\"owner\">ada<"));
    assert_eq!(mallory.get("/").await.body.matches("not signed in any more").count(), 3);
}

#[tokio::test]
async fn signing_out_everywhere_else_keeps_this_device() {
    let sessions = sessions();
    let app = app(&sessions);
    let mut devices = [Browser::new(&app), Browser::new(&app), Browser::new(&app)];
    for device in &mut devices {
        device.sign_in("ada").await;
    }
    let [this, others @ ..] = &mut devices;
    let token = this.get("/").await.token();
    this.post("/sign-out-elsewhere", &[("csrf", &token)]).await;
    for other in others {
        assert!(other.get("/").await.body.contains("Not signed in"));
    }
    let page = this.get("/").await;
    assert!(
        page.body.contains("2 other devices were signed out") && page.devices().len() == 1,
        "{}",
        page.body
    );
    assert!(!this.get("/").await.body.contains("2 other devices"), "the message came twice");
}

#[tokio::test]
async fn signing_out_ends_the_session_at_the_server() {
    let sessions = sessions();
    let app = app(&sessions);
    let mut browser = Browser::new(&app);
    browser.sign_in("ada").await;
    let kept = browser.clone();
    let token = browser.get("/").await.token();
    browser.post("/sign-out", &[("csrf", &token)]).await;
    assert!(kept.clone().get("/").await.body.contains("Not signed in"), "the old cookie still works");
    let page = browser.get("/").await;
    assert!(page.body.contains("You are signed out.") && page.visits() == 1, "{}", page.body);
}

#[tokio::test]
async fn the_tutorials_routes_answer_beside_the_page() {
    let sessions = sessions();
    let app = app(&sessions);
    let mut browser = Browser::new(&app);
    assert_eq!(browser.get("/get").await.body, "Not set");
    assert_eq!(browser.get("/set").await.body, "Session set");
    assert_eq!(browser.get("/get").await.body, "value");
    assert_eq!(browser.get("/login").await.body, "Logged in successfully");
    assert_eq!(
        browser.get("/get_user_data").await.body,
        "<SecureCookieSession {'email': 'john.doe@example.com', 'key': 'value', 'username': 'john_doe'}>"
    );
    assert!(browser.get("/").await.body.contains("Not signed in"));
}

#[tokio::test]
async fn pages_that_show_a_session_are_kept_by_no_cache() {
    let sessions = sessions();
    let app = app(&sessions);
    let page = Browser::new(&app).get("/").await;
    assert_eq!(page.headers["cache-control"], "no-store");
    assert!(page.headers["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
    let style = Browser::new(&app).get("/style.css").await;
    assert!(style.headers.get("set-cookie").is_none() && style.headers.get("vary").is_none());
}
