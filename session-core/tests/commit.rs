//! What a commit brings into the store, and what it never does.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use session_core::{ErrorKind, Outcome, Policy, SessionId};
use support::{Fault, bench, polled};

#[tokio::test]
async fn a_session_into_which_nothing_was_put_is_not_stored() {
    let bench = bench();
    let session = bench.manager.open(None).await.unwrap();
    assert!(session.get::<i64>("n").unwrap().is_none());
    session.clear();
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Unchanged);
    assert!(session.id().is_none() && session.is_new());
    assert_eq!(bench.store.calls(), [""; 0]);
}

#[tokio::test]
async fn an_id_that_was_not_issued_is_never_adopted() {
    let bench = bench();
    let foreign = SessionId::generate().unwrap();
    let session = bench.manager.open(Some(&foreign)).await.unwrap();
    session.insert("n", 1).unwrap();
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Created);
    assert_ne!(session.id().unwrap(), foreign);
    assert_eq!(bench.n(&foreign).await, None);
}

#[tokio::test]
async fn a_request_costs_one_load_and_one_write_at_most() {
    let bench = bench();
    let id = bench.stored().await;
    let session = bench.manager.open(Some(&id)).await.unwrap();
    assert_eq!(session.get::<i64>("n").unwrap(), Some(1));
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Unchanged);
    assert_eq!(bench.store.calls(), ["load"]);
    session.insert("n", 2).unwrap();
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Saved);
    assert_eq!(bench.store.calls(), ["save"]);
    session.rotate_id();
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Rotated);
    assert_eq!(bench.store.calls(), ["save"]);
}

#[tokio::test]
async fn a_conflict_costs_one_more_load_and_one_more_save() {
    let bench = bench();
    let id = bench.stored().await;
    let first = bench.manager.open(Some(&id)).await.unwrap();
    let second = bench.manager.open(Some(&id)).await.unwrap();
    first.insert("first", 1).unwrap();
    second.insert("second", 2).unwrap();
    let _ = bench.manager.commit(&first).await.unwrap();
    bench.store.calls();
    assert_eq!(bench.manager.commit(&second).await.unwrap().outcome, Outcome::Saved);
    assert_eq!(bench.store.calls(), ["save", "load", "save"]);
    let both = bench.manager.open(Some(&id)).await.unwrap();
    assert_eq!(both.keys(), ["first", "n", "second"], "no change is lost");
}

#[tokio::test]
async fn a_commit_lines_up_behind_one_that_met_a_conflict_and_then_costs_a_load_and_a_save() {
    let bench = bench();
    let id = bench.stored().await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        let session = bench.manager.open(Some(&id)).await.unwrap();
        session.update("n", |n: Option<i64>| n.unwrap_or(0) + 1).unwrap();
        sessions.push(session);
    }
    let [first, second, third] = &sessions[..] else { unreachable!() };
    let _ = bench.manager.commit(first).await.unwrap();
    bench.store.calls();

    let store = bench.store.clone();
    bench.store.during("save", move || store.fail_next(Fault::Hangs));
    let mut slow = Box::pin(bench.manager.commit(second));
    assert!(polled(&mut slow).await.is_none());
    assert_eq!(
        bench.store.calls(),
        ["save", "load"],
        "it met a conflict and does not get the newest version"
    );

    let mut late = Box::pin(bench.manager.commit(third));
    assert!(polled(&mut late).await.is_none());
    assert_eq!(bench.store.calls(), [""; 0], "it waits for its turn");
    drop(slow);
    assert_eq!(late.await.unwrap().outcome, Outcome::Saved);
    assert_eq!(bench.store.calls(), ["load", "save"]);

    let _ = bench.manager.commit(second).await.unwrap();
    assert_eq!(bench.n(&id).await, Some(4));
    let alone = bench.manager.open(Some(&id)).await.unwrap();
    alone.insert("n", 0).unwrap();
    let _ = bench.manager.commit(&alone).await.unwrap();
    assert_eq!(bench.store.calls(), ["load", "save"], "nobody is after the session any more");
}

