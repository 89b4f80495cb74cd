//! What is answered is what happened.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use session_core::{ErrorKind, Key, Outcome, Result, Session, SessionManager};
use support::{Fault, HOUR, MINUTE, ada, bench, bench_with, bob, run};

/// What the function of an update may do wrong. `bool`: whether it would be an error of the method, too.
type Wrong = fn(&Session) -> Option<Result<()>>;

const WRONG: [(&str, Wrong); 18] = [
    ("get", |session| Some(session.get::<i64>("n").map(drop))),
    ("insert", |session| Some(session.insert("m", 1))),
    ("update", |session| Some(session.update("n", |n: Option<i64>| n.unwrap_or(0) + 1).map(drop))),
    ("modify", |session| Some(session.modify("m", |m: &mut i64| *m += 1))),
    ("get_or_insert", |session| Some(session.get_or_insert("n", 1).map(drop))),
    ("take", |session| Some(session.take::<i64>("m").map(drop))),
    ("flash", |session| Some(session.flash("info", "again"))),
    ("take_flashes", |session| Some(session.take_flashes().map(drop))),
    ("entries", |session| Some(session.entries().map(drop))),
    ("to_text", |session| Some(session.to_text().map(drop))),
    ("a typed key", |session| Some(Key::<i64>::new("m").insert(session, 1))),
    ("len", |session| (session.len() > 100).then_some(Ok(()))),
    ("contains_key", |session| session.contains_key("absent").then_some(Ok(()))),
    ("remove", |session| session.remove("m").then_some(Ok(()))),
    ("clear", |session| {
        session.clear();
        None
    }),
    ("sign_in", |session| {
        session.sign_in(bob());
        None
    }),
    ("rotate_id", |session| {
        session.rotate_id();
        None
    }),
    ("destroy", |session| {
        session.destroy();
        None
    }),
];

#[tokio::test]
async fn an_update_that_uses_its_own_session_is_an_error_at_once_and_changes_nothing() {
    for (name, wrong) in WRONG {
        let bench = bench();
        let id = bench.signed_in(ada()).await;
        let session = bench.open(&id).await;
        let inside = session.clone();
        let error = session
            .update("n", move |n: Option<i64>| {
                if let Some(result) = wrong(&inside) {
                    assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidInput);
                }
                n.unwrap_or(0) + 1
            })
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}");
        assert!(error.to_string().contains("its own session"), "{name}: {error}");
        let inside = session.clone();
        let modified = session.modify("list", move |list: &mut Vec<i64>| {
            let _ = wrong(&inside);
            list.push(1);
        });
        assert_eq!(modified.unwrap_err().kind(), ErrorKind::InvalidInput, "{name}");
        assert!(!session.is_modified(), "{name}");
        assert_eq!((session.keys(), session.owner()), (vec!["n".to_owned()], Some(ada())), "{name}");
        assert_eq!(bench.commit(&session).await, Outcome::Unchanged, "{name}");
        // It was this update's own fault: the next one is none.
        assert_eq!(session.update("n", |n: Option<i64>| n.unwrap_or(0) + 1).unwrap(), 2, "{name}");
    }
}

#[tokio::test]
async fn an_update_that_uses_its_own_session_only_when_it_is_replayed_is_an_error_of_the_commit() {
    for (name, wrong) in WRONG {
        let bench = bench();
        let id = bench.signed_in(ada()).await;
        let session = bench.open(&id).await;
        let is_armed = Arc::new(AtomicBool::new(false));
        let (inside, armed) = (session.clone(), is_armed.clone());
        session
            .update("n", move |n: Option<i64>| {
                if armed.load(Ordering::SeqCst) {
                    let _ = wrong(&inside);
                }
                n.unwrap_or(0) + 1
            })
            .unwrap();
        bench.request(&id, |other| other.insert("n", 10).unwrap()).await;
        is_armed.store(true, Ordering::SeqCst);
        let error = bench.manager.commit(&session).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}");
        is_armed.store(false, Ordering::SeqCst);
        assert_eq!(bench.commit(&session).await, Outcome::Saved, "{name}");
        assert_eq!((bench.n(&id).await, bench.open(&id).await.owner()), (Some(11), Some(ada())), "{name}");
    }
}

