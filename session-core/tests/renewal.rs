//! Renewal by age: answers may get lost or overtake each other (`[I3]`).
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::time::Duration;

use session_core::{Codecs, Outcome, Session, SessionId, Value};
use support::{Bench, Fault, HOUR, MINUTE, ada, bench_with, run};

const GRACE: Duration = Duration::from_secs(30);
const MILLI: Duration = Duration::from_millis(1);

fn renewing() -> Bench {
    bench_with(|short| {
        short.with_idle_timeout(HOUR).with_absolute_lifetime(None).with_renewal_after(Some(5 * MINUTE))
    })
}

/// A session whose renewal has just begun: the id before, and the one that was handed out.
async fn renewed(bench: &Bench) -> (SessionId, SessionId) {
    let old = bench.stored().await;
    bench.clock.advance(5 * MINUTE);
    let (session, outcome) = bench.request(&old, |_| ()).await;
    assert_eq!((outcome, session.status().id_is_new), (Outcome::Rotated, true));
    bench.store.calls();
    (old, session.id().unwrap())
}

/// The first byte says the version, the second what follows (docs/format.md).
async fn flags(bench: &Bench, id: &SessionId) -> u8 {
    let record = bench.record(id.key()).await.unwrap();
    let entries = Codecs::default().decode_entries(id.key(), &record.payload).unwrap();
    let Value::Bytes(identity) = &entries["_session.id"] else { unreachable!("{entries:?}") };
    identity[1]
}

#[tokio::test]
async fn no_id_is_renewed_before_its_age() {
    let bench = renewing();
    let id = bench.stored().await;
    bench.clock.advance(5 * MINUTE - MILLI);
    let (session, _) = bench.request(&id, |session| session.insert("n", 2).unwrap()).await;
    assert_eq!((session.id(), session.status().id_is_new), (Some(id), false));
}

#[tokio::test]
async fn every_answer_hands_out_the_same_successor_until_it_is_shown() {
    let bench = renewing();
    let (old, new) = renewed(&bench).await;
    assert_eq!((old.key(), bench.records().await), (new.key(), 1));
    let acts: [fn(&Session); 3] =
        [|_| (), |session| session.insert("n", 2).unwrap(), |session| session.set_counts_as_use(false)];
    for act in acts {
        for manager in [bench.manager.clone(), bench.other()] {
            bench.clock.advance(MINUTE);
            let session = manager.open(Some(&old)).await.unwrap();
            act(&session);
            let _ = manager.commit(&session).await.unwrap();
            assert_eq!((session.id().as_ref(), session.status().id_is_new), (Some(&new), true));
        }
    }
    assert_eq!(bench.n(&new).await, Some(2), "the successor opens the same session");
}

#[tokio::test]
async fn a_renewal_that_is_due_in_a_save_is_part_of_it() {
    let bench = renewing();
    let old = bench.stored().await;
    bench.clock.advance(5 * MINUTE);
    let (session, outcome) = bench.request(&old, |session| session.insert("n", 2).unwrap()).await;
    assert_eq!((outcome, bench.store.calls()), (Outcome::Rotated, vec!["load", "save"]));
    assert!(session.status().id_is_new);
    assert_eq!(bench.n(&session.id().unwrap()).await, Some(2));
    assert_eq!(bench.n(&old).await, Some(2));
}

#[tokio::test]
async fn requests_that_begin_a_renewal_at_once_hand_out_one_successor() {
    let bench = renewing();
    let old = bench.stored().await;
    bench.clock.advance(5 * MINUTE);
    let sessions = [bench.open(&old).await, bench.open(&old).await, bench.open(&old).await];
    sessions[1].insert("m", 1).unwrap();
    let id = old.clone();
    bench.during("save", async move |manager| {
        let last = manager.open(Some(&id)).await.unwrap();
        let _ = manager.commit(&last).await.unwrap();
    });
    for session in &sessions {
        let _ = bench.commit(session).await;
        assert!(session.status().id_is_new);
        assert_eq!(session.id(), sessions[0].id());
        assert_ne!(session.id().as_ref(), Some(&old));
    }
    assert_eq!(bench.open(&old).await.keys(), ["m", "n"], "and nobody's change is lost");
}