#[tokio::test]
async fn of_two_inserts_of_one_key_the_later_commit_wins() {
    let bench = bench();
    let id = bench.stored().await;
    let early = bench.manager.open(Some(&id)).await.unwrap();
    let late = bench.manager.open(Some(&id)).await.unwrap();
    late.insert("n", "late").unwrap();
    early.insert("n", "early").unwrap();
    let _ = bench.manager.commit(&early).await.unwrap();
    let _ = bench.manager.commit(&late).await.unwrap();
    let stored = bench.manager.open(Some(&id)).await.unwrap();
    assert_eq!(stored.get::<String>("n").unwrap().as_deref(), Some("late"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_tasks_of_a_hundred_increments_add_up_to_6400() {
    let bench = bench();
    let id = bench.stored().await;
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let (manager, id) = (bench.manager.clone(), id.clone());
            tokio::spawn(async move {
                for _ in 0..100 {
                    let session = manager.open(Some(&id)).await.unwrap();
                    session.update("n", |n: Option<i64>| n.unwrap_or(0) + 1).unwrap();
                    let _ = manager.commit(&session).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(bench.n(&id).await, Some(1 + 6_400));
}

#[tokio::test]
async fn a_removal_from_a_freshly_loaded_session_is_stored() {
    let bench = bench();
    let id = bench.stored().await;
    let session = bench.manager.open(Some(&id)).await.unwrap();
    session.insert("kept", true).unwrap();
    assert!(session.remove("n"));
    assert!(!session.remove("n"));
    let _ = bench.manager.commit(&session).await.unwrap();
    let session = bench.manager.open(Some(&id)).await.unwrap();
    assert!(session.remove("kept") && session.is_modified());
    session.insert("other", 1).unwrap();
    let _ = bench.manager.commit(&session).await.unwrap();
    assert_eq!(bench.manager.open(Some(&id)).await.unwrap().keys(), ["other"]);
}

#[tokio::test]
async fn logout_wins_over_a_request_in_flight_also_when_it_rotates_the_id() {
    for rotate in [false, true] {
        let bench = bench();
        let id = bench.stored().await;
        let in_flight = bench.manager.open(Some(&id)).await.unwrap();
        in_flight.insert("n", 2).unwrap();
        if rotate {
            in_flight.rotate_id();
        }
        let leaving = bench.manager.open(Some(&id)).await.unwrap();
        leaving.destroy();
        assert_eq!(bench.manager.commit(&leaving).await.unwrap().outcome, Outcome::Destroyed);
        let late = bench.manager.commit(&in_flight).await.unwrap();
        assert_eq!((late.outcome, late.expires_at), (Outcome::Ended, None));
        assert!(in_flight.id().is_none() && in_flight.is_empty());
        assert_eq!(bench.live().await, 0, "a session came back after logout");
    }
}

#[tokio::test]
async fn an_update_that_meets_a_logout_during_its_replay_stays_logged_out() {
    let bench = bench();
    let id = bench.stored().await;
    let slow = bench.manager.open(Some(&id)).await.unwrap();
    slow.update("n", |n: Option<i64>| n.unwrap_or(0) + 1).unwrap();
    let quick = bench.manager.open(Some(&id)).await.unwrap();
    quick.insert("n", 9).unwrap();
    let _ = bench.manager.commit(&quick).await.unwrap();
    quick.destroy();
    let _ = bench.manager.commit(&quick).await.unwrap();
    assert_eq!(bench.manager.commit(&slow).await.unwrap().outcome, Outcome::Ended);
    assert_eq!(bench.live().await, 0);
}

#[tokio::test]
async fn a_session_that_was_emptied_ends() {
    let bench = bench();
    let id = bench.stored().await;
    let session = bench.manager.open(Some(&id)).await.unwrap();
    session.remove("n");
    let commit = bench.manager.commit(&session).await.unwrap();
    assert_eq!((commit.outcome, commit.expires_at), (Outcome::Destroyed, None));
    assert_eq!(bench.store.calls(), ["load", "save"]);
    assert!(session.id().is_none());
    assert_eq!(bench.live().await, 0);
}

#[tokio::test]
async fn emptying_a_session_does_not_lose_what_another_request_put_in() {
    let bench = bench();
    let id = bench.stored().await;
    let emptying = bench.manager.open(Some(&id)).await.unwrap();
    let filling = bench.manager.open(Some(&id)).await.unwrap();
    filling.insert("cart", ["apple"]).unwrap();
    let _ = bench.manager.commit(&filling).await.unwrap();
    emptying.remove("n");
    assert_eq!(bench.manager.commit(&emptying).await.unwrap().outcome, Outcome::Saved);
    assert_eq!(bench.manager.open(Some(&id)).await.unwrap().keys(), ["cart"]);
}

#[tokio::test]
async fn what_is_put_into_a_destroyed_session_begins_a_new_one() {
    let bench = bench();
    let id = bench.stored().await;
    let session = bench.manager.open(Some(&id)).await.unwrap();
    session.insert("lost", 1).unwrap();
    session.destroy();
    assert!(session.is_empty());
    session.flash("message", "good bye").unwrap();
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Created);
    let new = session.id().unwrap();
    assert_ne!(new, id);
    assert_eq!(bench.n(&id).await, None);
    let next = bench.manager.open(Some(&new)).await.unwrap();
    assert_eq!(next.take_flashes().unwrap()[0].message, "good bye");
    assert_eq!(next.keys(), [""; 0]);
}

#[tokio::test]
async fn rotation_kills_the_old_id_and_later_inserts_do_not_cancel_it() {
    let bench = bench();
    let old = bench.stored().await;
    let session = bench.manager.open(Some(&old)).await.unwrap();
    session.rotate_id();
    session.insert("user", "ada").unwrap();
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Rotated);
    let new = session.id().unwrap();
    assert_ne!(new, old);
    assert_eq!(bench.n(&old).await, None);
    assert_eq!(bench.n(&new).await, Some(1));
    assert_eq!(bench.live().await, 1);
}

#[tokio::test]
async fn a_rotation_that_meets_a_conflict_keeps_both_requests_changes() {
    let bench = bench();
    let old = bench.stored().await;
    let rotating = bench.manager.open(Some(&old)).await.unwrap();
    rotating.rotate_id();
    rotating.update("n", |n: Option<i64>| n.unwrap_or(0) + 1).unwrap();
    let other = bench.manager.open(Some(&old)).await.unwrap();
    other.update("n", |n: Option<i64>| n.unwrap_or(0) + 10).unwrap();
    let _ = bench.manager.commit(&other).await.unwrap();
    assert_eq!(bench.manager.commit(&rotating).await.unwrap().outcome, Outcome::Rotated);
    assert_eq!(bench.n(&rotating.id().unwrap()).await, Some(12));
    assert_eq!(bench.n(&old).await, None);
}

#[tokio::test]
async fn regenerate_leaves_nothing_of_the_old_session() {
    let bench = bench();
    let old = bench.stored().await;
    let session = bench.manager.open(Some(&old)).await.unwrap();
    session.regenerate();
    session.insert("user", "ada").unwrap();
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Rotated);
    assert_eq!(session.keys(), ["user"]);
    let new = bench.manager.open(session.id().as_ref()).await.unwrap();
    assert_eq!(new.keys(), ["user"]);
    assert_eq!(bench.n(&old).await, None);
}

#[tokio::test]
async fn a_session_over_the_limit_is_refused_and_nothing_is_lost() {
    let bench = bench();
    let manager = bench.manager.clone().with_policy(Policy::default().with_max_payload(1_000));
    let id = bench.stored().await;
    let session = manager.open(Some(&id)).await.unwrap();
    session.insert("big", "x".repeat(1_000)).unwrap();
    let error = manager.commit(&session).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.to_string().contains("1000"), "{error}");
    session.insert("big", "x".repeat(900)).unwrap();
    assert_eq!(manager.commit(&session).await.unwrap().outcome, Outcome::Saved);
}

#[tokio::test]
async fn changes_made_during_a_commit_are_in_the_next_one() {
    let bench = bench();
    let id = bench.stored().await;
    let session = bench.manager.open(Some(&id)).await.unwrap();
    session.insert("n", 2).unwrap();
    let other = session.clone();
    let (commit, ()) = tokio::join!(bench.manager.commit(&session), async {
        other.update("n", |n: Option<i64>| n.unwrap_or(0) + 1).unwrap();
    });
    let _ = commit.unwrap();
    let _ = bench.manager.commit(&session).await.unwrap();
    assert_eq!(bench.n(&id).await, Some(3));
}

#[tokio::test]
async fn a_session_cleared_by_a_clone_during_a_conflict_holds_only_what_came_after() {
    let bench = bench();
    let id = bench.stored().await;
    let session = bench.manager.open(Some(&id)).await.unwrap();
    session.insert("before", 1).unwrap();
    let other = bench.manager.open(Some(&id)).await.unwrap();
    other.insert("other", 1).unwrap();
    let _ = bench.manager.commit(&other).await.unwrap();
    let clone = session.clone();
    bench.store.during("save", move || {
        clone.clear();
        clone.insert("after", 1).unwrap();
    });
    let _ = bench.manager.commit(&session).await.unwrap();
    assert_eq!(bench.manager.open(Some(&id)).await.unwrap().keys(), ["after"]);
}

#[tokio::test]
async fn an_update_after_a_clear_starts_from_nothing_also_when_it_is_replayed() {
    let bench = bench();
    let id = bench.stored().await;
    let session = bench.manager.open(Some(&id)).await.unwrap();
    session.clear();
    session.update("n", |n: Option<i64>| n.unwrap_or(100) + 1).unwrap();
    let other = bench.manager.open(Some(&id)).await.unwrap();
    other.insert("n", 7).unwrap();
    let _ = bench.manager.commit(&other).await.unwrap();
    let _ = bench.manager.commit(&session).await.unwrap();
    assert_eq!(bench.n(&id).await, Some(101));
}
