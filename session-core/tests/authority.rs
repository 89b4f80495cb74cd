//! Old authority writes nothing into new authority (`[I5]`).
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use session_core::{ErrorKind, Lifetime, Outcome, Session, SessionId};
use support::{Bench, HOUR, MINUTE, ada, bench, bench_with};

type Act = fn(&Session);

/// Everything that a request may do without signing in or ending the session; the first two change nothing.
const ACTS: [(&str, Act, bool); 14] = [
    ("nothing", |_| (), false),
    ("read", |session| assert!(session.get::<i64>("absent").unwrap().is_none()), false),
    ("insert", |session| session.insert("n", 2).unwrap(), true),
    ("update", |session| assert!(session.update("n", |n: Option<i64>| n.unwrap_or(0) + 1).is_ok()), true),
    ("modify", |session| session.modify("n", |n: &mut i64| *n += 1).unwrap(), true),
    ("get_or_insert", |session| assert!(session.get_or_insert("new", 1).is_ok()), true),
    ("flash", |session| session.flash("info", "hello").unwrap(), true),
    ("remove", |session| drop((session.insert("m", 1), session.remove("m"))), true),
    ("clear", Session::clear, true),
    ("permanence", |session| session.set_permanent(true), true),
    (
        "lifetime",
        |session| session.set_lifetime(Some(Lifetime { idle_timeout: MINUTE, absolute: None })),
        true,
    ),
    ("rotate", Session::rotate_id, true),
    ("regenerate", Session::regenerate, true),
    (
        "regenerate and insert",
        |session| {
            session.regenerate();
            session.insert("n", 3).unwrap();
        },
        true,
    ),
];

const EXPLICIT_CHANGES: [(&str, Act); 3] = [
    ("sign in", |session| session.sign_in(ada())),
    ("rotate", Session::rotate_id),
    ("regenerate", |session| {
        session.regenerate();
        session.insert("n", 9).unwrap();
    }),
];

/// Nothing of what `session` does reaches the record of `key`, and nothing begins in its place.
async fn is_powerless(bench: &Bench, session: &Session, of: &SessionId, changes: bool, what: &str) {
    let before = bench.record(of.key()).await.unwrap();
    for commit in 1..=2 {
        let commit_said = bench.try_commit(session).await;
        assert_eq!(commit_said.outcome, Outcome::Superseded, "{what}, commit {commit}");
        assert_eq!(commit_said.dropped_changes, changes && commit == 1, "{what}, commit {commit}");
        let result = commit_said.into_result().map_err(|error| error.kind());
        let refused = Err(ErrorKind::Superseded);
        assert_eq!(
            result,
            if commit_said.dropped_changes { refused } else { Ok(Outcome::Superseded) },
            "{what}"
        );
        assert_eq!(bench.record(of.key()).await.unwrap(), before, "{what}: the record changed");
        assert_eq!(bench.records().await, 1, "{what}: a session began");
        assert!(session.is_over() && session.is_superseded() && session.is_empty(), "{what}");
        let status = session.status();
        assert!(status.id.is_none() && !status.id_is_new && !status.ended_here, "{what}: {status:?}");
    }
}

#[tokio::test]
async fn a_request_whose_id_was_changed_meanwhile_changes_nothing_the_expiry_included() {
    for (change_name, change) in EXPLICIT_CHANGES {
        for (name, act, changes) in ACTS {
            // A touch is due for the request that was opened first.
            let bench = bench_with(|short| short.with_touch_share(0.0));
            let old = bench.stored().await;
            let slow = bench.open(&old).await;
            bench.clock.advance(5 * MINUTE);
            let (changed, _) = bench.request(&old, change).await;
            bench.clock.advance(MINUTE);
            act(&slow);
            is_powerless(&bench, &slow, &old, changes, &format!("{change_name}, then {name}")).await;
            assert!(bench.opens(&changed.id().unwrap()).await);
        }
    }
}

#[tokio::test]
async fn a_request_whose_id_is_changed_during_its_own_write_changes_nothing() {
    for (change_name, change) in EXPLICIT_CHANGES {
        for (name, act, changes) in ACTS {
            let bench = bench_with(|short| short.with_touch_share(0.0));
            let old = bench.stored().await;
            let slow = bench.open(&old).await;
            bench.clock.advance(MINUTE);
            act(&slow);
            let call = if changes { "save" } else { "touch" };
            let id = old.clone();
            bench.before(call, async move |manager| {
                let session = manager.open(Some(&id)).await.unwrap();
                change(&session);
                assert_eq!(manager.commit(&session).await.unwrap().outcome, Outcome::Rotated);
            });
            let commit = bench.try_commit(&slow).await;
            let what = format!("{change_name} during {name}");
            assert_eq!((commit.outcome, commit.dropped_changes), (Outcome::Superseded, changes), "{what}");
            is_powerless(&bench, &slow, &old, false, &what).await;
        }
    }
}

