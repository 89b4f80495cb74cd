//! Lost answers, dropped futures, failing stores and crowds.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use session_core::{ErrorKind, Outcome, Policy, Record, Saved, SessionStore as _};
use support::{DAY, Fault, MINUTE, bench};

#[tokio::test]
async fn a_failing_store_is_an_error_and_never_an_empty_session() {
    let bench = bench();
    let id = bench.stored().await;
    bench.store.fail_next(Fault::Refused);
    let error = bench.manager.open(Some(&id)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(bench.n(&id).await, Some(1));
}

#[tokio::test]
async fn a_refused_commit_keeps_the_changes_for_the_next_one() {
    let bench = bench();
    let id = bench.stored().await;
    let session = bench.manager.open(Some(&id)).await.unwrap();
    session.update("n", |n: Option<i64>| n.unwrap_or(0) + 1).unwrap();
    bench.store.fail_next(Fault::Refused);
    assert!(bench.manager.commit(&session).await.unwrap_err().is_retryable());
    assert_eq!(session.get::<i64>("n").unwrap(), Some(2));
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Saved);
    assert_eq!(bench.n(&id).await, Some(2));
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_repeated_without_counting_twice() {
    let bench = bench();
    let id = bench.stored().await;
    let session = bench.manager.open(Some(&id)).await.unwrap();
    session.update("n", |n: Option<i64>| n.unwrap_or(0) + 1).unwrap();
    bench.store.fail_next(Fault::AnswerLost);
    assert_eq!(bench.manager.commit(&session).await.unwrap_err().kind(), ErrorKind::Timeout);
    session.update("n", |n: Option<i64>| n.unwrap_or(0) + 100).unwrap();
    assert_eq!(session.get::<i64>("n").unwrap(), Some(102));
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Saved);
    assert_eq!(bench.n(&id).await, Some(102));
}

#[tokio::test]
async fn a_create_and_a_rotation_whose_answers_were_lost_leave_one_session() {
    let bench = bench();
    let session = bench.manager.open(None).await.unwrap();
    session.insert("n", 1).unwrap();
    bench.store.fail_next(Fault::AnswerLost);
    assert!(bench.manager.commit(&session).await.is_err());
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Created);
    assert_eq!(bench.n(&session.id().unwrap()).await, Some(1));
    session.rotate_id();
    bench.store.fail_next(Fault::AnswerLost);
    assert!(bench.manager.commit(&session).await.is_err());
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Rotated);
    assert_eq!(bench.n(&session.id().unwrap()).await, Some(1));
    assert_eq!(bench.live().await, 1);
}

#[tokio::test]
async fn an_increment_is_never_applied_twice_also_when_another_request_wrote_after_the_lost_answer() {
    let bench = bench();
    let id = bench.stored().await;
    let session = bench.manager.open(Some(&id)).await.unwrap();
    session.update("n", |n: Option<i64>| n.unwrap_or(0) + 1).unwrap();
    bench.store.fail_next(Fault::AnswerLost);
    assert!(bench.manager.commit(&session).await.is_err());
    let other = bench.manager.open(Some(&id)).await.unwrap();
    other.insert("other", 1).unwrap();
    let _ = bench.manager.commit(&other).await.unwrap();
    let error = bench.manager.commit(&session).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Contended);
    assert_eq!(bench.n(&id).await, Some(2));
    assert_eq!(session.get::<i64>("n").unwrap(), Some(2), "the session stands on the newest version");
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Unchanged);
}

#[tokio::test]
async fn plain_inserts_are_repeated_after_a_lost_answer_and_another_write() {
    let bench = bench();
    let id = bench.stored().await;
    let session = bench.manager.open(Some(&id)).await.unwrap();
    session.insert("mine", 1).unwrap();
    bench.store.fail_next(Fault::AnswerLost);
    assert!(bench.manager.commit(&session).await.is_err());
    let other = bench.manager.open(Some(&id)).await.unwrap();
    other.insert("other", 1).unwrap();
    let _ = bench.manager.commit(&other).await.unwrap();
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Saved);
    assert_eq!(bench.manager.open(Some(&id)).await.unwrap().keys(), ["mine", "n", "other"]);
}

#[tokio::test]
async fn a_dropped_commit_is_carried_on_by_the_next_one() {
    let bench = bench();
    let id = bench.stored().await;
    let session = bench.manager.open(Some(&id)).await.unwrap();
    session.update("n", |n: Option<i64>| n.unwrap_or(0) + 1).unwrap();
    bench.store.fail_next(Fault::Hangs);
    let cut = tokio::time::timeout(Duration::from_millis(20), bench.manager.commit(&session)).await;
    assert!(cut.is_err());
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Saved);
    assert_eq!(bench.n(&id).await, Some(2));
}

