//! What becomes of the browser's cookie, and of its session, when requests change ids beside each other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy does not take the helpers of a test for tests"
)]

mod common;

use std::time::Duration;

use axum::http::Method;
use common::Stage;
use common::browser::{ALL, STORED, Told, app, app_with};
use session_core::{Owner, Policy};

const HOUR: Duration = Duration::from_secs(3600);

fn ada() -> Owner {
    "ada".parse().unwrap()
}

fn renewing() -> Policy {
    Policy::default().with_renewal_after(Some(HOUR)).with_renewal_grace(Duration::from_secs(30))
}

/// A1.
#[tokio::test]
async fn a_slow_read_beside_a_change_of_id_leaves_the_new_cookie_alone() {
    for way in STORED {
        for change in ["/rotate", "/sign-in=ada", "/regenerate/write"] {
            let stage = Stage::new();
            let (mut browser, gate) = app(way, &stage);
            browser.post("/write/permanent").await;
            let slow = browser.start(Method::GET, "/read/hold");
            gate.reached(1).await;
            browser.post(change).await;
            gate.release(1);
            let late = slow.await.unwrap();
            assert_eq!(browser.told(&late), Told::Nothing, "{way:?} {change}");
            assert_eq!(browser.get("/read").await.body, "v", "{way:?} {change}: signed out by a slow page");
        }
    }
}

/// A2.
#[tokio::test]
async fn a_slow_write_or_touch_beside_a_change_of_id_does_not_remove_the_new_cookie() {
    for way in STORED {
        for (method, slow, status) in [
            (Method::GET, "/hold/write=late", 200),
            (Method::POST, "/hold/write=late", 409),
            (Method::GET, "/read/hold", 200),
        ] {
            let stage = Stage::new();
            let (mut browser, gate) = app(way, &stage);
            browser.post("/write").await;
            stage.advance(12 * HOUR);
            let slow = browser.start(method, slow);
            gate.reached(1).await;
            browser.post("/rotate").await;
            gate.release(1);
            let late = slow.await.unwrap();
            assert_eq!((late.status, browser.told(&late)), (status, Told::Nothing), "{way:?}");
            assert_eq!(
                browser.get("/read").await.body,
                "v",
                "{way:?}: old authority wrote into new authority"
            );
        }
    }
}

/// A2, when it was ended and not changed.
#[tokio::test]
async fn a_session_that_others_end_meanwhile_stays_ended_and_its_cookie_is_left_alone() {
    for way in STORED {
        for (method, slow, status) in [
            (Method::GET, "/hold/write=late", 200),
            (Method::POST, "/hold/write=late", 409),
            (Method::GET, "/read/hold", 200),
        ] {
            let stage = Stage::new();
            let (mut browser, gate) = app(way, &stage);
            browser.post("/write/sign-in=ada").await;
            stage.advance(12 * HOUR);
            let slow = browser.start(method, slow);
            gate.reached(1).await;
            assert_eq!(stage.manager.revoke_all_of(&ada()).await.unwrap(), 1);
            gate.release(1);
            let late = slow.await.unwrap();
            assert_eq!((late.status, browser.told(&late)), (status, Told::Nothing), "{way:?}");
            assert_eq!(stage.store.live().await, 0, "{way:?}: a late write revived the session");
        }
    }
}

/// A3.
#[tokio::test]
async fn a_login_form_that_is_sent_twice_signs_in_whichever_answer_comes_last() {
    for way in STORED {
        for last in [0, 1] {
            let stage = Stage::new();
            let (mut browser, gate) = app(way, &stage);
            browser.post("/write=basket").await;
            let forms = [(); 2].map(|()| browser.start(Method::POST, "/read/hold/sign-in=ada"));
            gate.reached(2).await;
            gate.release(2);
            let mut answers = Vec::new();
            for form in forms {
                answers.push(form.await.unwrap());
            }
            if last == 0 {
                answers.reverse();
            }
            for answer in &answers {
                assert_eq!(answer.status, 200, "{way:?}");
                assert!(matches!(browser.told(answer), Told::Set(_)), "{way:?}: {answer:?}");
                browser.take(answer);
            }
            assert_eq!(
                browser.get("/owner").await.body,
                "ada",
                "{way:?}: the sign-in was dropped in silence"
            );
        }
    }
}