#[tokio::test]
async fn a_request_that_begins_with_a_superseded_id_writes_nothing_and_begins_nothing() {
    for (change_name, change) in EXPLICIT_CHANGES {
        for (name, act, changes) in ACTS {
            let bench = bench();
            let old = bench.stored().await;
            bench.request(&old, change).await;
            bench.clock.advance(5 * MINUTE - std::time::Duration::from_millis(1));
            let late = bench.open(&old).await;
            assert!(late.is_superseded() && late.is_new() && late.is_empty());
            act(&late);
            bench.store.calls();
            assert_eq!(bench.manager.try_commit_now(&late).is_some(), !changes, "{name}");
            is_powerless(&bench, &late, &old, changes, &format!("{change_name}, then {name}")).await;
        }
    }
}

#[tokio::test]
async fn to_tell_that_a_request_is_superseded_needs_no_call_to_the_store() {
    let bench = bench();
    let old = bench.stored().await;
    bench.request(&old, Session::rotate_id).await;
    let late = bench.open(&old).await;
    late.insert("n", 2).unwrap();
    bench.store.calls();
    assert_eq!(bench.dropped(&late).await, Outcome::Superseded);
    assert_eq!(bench.store.calls(), [""; 0]);
}

#[tokio::test]
async fn an_id_is_superseded_for_five_minutes_and_unknown_after_them() {
    let bench = bench_with(|short| short);
    let old = bench.stored().await;
    let (changed, _) = bench.request(&old, Session::rotate_id).await;
    bench.clock.advance(5 * MINUTE);
    let session = bench.open(&old).await;
    assert!(!session.is_superseded());
    session.insert("n", 2).unwrap();
    assert_eq!(bench.commit(&session).await, Outcome::Created);
    assert_ne!(session.key().unwrap(), old.key());
    assert_eq!(bench.n(&changed.id().unwrap()).await, Some(1));

    let bench = bench_with(|short| short.with_superseded_for(9 * MINUTE));
    let old = bench.stored().await;
    bench.request(&old, Session::rotate_id).await;
    bench.clock.advance(9 * MINUTE - std::time::Duration::from_millis(1));
    assert!(bench.open(&old).await.is_superseded());
}

#[tokio::test]
async fn what_was_dropped_because_the_session_ended_is_an_error_and_stays_dropped() {
    for (name, act, changes) in ACTS {
        let bench = bench_with(|short| short.with_touch_share(0.0));
        let id = bench.stored().await;
        let session = bench.open(&id).await;
        bench.clock.advance(MINUTE);
        act(&session);
        assert!(bench.manager.revoke(id.key()).await.unwrap());
        let result = bench.try_commit(&session).await.into_result().map_err(|error| error.kind());
        let wanted = match name {
            // What was to be empty is gone.
            "clear" | "regenerate" => Ok(Outcome::Destroyed),
            _ if changes => Err(ErrorKind::Ended),
            _ => Ok(Outcome::Ended),
        };
        assert_eq!(result, wanted, "{name}");
        // The handle stays ended: a second try begins nothing.
        session.insert("again", 1).unwrap();
        assert_eq!(bench.dropped(&session).await, Outcome::Ended, "{name}");
        assert!(session.is_over() && !session.is_superseded() && session.is_empty(), "{name}");
        assert!(!bench.manager.reload(&session).await.unwrap(), "{name}");
        assert_eq!(bench.records().await, 0, "{name}");
    }
}

#[tokio::test]
async fn only_a_destroy_or_a_sign_in_of_this_very_request_begins_anew_after_an_end() {
    let begins: [Act; 2] = [Session::destroy, |session| session.sign_in(ada())];
    for begin in begins {
        let bench = bench();
        let id = bench.stored().await;
        let session = bench.open(&id).await;
        session.insert("dropped", 1).unwrap();
        let _ = bench.manager.revoke(id.key()).await.unwrap();
        assert_eq!(bench.dropped(&session).await, Outcome::Ended);
        begin(&session);
        session.insert("kept", 1).unwrap();
        assert_eq!(bench.commit(&session).await, Outcome::Created);
        assert!(!session.is_over());
        assert_ne!(session.key(), Some(id.key()));
        assert_eq!(bench.open(&session.id().unwrap()).await.keys(), ["kept"]);
    }
}

#[tokio::test]
async fn a_touch_that_met_a_save_is_made_if_the_save_moved_no_expiry() {
    let bench = bench_with(|short| short);
    let id = bench.stored().await;
    let reading = bench.open(&id).await;
    bench.clock.advance(5 * MINUTE);
    let polling = bench.open(&id).await;
    polling.set_counts_as_use(false);
    polling.insert("n", 2).unwrap();
    let _ = bench.commit(&polling).await;
    bench.store.calls();
    assert_eq!(bench.commit(&reading).await, Outcome::Touched);
    assert_eq!(bench.store.calls(), ["touch", "load", "touch"]);
    let writing = bench.open(&id).await;
    bench.clock.advance(5 * MINUTE);
    let reading = bench.open(&id).await;
    writing.insert("n", 3).unwrap();
    let _ = bench.commit(&writing).await;
    bench.store.calls();
    let commit = bench.try_commit(&reading).await;
    assert_eq!((commit.outcome, bench.store.calls()), (Outcome::Unchanged, vec!["touch", "load"]));
    assert_eq!(commit.expires_at, writing.expires_at());
    bench.clock.advance(HOUR);
}