#[tokio::test]
async fn destroying_a_session_whose_creation_is_uncertain_deletes_it() {
    let bench = bench();
    let session = bench.manager.open(None).await.unwrap();
    session.insert("n", 1).unwrap();
    bench.store.fail_next(Fault::AnswerLost);
    assert!(bench.manager.commit(&session).await.is_err());
    session.destroy();
    bench.store.fail_next(Fault::Refused);
    assert!(
        bench.manager.commit(&session).await.is_err(),
        "the deletion failed, and is not reported as done"
    );
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Destroyed);
    assert_eq!(bench.live().await, 0);
}

#[tokio::test]
async fn a_session_destroyed_by_a_clone_during_its_own_commit_does_not_come_back() {
    for call in ["create", "save", "load", "touch", "renewal"] {
        let mut bench = bench();
        let renewing = Policy::default().with_renewal_after(Some(MINUTE));
        let id = bench.stored().await;
        let session = bench.manager.open(if call == "create" { None } else { Some(&id) }).await.unwrap();
        if !matches!(call, "touch" | "renewal") {
            session.insert("n", 2).unwrap();
        }
        match call {
            "create" => assert!(bench.manager.revoke(id.key()).await.unwrap()),
            "touch" => bench.clock.advance(DAY / 2),
            "renewal" => {
                bench.manager = bench.manager.with_policy(renewing.clone());
                bench.clock.advance(2 * MINUTE);
            }
            "load" => {
                let other = bench.manager.open(Some(&id)).await.unwrap();
                other.insert("other", 1).unwrap();
                let _ = bench.manager.commit(&other).await.unwrap();
            }
            _ => {}
        }
        let clone = session.clone();
        bench.store.during(if call == "renewal" { "save" } else { call }, move || clone.destroy());
        assert_eq!(bench.commit(&session).await, Outcome::Destroyed, "{call}");
        assert!(session.id().is_none() && session.is_empty(), "{call}");
        let left = bench.manager.sessions(None, 10).await.unwrap().0.len();
        assert_eq!(left, 0, "destroyed during {call}");
    }
}

#[tokio::test]
async fn a_message_put_in_after_the_destruction_is_kept() {
    let bench = bench();
    let id = bench.stored().await;
    let session = bench.manager.open(Some(&id)).await.unwrap();
    session.insert("n", 2).unwrap();
    let clone = session.clone();
    bench.store.during("save", move || {
        clone.destroy();
        clone.flash("message", "good bye").unwrap();
    });
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Created);
    assert_eq!(bench.store.calls(), ["load", "save", "delete", "create"]);
    let next = bench.manager.open(session.id().as_ref()).await.unwrap();
    assert_eq!(next.take_flashes().unwrap().len(), 1);
    assert_eq!((bench.live().await, bench.n(&id).await), (1, None));
}

#[tokio::test]
async fn what_is_put_in_after_a_destruction_survives_that_the_old_session_was_gone_already() {
    let bench = bench();
    let id = bench.stored().await;
    let session = bench.manager.open(Some(&id)).await.unwrap();
    session.insert("n", 2).unwrap();
    assert!(bench.manager.revoke(id.key()).await.unwrap());
    let clone = session.clone();
    bench.store.during("save", move || {
        clone.destroy();
        clone.flash("message", "good bye").unwrap();
    });
    let _ = bench.manager.commit(&session).await.unwrap();
    assert_eq!(session.take_flashes().unwrap().len(), 1);
}

#[tokio::test]
async fn attempts_are_bounded_and_nothing_is_lost_when_they_run_out() {
    let bench = bench();
    let id = bench.stored().await;
    let manager = bench.manager.clone().with_policy(Policy::default().with_max_attempts(1));
    let session = manager.open(Some(&id)).await.unwrap();
    session.insert("mine", 1).unwrap();
    let other = bench.manager.open(Some(&id)).await.unwrap();
    other.insert("other", 1).unwrap();
    let _ = bench.manager.commit(&other).await.unwrap();
    let error = manager.commit(&session).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Contended);
    assert_eq!(session.get::<i64>("mine").unwrap(), Some(1));
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Saved);
}

#[tokio::test]
async fn damaged_bytes_are_an_error_and_stay_in_the_store() {
    let bench = bench();
    let id = bench.stored().await;
    let whole = bench.store.load(id.key()).await.unwrap().unwrap();
    let cut = &whole.payload[..whole.payload.len() - 1];
    let record = Record { payload: Arc::from(cut), ..whole.clone() };
    assert_eq!(bench.store.save(id.key(), whole.revision, &record).await.unwrap(), Saved::Stored);
    let error = bench.manager.open(Some(&id)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let listed = bench.manager.sessions(None, 10).await.unwrap().0;
    assert_eq!(listed[0].get::<i64>("n").unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(bench.live().await, 1);
}