/// A4.
#[tokio::test]
async fn a_sign_out_ends_the_session_although_its_id_was_changed_meanwhile() {
    for way in STORED {
        for change in ["/rotate", "/sign-in=ada"] {
            let stage = Stage::new();
            let (mut browser, gate) = app(way, &stage);
            browser.post("/write/sign-in=ada").await;
            let out = browser.start(Method::POST, "/read/hold/sign-out");
            gate.reached(1).await;
            browser.post(change).await;
            gate.release(1);
            let out = out.await.unwrap();
            assert_eq!((out.status, browser.told(&out)), (200, Told::Removed), "{way:?}");
            assert_eq!(browser.get("/owner").await.body, "nobody", "{way:?}: the sign-out was lost");
            assert_eq!(stage.store.live().await, 0, "{way:?}");
        }
    }
}

/// A5.
#[tokio::test]
async fn a_listed_key_revokes_the_session_although_its_id_was_changed_since() {
    for way in STORED {
        for change in ["/read", "/rotate", "/sign-in=ada"] {
            let stage = Stage::with_policy(renewing());
            let (mut browser, _) = app(way, &stage);
            browser.post("/sign-in=ada/write").await;
            let listed = stage.manager.sessions_of(&ada()).await.unwrap()[0].key();
            stage.advance(HOUR);
            let changed = browser.get(change).await;
            assert!(matches!(browser.told(&changed), Told::Set(_)), "{way:?} {change}: no new id");
            assert!(stage.manager.revoke_of(&ada(), listed).await.unwrap(), "{way:?} {change}");
            assert_eq!(browser.get("/owner").await.body, "nobody", "{way:?} {change}: revoked, and lives");
        }
    }
}

/// A7.
#[tokio::test]
async fn a_new_id_that_was_saved_reaches_the_client_also_with_an_error() {
    for &way in ALL {
        for (path, owner) in [
            ("/rotate/save/status=500", "nobody"),
            ("/sign-in=ada/save/status=503", "ada"),
            ("/write/rotate/save/status=408", "nobody"),
        ] {
            let stage = Stage::new();
            let (mut browser, _) = app(way, &stage);
            browser.post("/write").await;
            let answer = browser.post(path).await;
            assert!(
                answer.status >= 400 && matches!(browser.told(&answer), Told::Set(_)),
                "{way:?} {path}: {answer:?}"
            );
            assert_eq!(
                browser.get("/read/owner").await.body,
                format!("v {owner}"),
                "{way:?} {path}: signed out"
            );
        }
        let stage = Stage::new();
        let (mut browser, _) = app(way, &stage);
        browser.post("/write/save/status=500").await;
        assert_eq!(browser.get("/read").await.body, "v", "{way:?}: a session that nobody can open");
        for path in ["/rotate/status=500", "/sign-in=ada/status=500", "/sign-out/status=500"] {
            let answer = browser.post(path).await;
            assert_eq!(browser.told(&answer), Told::Nothing, "{way:?} {path}: what was not saved was told");
        }
        assert_eq!(browser.get("/read/owner").await.body, "v nobody", "{way:?}");
    }
}