#[tokio::test]
async fn a_renewal_whose_answer_never_comes_to_the_client_is_handed_out_again() {
    let bench = renewing();
    let old = bench.stored().await;
    bench.clock.advance(5 * MINUTE);
    bench.store.fail("save", Fault::AnswerLost);
    let (session, outcome) = bench.request(&old, |_| ()).await;
    assert_eq!((outcome, session.status().id_is_new), (Outcome::Unchanged, false), "the page goes out");
    let (session, _) = bench.request(&old, |_| ()).await;
    assert!(session.status().id_is_new && bench.opens(&session.id().unwrap()).await);
}

#[tokio::test]
async fn answers_may_overtake_each_other() {
    let bench = renewing();
    let old = bench.stored().await;
    let slow = bench.open(&old).await;
    bench.clock.advance(5 * MINUTE);
    let (first, _) = bench.request(&old, |_| ()).await;
    let new = first.id().unwrap();
    let late = bench.open(&old).await;
    let (shown, outcome) = bench.request(&new, |_| ()).await;
    assert_eq!((outcome, shown.status().id_is_new), (Outcome::Touched, false));
    // The answers of requests that began before bring nothing but what the client has.
    for session in [&slow, &late] {
        session.insert("n", 2).unwrap();
        assert_eq!(bench.commit(session).await, Outcome::Saved, "within the grace");
        let status = session.status();
        assert!(status.id.is_none_or(|id| id == new) || !status.id_is_new);
    }
    assert_eq!(bench.n(&new).await, Some(2));
}

#[tokio::test]
async fn the_old_secret_opens_for_the_grace_after_the_new_one_was_shown_then_is_superseded_then_unknown() {
    let bench = renewing();
    let (old, new) = renewed(&bench).await;
    bench.clock.advance(40 * MINUTE);
    assert!(bench.opens(&old).await, "not shown yet");
    bench.request(&new, |_| ()).await;
    bench.clock.advance(GRACE - MILLI);
    let within = bench.open(&old).await;
    assert_eq!(
        (within.get::<i64>("n").unwrap(), within.id()),
        (Some(1), None),
        "and learns nothing of the new one"
    );
    bench.clock.advance(MILLI);
    assert!(bench.open(&old).await.is_superseded(), "after the grace, although the renewal is long ago");
    bench.clock.advance(5 * MINUTE - MILLI);
    assert!(bench.open(&old).await.is_superseded());
    bench.clock.advance(MILLI);
    let unknown = bench.open(&old).await;
    assert!(unknown.is_new() && !unknown.is_superseded());
    assert_eq!(bench.n(&new).await, Some(1));
}

#[tokio::test]
async fn the_nonce_goes_when_the_successor_was_shown() {
    const PENDING: u8 = 2;
    let bench = renewing();
    let (old, new) = renewed(&bench).await;
    assert_eq!(flags(&bench, &new).await & PENDING, PENDING);
    bench.request(&old, |session| session.insert("n", 2).unwrap()).await;
    assert_eq!(flags(&bench, &new).await & PENDING, PENDING, "the old one was shown, not the new one");
    bench.request(&new, |session| session.insert("n", 3).unwrap()).await;
    assert_eq!(flags(&bench, &new).await & PENDING, 0);
}

#[tokio::test]
async fn no_renewal_begins_while_an_older_secret_opens() {
    let bench = renewing();
    let (old, new) = renewed(&bench).await;
    for _ in 0..5 {
        bench.clock.advance(10 * MINUTE);
        let (session, _) = bench.request(&old, |session| session.insert("n", 1).unwrap()).await;
        assert_eq!(session.id().as_ref(), Some(&new), "however old it is");
    }
    let slow =
        bench.manager.clone().with_policy(bench.manager.policy().clone().with_renewal_grace(20 * MINUTE));
    bench.request(&new, |_| ()).await;
    for minutes in [10, 9] {
        bench.clock.advance(minutes * MINUTE);
        let session = slow.open(Some(&new)).await.unwrap();
        let _ = slow.commit(&session).await.unwrap();
        assert_eq!((session.id().as_ref(), session.status().id_is_new), (Some(&new), false), "in the grace");
    }
    bench.clock.advance(MINUTE);
    let session = slow.open(Some(&new)).await.unwrap();
    assert_eq!(slow.commit(&session).await.unwrap().outcome, Outcome::Rotated, "after it");
    assert!(!bench.opens(&old).await, "there are never more than two secrets");
}