#[tokio::test]
async fn a_commit_from_within_an_update_is_an_error_and_no_deadlock() {
    let bench = bench();
    let session = bench.manager.open(None).await.unwrap();
    let (inside, manager) = (session.clone(), bench.manager.clone());
    let updated = session.update("n", move |n: Option<i64>| {
        let (inside, manager) = (inside.clone(), manager.clone());
        run(async move {
            let _ = inside.insert("m", 1);
            assert_eq!(manager.reload(&inside).await.unwrap_err().kind(), ErrorKind::InvalidInput);
        });
        n.unwrap_or(0) + 1
    });
    assert_eq!(updated.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn another_thread_and_another_session_may_be_used_while_an_update_runs() {
    let (session, other) = (Session::empty(), Session::empty());
    let (elsewhere, inside) = (session.clone(), other.clone());
    let runs = Arc::new(AtomicUsize::new(0));
    let count = runs.clone();
    let n = session.update("n", move |n: Option<i64>| {
        inside.update("seen", |seen: Option<i64>| seen.unwrap_or(0) + 1).unwrap();
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            let elsewhere = elsewhere.clone();
            let write = move || elsewhere.update("n", |n: Option<i64>| n.unwrap_or(0) + 10).unwrap();
            std::thread::spawn(write).join().unwrap();
        }
        n.unwrap_or(0) + 1
    });
    assert_eq!(
        (n.unwrap(), session.get::<i64>("n").unwrap()),
        (11, Some(11)),
        "it runs on what came meanwhile"
    );
    assert_eq!((runs.load(Ordering::SeqCst), other.get::<i64>("seen").unwrap()), (2, Some(2)));
}

#[test]
fn an_update_that_has_another_thread_change_its_session_each_time_ends_with_an_error() {
    let session = Session::empty();
    let (requests, wishes) = std::sync::mpsc::channel::<()>();
    let (done, answers) = std::sync::mpsc::channel::<()>();
    let elsewhere = session.clone();
    let helper = std::thread::spawn(move || {
        while wishes.recv().is_ok() {
            elsewhere.insert("m", 1).unwrap();
            done.send(()).unwrap();
        }
    });
    let (requests, answers) = (Mutex::new(requests), Mutex::new(answers));
    let error = session.update("n", move |n: Option<i64>| {
        requests.lock().unwrap().send(()).unwrap();
        answers.lock().unwrap().recv().unwrap();
        n.unwrap_or(0) + 1
    });
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Contended);
    helper.join().unwrap();
}

#[test]
fn an_error_of_one_threads_update_is_told_to_no_other_thread() {
    let session = Session::empty();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..2_000 {
                let inside = session.clone();
                let wrong = session.update("wrong", move |n: Option<i64>| {
                    let _ = inside.insert("m", 1);
                    n.unwrap_or(0)
                });
                assert!(wrong.is_err());
            }
        });
        scope.spawn(|| {
            for _ in 0..2_000 {
                session.update("n", |n: Option<i64>| n.unwrap_or(0) + 1).unwrap();
            }
        });
    });
    assert_eq!((session.get("n").unwrap(), session.keys()), (Some(2_000), vec!["n".to_owned()]));
}