/// A8.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_requests_at_once_one_consumes_the_value() {
    for way in STORED {
        let stage = Stage::new();
        let (mut browser, gate) = app(way, &stage);
        browser.post("/write=voucher/count").await;
        let requests: Vec<_> = (0..16).map(|_| browser.start(Method::POST, "/read/hold/consume")).collect();
        gate.reached(16).await;
        gate.release(16);
        let mut bodies = Vec::new();
        for request in requests {
            let answer = request.await.unwrap();
            assert_eq!(answer.status, 200);
            bodies.push(answer.body);
        }
        let winners = bodies.iter().filter(|body| *body == "voucher voucher").count();
        let losers = bodies.iter().filter(|body| *body == "voucher -").count();
        assert_eq!((winners, losers), (1, 15), "{way:?}: {bodies:?}");
        assert_eq!(browser.get("/read").await.body, "-");
    }
}

#[tokio::test]
async fn a_consume_that_finds_the_session_over_does_not_hide_what_else_was_dropped() {
    for (method, status) in [(Method::POST, 409), (Method::GET, 200)] {
        let stage = Stage::new();
        let (mut browser, gate) = app(common::browser::Way::Store, &stage);
        browser.post("/write=voucher").await;
        let slow = browser.start(method, "/hold/count/consume");
        gate.reached(1).await;
        browser.post("/rotate").await;
        gate.release(1);
        assert_eq!(
            slow.await.unwrap().status,
            status,
            "the count was dropped, and the client told of success"
        );
    }
}

/// B1.
#[tokio::test]
async fn a_save_of_a_session_that_is_over_is_an_error_and_the_handle_stays_so() {
    for way in STORED {
        for (others, kind) in [("revoke", "Ended"), ("rotate", "Superseded")] {
            let stage = Stage::new();
            let (mut browser, gate) = app(way, &stage);
            browser.post("/write/sign-in=ada").await;
            let slow = browser
                .start(Method::POST, "/hold/write=late/try-save/reload/read/write=again/try-save/owner");
            gate.reached(1).await;
            if others == "revoke" {
                stage.manager.revoke_all_of(&ada()).await.unwrap();
            } else {
                browser.post("/rotate").await;
            }
            let live = stage.store.live().await;
            gate.release(1);
            let late = slow.await.unwrap();
            assert_eq!(late.body, format!("{kind} false - {kind} nobody"), "{way:?}");
            assert_eq!(browser.told(&late), Told::Nothing, "{way:?}");
            assert_eq!(stage.store.live().await, live, "{way:?}: the handle began a session of nobody");
        }
    }
}

#[tokio::test]
async fn changes_that_were_dropped_are_409_for_unsafe_methods_unless_that_is_off() {
    let unsafe_methods = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    for way in STORED {
        for (refuses, path, wanted) in [(true, "/write", 409), (true, "/read", 200), (false, "/write", 200)] {
            let stage = Stage::new();
            let (mut browser, _) =
                app_with(way, &stage, |layer| layer.with_error_on_dropped_changes(refuses));
            browser.post("/write").await;
            let old = browser.clone();
            browser.post("/rotate").await;
            for method in &unsafe_methods {
                let answer = old.send(method.clone(), path).await;
                assert_eq!(
                    (answer.status, old.told(&answer)),
                    (wanted, Told::Nothing),
                    "{way:?} {method} {path}"
                );
            }
            for method in [Method::GET, Method::OPTIONS] {
                let answer = old.send(method.clone(), path).await;
                assert_eq!(
                    (answer.status, old.told(&answer)),
                    (200, Told::Nothing),
                    "{way:?} {method} {path}"
                );
            }
            assert_eq!(stage.store.live().await, 1, "{way:?}: a superseded id began a session");
            assert_eq!(browser.get("/read").await.body, "v", "{way:?}");
        }
    }
}

#[tokio::test]
async fn a_sign_out_under_a_superseded_id_ends_nothing_and_says_so() {
    for way in STORED {
        let stage = Stage::new();
        let (mut browser, _) = app(way, &stage);
        browser.post("/write").await;
        let old = browser.clone();
        browser.post("/rotate").await;
        for method in [Method::GET, Method::POST] {
            let answer = old.send(method, "/sign-out").await;
            assert_eq!((answer.status, old.told(&answer)), (409, Told::Nothing), "{way:?}");
        }
        assert_eq!(browser.get("/read").await.body, "v", "{way:?}");
    }
}