#[tokio::test]
async fn an_explicit_change_ends_the_old_secret_and_its_successor() {
    let changes: [fn(&Session); 2] = [Session::rotate_id, |session| session.sign_in(ada())];
    for change in changes {
        for by_the_old_one in [false, true] {
            let bench = renewing();
            let (old, new) = renewed(&bench).await;
            let opened = bench.open(if by_the_old_one { &old } else { &new }).await;
            change(&opened);
            assert_eq!(bench.commit(&opened).await, Outcome::Rotated);
            for id in [&old, &new] {
                assert!(bench.open(id).await.is_superseded());
            }
            assert_eq!(bench.n(&opened.id().unwrap()).await, Some(1));
        }
    }
}

#[tokio::test]
async fn a_change_of_privilege_that_is_made_when_a_renewal_is_due_ends_the_old_id_at_once() {
    let bench = renewing();
    let old = bench.stored().await;
    bench.clock.advance(5 * MINUTE);
    let (session, outcome) = bench.request(&old, Session::rotate_id).await;
    assert_eq!(outcome, Outcome::Rotated);
    assert!(bench.open(&old).await.is_superseded());
    session.remove("n");
    assert_eq!(bench.commit(&session).await, Outcome::Destroyed, "the session's own entry is none");
}

#[tokio::test]
async fn a_page_goes_out_when_the_renewal_that_it_needs_does_not_succeed() {
    let mut bench = renewing();
    let old = bench.stored().await;
    bench.clock.advance(5 * MINUTE);
    bench.store.fail("save", Fault::Refused);
    let (session, outcome) = bench.request(&old, |_| ()).await;
    assert_eq!((outcome, session.id().as_ref()), (Outcome::Unchanged, Some(&old)));

    // Others are faster each time.
    bench.manager = bench.manager.clone().with_policy(bench.manager.policy().clone().with_max_attempts(2));
    let session = bench.open(&old).await;
    let count = |session: &Session| session.update("n", |n: Option<i64>| n.unwrap_or(0) + 1).map(drop);
    let (key, store) = (old.key(), bench.store.clone());
    let again = bench.other();
    bench.before("save", async move |manager| {
        let _ = manager.change(key, count).await.unwrap();
        store.before("save", move || run(async move { assert!(again.change(key, count).await.is_ok()) }));
    });
    assert_eq!(bench.commit(&session).await, Outcome::Unchanged);
    assert_eq!(bench.store.calls().iter().filter(|call| **call == "save").count(), 4 + 1);
    bench.store.fail("save", Fault::Refused);
    assert_eq!(bench.commit(&session).await, Outcome::Unchanged);
    assert_eq!(bench.commit(&session).await, Outcome::Rotated);
}

#[tokio::test]
async fn a_renewal_that_would_make_the_session_too_large_is_left_out() {
    let mut bench = renewing();
    let session = bench.manager.open(None).await.unwrap();
    session.insert("big", "x".repeat(900)).unwrap();
    let _ = bench.commit(&session).await;
    let id = session.id().unwrap();
    let size = bench.record(id.key()).await.unwrap().payload.len();
    bench.manager = bench.manager.clone().with_policy(bench.manager.policy().clone().with_max_payload(size));
    bench.clock.advance(6 * MINUTE);
    let (session, outcome) = bench.request(&id, |_| ()).await;
    assert_eq!((outcome, session.id()), (Outcome::Touched, Some(id)));
}

#[tokio::test]
async fn after_the_head_has_left_no_renewal_begins() {
    let bench = renewing();
    let id = bench.stored().await;
    bench.clock.advance(5 * MINUTE);
    let session = bench.open(&id).await;
    session.fix_id();
    session.insert("n", 2).unwrap();
    assert_eq!(bench.commit(&session).await, Outcome::Saved);
    assert_eq!((session.id().as_ref(), bench.n(&id).await), (Some(&id), Some(2)));
}