#[test]
fn an_update_that_panics_leaves_the_session_usable() {
    let session = Session::empty();
    let inside = session.clone();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        session.update("n", move |_: Option<i64>| -> i64 {
            let _ = inside.get::<i64>("n");
            std::panic::resume_unwind(Box::new("no message"))
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(session.update("n", |n: Option<i64>| n.unwrap_or(0) + 1).unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_requests_that_consume_one_value_exactly_one_gets_it() {
    let bench = bench();
    for round in 0..20 {
        let id = bench.stored().await;
        bench.request(&id, |session| session.insert("nonce", "once").unwrap()).await;
        let tasks: Vec<_> = (0..16)
            .map(|task| {
                let (manager, id) = (bench.manager.clone(), id.clone());
                tokio::spawn(async move {
                    let session = manager.open(Some(&id)).await.unwrap();
                    if task % 3 == 0 {
                        session.insert("busy", task).unwrap();
                        let _ = manager.commit(&session).await.unwrap();
                    }
                    manager.consume::<String>(&session, "nonce").await.unwrap()
                })
            })
            .collect();
        let mut got = 0;
        for task in tasks {
            got += usize::from(task.await.unwrap().is_some());
        }
        assert_eq!(got, 1, "round {round}");
        assert!(!bench.open(&id).await.contains_key("nonce"));
    }
}

#[tokio::test]
async fn a_loser_of_a_consumption_gets_none_and_so_does_one_whose_session_is_over() {
    let bench = bench();
    let id = bench.stored().await;
    bench.request(&id, |session| session.insert("nonce", "once").unwrap()).await;
    let (late, revoked) = (bench.open(&id).await, bench.open(&id).await);
    let own = id.clone();
    bench.before("save", async move |manager| {
        let session = manager.open(Some(&own)).await.unwrap();
        let got = manager.consume::<String>(&session, "nonce").await.unwrap();
        assert_eq!(got.as_deref(), Some("once"));
    });
    assert_eq!(bench.manager.consume::<String>(&late, "nonce").await.unwrap(), None);
    let _ = bench.manager.revoke(id.key()).await.unwrap();
    assert_eq!(bench.manager.consume::<String>(&revoked, "nonce").await.unwrap(), None);
    assert!(revoked.is_over());
    bench.store.calls();
    assert_eq!(bench.manager.consume::<String>(&late, "nonce").await.unwrap(), None);
    assert_eq!(bench.store.calls(), [""; 0], "nothing is there to be taken");
}

#[tokio::test]
async fn a_consumed_value_is_the_one_that_was_stored_last() {
    let bench = bench();
    let id = bench.stored().await;
    bench.request(&id, |session| session.insert("nonce", "first").unwrap()).await;
    let slow = bench.open(&id).await;
    bench.request(&id, |session| session.insert("nonce", "second").unwrap()).await;
    assert_eq!(bench.manager.consume::<String>(&slow, "nonce").await.unwrap().as_deref(), Some("second"));
}

#[tokio::test]
async fn a_consumption_whose_answer_was_lost_gives_the_value_to_nobody_a_second_time() {
    let bench = bench();
    let id = bench.stored().await;
    bench.request(&id, |session| session.insert("nonce", "once").unwrap()).await;
    let session = bench.open(&id).await;
    bench.store.fail("save", Fault::AnswerLost);
    assert!(bench.manager.consume::<String>(&session, "nonce").await.is_err());
    assert_eq!(bench.manager.consume::<String>(&session, "nonce").await.unwrap(), None);
    assert_eq!(bench.commit(&session).await, Outcome::Saved);
    let next = bench.open(&id).await;
    assert_eq!(bench.manager.consume::<String>(&next, "nonce").await.unwrap(), None);
}

#[tokio::test]
async fn of_two_defaults_the_one_that_is_committed_first_stays_and_both_can_ask_for_it() {
    let bench = bench();
    let id = bench.stored().await;
    let (first, second) = (bench.open(&id).await, bench.open(&id).await);
    assert_eq!(first.get_or_insert("token", 1).unwrap(), 1);
    assert_eq!(second.get_or_insert("token", 2).unwrap(), 2);
    let _ = bench.commit(&second).await;
    assert_eq!(bench.commit(&first).await, Outcome::Saved);
    for session in [&first, &second] {
        assert_eq!(session.get::<i64>("token").unwrap(), Some(2));
    }
    assert_eq!(bench.open(&id).await.get_or_insert("token", 3).unwrap(), 2);
    assert!(first.get_or_insert("token", "text".to_owned()).is_err());
}

#[tokio::test]
async fn a_handle_whose_session_was_ended_says_so_and_what_it_does_is_an_error() {
    let bench = bench();
    let id = bench.stored().await;
    let session = bench.open(&id).await;
    assert!(bench.manager.revoke(id.key()).await.unwrap());
    session.insert("n", 2).unwrap();
    let error = bench.try_commit(&session).await.into_result().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ended);
    session.insert("n", 3).unwrap();
    assert_eq!(bench.try_commit(&session).await.into_result().unwrap_err().kind(), ErrorKind::Ended);
    assert!(!bench.manager.reload(&session).await.unwrap());
    assert_eq!((bench.records().await, session.id(), session.is_over()), (0, None, true));
}

#[tokio::test]
async fn a_websocket_that_reloads_is_told_whether_its_session_still_is() {
    let bench = bench();
    let id = bench.stored().await;
    let socket = bench.open(&id).await;
    socket.update("n", |n: Option<i64>| n.unwrap_or(0) + 1).unwrap();
    bench.request(&id, |session| session.insert("n", 10).unwrap()).await;
    assert!(bench.manager.reload(&socket).await.unwrap());
    assert_eq!(socket.get::<i64>("n").unwrap(), Some(11), "under the uncommitted change");
    bench.request(&id, Session::rotate_id).await;
    assert!(!bench.manager.reload(&socket).await.unwrap());
    assert!(socket.is_superseded() && socket.is_empty());
    assert!(!bench.manager.reload(&socket).await.unwrap(), "it stays so");

    let own = bench.open(&bench.stored().await).await;
    own.destroy();
    let _ = bench.commit(&own).await;
    assert!(!bench.manager.reload(&own).await.unwrap());
}

#[tokio::test]
async fn after_the_head_has_left_a_new_id_is_an_error_that_says_so_and_an_end_is_none() {
    type Act = fn(&Session);
    let acts: [Act; 5] = [
        Session::rotate_id,
        |session| session.sign_in(ada()),
        |session| session.sign_in(bob()),
        |session| session.set_permanent(true),
        |session| {
            session.regenerate();
            session.insert("n", 2).unwrap();
        },
    ];
    for act in acts {
        let bench = bench();
        let id = bench.signed_in(ada()).await;
        let before = bench.record(id.key()).await;
        let session = bench.open(&id).await;
        session.fix_id();
        act(&session);
        let error = bench.manager.commit(&session).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLate);
        assert!(error.to_string().contains("head of the response"), "{error}");
        assert_eq!((bench.record(id.key()).await, bench.records().await), (before, 1));
        session.destroy();
        assert_eq!(bench.commit(&session).await, Outcome::Destroyed);
        assert!(!bench.opens(&id).await);
    }
    let bench = bench();
    let new = bench.manager.open(None).await.unwrap();
    new.fix_id();
    new.insert("n", 1).unwrap();
    assert_eq!(bench.manager.commit(&new).await.unwrap_err().kind(), ErrorKind::TooLate);
    assert_eq!(bench.records().await, 0, "an orphan");
    let id = bench.stored().await;
    let stored = bench.open(&id).await;
    stored.fix_id();
    stored.insert("n", 2).unwrap();
    assert_eq!((bench.commit(&stored).await, bench.n(&id).await), (Outcome::Saved, Some(2)));
}

#[tokio::test]
async fn a_page_that_only_reads_goes_out_although_the_store_cannot_write() {
    let bench = bench_with(|short| short);
    let id = bench.stored().await;
    bench.clock.advance(9 * MINUTE);
    for fault in [Fault::Refused, Fault::AnswerLost] {
        let session = bench.open(&id).await;
        bench.store.fail("touch", fault);
        let commit = bench.try_commit(&session).await;
        assert_eq!((commit.outcome, commit.expires_at), (Outcome::Unchanged, session.expires_at()));
        assert_eq!(session.get::<i64>("n").unwrap(), Some(1));
    }
    let writing = bench.open(&id).await;
    writing.insert("n", 2).unwrap();
    bench.store.fail("save", Fault::Refused);
    assert!(bench.manager.commit(&writing).await.is_err(), "what claims to be stored is stored");
}

#[tokio::test]
async fn the_failure_of_the_look_after_a_touch_that_met_another_write_loses_no_page() {
    let bench = bench_with(|short| short);
    let id = bench.stored().await;
    let session = bench.open(&id).await;
    bench.request(&id, |other| other.insert("n", 2).unwrap()).await;
    bench.clock.advance(5 * MINUTE);
    bench.store.fail("load", Fault::Refused);
    assert_eq!(bench.commit(&session).await, Outcome::Unchanged);
}

#[tokio::test]
async fn in_an_answer_that_nobody_sees_flashed_messages_stay() {
    let bench = bench();
    let id = bench.stored().await;
    bench.request(&id, |session| session.flash("info", "hello").unwrap()).await;
    let prefetch = bench.open(&id).await;
    prefetch.set_speculative(true);
    assert_eq!(prefetch.take_flashes().unwrap().len(), 1);
    assert!(!prefetch.is_modified());
    assert_eq!(bench.commit(&prefetch).await, Outcome::Unchanged);
    let page = bench.open(&id).await;
    assert_eq!(page.take_flashes().unwrap()[0].message, "hello");
    let _ = bench.commit(&page).await;
    assert!(bench.open(&id).await.take_flashes().unwrap().is_empty());
}

#[tokio::test]
async fn a_store_that_needs_to_be_prepared_is_prepared_at_first_use_whatever_that_is() {
    type Use = fn(SessionManager, session_core::SessionId) -> std::pin::Pin<Box<dyn Future<Output = bool>>>;
    let uses: [(&str, Use); 7] = [
        ("open", |manager, id| Box::pin(async move { manager.open(Some(&id)).await.is_ok() })),
        ("commit", |manager, _| {
            Box::pin(async move {
                let session = manager.open(None).await.unwrap();
                session.insert("n", 1).unwrap();
                manager.commit(&session).await.is_ok()
            })
        }),
        ("list", |manager, _| Box::pin(async move { manager.sessions(None, 1).await.is_ok() })),
        ("revoke", |manager, id| Box::pin(async move { manager.revoke(id.key()).await.is_ok() })),
        ("revoke_of", |manager, id| {
            Box::pin(async move { manager.revoke_of(&ada(), id.key()).await.is_ok() })
        }),
        ("revoke_all_of", |manager, _| Box::pin(async move { manager.revoke_all_of(&ada()).await.is_ok() })),
        ("change", |manager, id| Box::pin(async move { manager.change(id.key(), |_| Ok(())).await.is_ok() })),
    ];
    for (name, first_use) in uses {
        let bench = bench();
        bench.store.need_prepare();
        let id = session_core::SessionId::generate().unwrap();
        assert!(first_use(bench.other(), id.clone()).await, "{name}");
        assert_eq!(bench.store.setups(), ["prepare", "now"], "{name}");
    }
    let bench = bench();
    bench.manager.prepare().await.unwrap();
    assert_eq!(bench.store.setups(), ["prepare", "now"]);
    let id = bench.stored().await;
    assert!(bench.opens(&id).await);
    assert_eq!(bench.store.setups(), [""; 0], "once");
    let wrong = bench.manager.clone().with_policy(session_core::Policy::default().with_max_attempts(0));
    assert_eq!(wrong.open(Some(&id)).await.unwrap_err().kind(), ErrorKind::InvalidConfig);
    bench.clock.advance(HOUR);
}

#[tokio::test]
async fn a_one_time_value_that_is_all_there_is_goes_to_one_of_two_requests() {
    let bench = bench();
    let first = bench.manager.open(None).await.unwrap();
    first.insert("voucher", 7).unwrap();
    let _ = bench.manager.commit(&first).await.unwrap();
    let id = first.id().unwrap();
    let one = bench.manager.open(Some(&id)).await.unwrap();
    let other = bench.manager.open(Some(&id)).await.unwrap();
    assert_eq!(bench.manager.consume::<u8>(&one, "voucher").await.unwrap(), Some(7));
    assert_eq!(bench.manager.consume::<u8>(&other, "voucher").await.unwrap(), None);
}