#[tokio::test]
async fn signing_in_works_under_an_id_that_is_superseded_or_over() {
    for way in STORED {
        for gone in ["superseded", "revoked"] {
            let stage = Stage::new();
            let (mut browser, _) = app(way, &stage);
            browser.post("/write/sign-in=ada").await;
            let mut old = browser.clone();
            if gone == "revoked" {
                stage.manager.revoke_all_of(&ada()).await.unwrap();
            } else {
                browser.post("/rotate").await;
            }
            let answer = old.post("/sign-in=bob").await;
            assert_eq!(answer.status, 200, "{way:?} {gone}");
            assert_eq!(old.get("/read/owner").await.body, "- bob", "{way:?} {gone}");
        }
    }
}

#[tokio::test]
async fn another_owner_in_the_same_browser_gets_nothing_of_the_one_before() {
    for &way in ALL {
        let stage = Stage::new();
        let (mut browser, _) = app(way, &stage);
        browser.post("/write=secret/sign-in=ada").await;
        assert_eq!(browser.get("/read/owner").await.body, "secret ada", "{way:?}: the basket was lost");
        let ada = browser.clone();
        assert_eq!(browser.post("/sign-in=bob/read/owner").await.body, "- bob", "{way:?}");
        assert_eq!(browser.get("/read/owner").await.body, "- bob", "{way:?}");
        if STORED.contains(&way) {
            assert_eq!(ada.clone().get("/read/owner").await.body, "- nobody", "{way:?}: hers is still open");
            assert_eq!(ada.clone().post("/write").await.status, 409, "{way:?}");
        }
    }
}

#[tokio::test]
async fn a_renewal_hands_the_same_successor_to_every_answer_until_it_was_shown() {
    for way in STORED {
        let stage = Stage::with_policy(renewing());
        let (mut browser, _) = app(way, &stage);
        browser.post("/write").await;
        stage.advance(HOUR);
        let mut old = browser.clone();
        let Told::Set(new) = browser.told(&old.send(Method::GET, "/unused").await) else {
            panic!("not renewed")
        };
        // Answers may get lost, and overtake each other.
        for path in ["/read", "/unused", "/write=w", "/read"] {
            let answer = old.send(Method::POST, path).await;
            assert_eq!(old.told(&answer), Told::Set(new.clone()), "{way:?} {path}: another successor");
            assert_eq!(answer.headers["cache-control"], "no-store");
        }
        browser.held = Some(new.clone());
        assert_eq!(browser.get("/read").await.body, "w", "{way:?}");
        assert_eq!(browser.held, Some(new), "{way:?}: the client has it already");
        // Requests that left the browser before the answer came.
        stage.advance(Duration::from_secs(29));
        let answer = old.get("/read").await;
        assert_eq!((answer.body.as_str(), old.told(&answer)), ("w", Told::Nothing), "{way:?}");
        stage.advance(Duration::from_secs(2));
        let answer = old.get("/read").await;
        assert_eq!(
            (answer.body.as_str(), old.told(&answer)),
            ("-", Told::Nothing),
            "{way:?}: it outlived its grace"
        );
        assert_eq!(browser.get("/read").await.body, "w", "{way:?}");
    }
}

#[tokio::test]
async fn after_a_change_of_privilege_the_old_id_has_no_grace() {
    for way in STORED {
        for change in ["/rotate", "/sign-in=ada", "/permanent", "/regenerate/write"] {
            let stage = Stage::with_policy(renewing());
            let (mut browser, _) = app(way, &stage);
            browser.post("/write").await;
            let mut old = browser.clone();
            browser.post(change).await;
            assert_eq!(old.get("/read").await.body, "-", "{way:?} {change}");
            assert_eq!(browser.get("/read").await.body, "v", "{way:?} {change}");
        }
    }
}
