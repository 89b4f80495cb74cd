//! When sessions end, and when their ids change.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use session_core::{
    Clock as _, ErrorKind, ManualClock, Outcome, Owner, Policy, Session, SessionLimit, SessionManager,
    Sweeper,
};
use support::bench;

const MINUTE: Duration = Duration::from_secs(60);

fn short() -> Policy {
    Policy::default().with_idle_timeout(10 * MINUTE).with_absolute_lifetime(Some(60 * MINUTE))
}

#[tokio::test]
async fn reading_moves_the_expiry_only_after_the_set_share_of_the_idle_time() {
    let mut bench = bench();
    bench.manager = bench.manager.with_policy(short());
    let id = bench.stored().await;
    for (wait, outcome, calls) in [
        (MINUTE / 2, Outcome::Unchanged, ["load"].as_slice()),
        (MINUTE / 2, Outcome::Touched, &["load", "touch"]),
        (9 * MINUTE, Outcome::Touched, &["load", "touch"]),
    ] {
        bench.clock.advance(wait);
        let session = bench.manager.open(Some(&id)).await.unwrap();
        let commit = bench.manager.commit(&session).await.unwrap();
        assert_eq!(commit.outcome, outcome);
        assert_eq!(commit.expires_at, session.expires_at());
        assert_eq!(bench.store.calls(), calls);
    }
    bench.clock.advance(10 * MINUTE);
    assert_eq!(bench.n(&id).await, None, "idle for its whole timeout");
}

#[tokio::test]
async fn saving_moves_the_expiry_only_after_the_set_share_of_the_idle_time_and_a_new_id_at_once() {
    let mut bench = bench();
    bench.manager = bench.manager.with_policy(short());
    let id = bench.stored().await;
    let saved = async |wait: Duration, change: fn(&Session)| {
        bench.clock.advance(wait);
        let session = bench.manager.open(Some(&id)).await.unwrap();
        change(&session);
        let commit = bench.manager.commit(&session).await.unwrap();
        commit.expires_at.unwrap().saturating_since(bench.clock.now())
    };
    let write = |session: &Session| session.insert("n", &2).unwrap();
    assert_eq!(saved(MINUTE / 2, write).await, 9 * MINUTE + MINUTE / 2);
    assert_eq!(saved(MINUTE / 2, write).await, 10 * MINUTE);
    assert_eq!(saved(MINUTE / 2, Session::rotate_id).await, 10 * MINUTE);
}

#[tokio::test]
async fn a_save_that_took_long_is_not_followed_by_a_touch() {
    let mut bench = bench();
    bench.manager = bench.manager.with_policy(short());
    let id = bench.stored().await;
    let session = bench.manager.open(Some(&id)).await.unwrap();
    session.insert("n", &2).unwrap();
    let clock = Arc::clone(&bench.clock);
    bench.store.during("save", move || clock.advance(2 * MINUTE));
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Saved);
    assert_eq!(bench.store.calls(), ["load", "save"]);
}

#[tokio::test]
async fn use_does_not_carry_a_session_over_its_absolute_lifetime() {
    let mut bench = bench();
    bench.manager = bench.manager.with_policy(short());
    let id = bench.stored().await;
    for minute in 1..60 {
        bench.clock.advance(MINUTE);
        let session = bench.manager.open(Some(&id)).await.unwrap();
        assert_eq!(session.get::<i64>("n").unwrap(), Some(minute));
        session.insert("n", &(minute + 1)).unwrap();
        let _ = bench.manager.commit(&session).await.unwrap();
    }
    bench.clock.advance(MINUTE);
    assert_eq!(bench.n(&id).await, None);
}

#[tokio::test]
async fn a_stricter_policy_holds_for_sessions_that_were_stored_before_it() {
    let bench = bench();
    let id = bench.stored().await;
    bench.clock.advance(30 * MINUTE);
    let strict = bench.manager.clone().with_policy(short().with_absolute_lifetime(Some(20 * MINUTE)));
    assert!(strict.open(Some(&id)).await.unwrap().is_new());
    assert_eq!(bench.live().await, 0, "and it does not come back when the policy is relaxed");
}

#[tokio::test]
async fn a_session_that_expired_during_the_request_is_gone() {
    let mut bench = bench();
    bench.manager = bench.manager.with_policy(short());
    let id = bench.stored().await;
    let session = bench.manager.open(Some(&id)).await.unwrap();
    session.insert("n", &2).unwrap();
    bench.clock.advance(11 * MINUTE);
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Gone);
    assert_eq!(bench.live().await, 0);
}

#[tokio::test]
async fn signing_in_rotates_the_id_and_starts_the_absolute_lifetime_anew() {
    let mut bench = bench();
    bench.manager = bench.manager.with_policy(short());
    let anonymous = bench.stored().await;
    bench.clock.advance(5 * MINUTE);
    let session = bench.manager.open(Some(&anonymous)).await.unwrap();
    let began = session.created_at().unwrap();
    session.set_owner(Some(Owner::new("ada").unwrap()));
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Rotated);
    assert_eq!(bench.n(&anonymous).await, None, "session fixation");
    assert_eq!(session.created_at().unwrap().saturating_since(began), 5 * MINUTE);
    session.set_owner(Some(Owner::new("ada").unwrap()));
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Saved, "the same owner again");
    assert_eq!(session.created_at().unwrap().saturating_since(began), 5 * MINUTE);
}

#[tokio::test]
async fn a_regenerated_session_starts_its_absolute_lifetime_anew_and_a_rotated_one_does_not() {
    let mut bench = bench();
    bench.manager = bench.manager.with_policy(short());
    for (regenerate, age) in [(true, Duration::ZERO), (false, 5 * MINUTE)] {
        let id = bench.stored().await;
        bench.clock.advance(5 * MINUTE);
        let session = bench.manager.open(Some(&id)).await.unwrap();
        if regenerate {
            session.regenerate();
        } else {
            session.rotate_id();
        }
        session.insert("n", &2).unwrap();
        assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Rotated);
        assert_eq!(bench.clock.now().saturating_since(session.created_at().unwrap()), age);
    }
}

#[tokio::test]
async fn giving_up_the_owner_keeps_the_id() {
    let bench = bench();
    let (session, commit) = sign_in(&bench).await;
    assert!(commit.is_ok());
    session.insert("n", &1).unwrap();
    session.set_owner(None);
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Saved);
    assert_eq!(session.owner(), None);
}

#[tokio::test]
async fn clearing_signs_the_owner_out() {
    let bench = bench();
    let ada = Owner::new("ada").unwrap();
    let session = bench.manager.open(None).await.unwrap();
    session.set_owner(Some(ada.clone()));
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Created);
    assert_eq!(bench.manager.sessions_of(&ada).await.unwrap().len(), 1);
    session.clear();
    assert_eq!(session.owner(), None);
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Ended);
    assert_eq!(bench.manager.sessions_of(&ada).await.unwrap().len(), 0);
}

#[tokio::test]
async fn an_owner_lists_and_revokes_devices_and_keeps_this_one() {
    let bench = bench();
    let ada = Owner::new("ada").unwrap();
    let mut devices = Vec::new();
    for name in ["phone", "laptop", "library"] {
        let session = bench.manager.open(None).await.unwrap();
        session.set_owner(Some(ada.clone()));
        session.insert("device", name).unwrap();
        let _ = bench.manager.commit(&session).await.unwrap();
        devices.push(session);
    }
    let mut names: Vec<String> = Vec::new();
    for info in bench.manager.sessions_of(&ada).await.unwrap() {
        assert_eq!(info.owner(), Some(&ada));
        names.extend(info.get::<String>("device").unwrap());
    }
    names.sort();
    assert_eq!(names, ["laptop", "library", "phone"]);
    assert!(bench.manager.revoke(devices[2].key().unwrap()).await.unwrap());
    assert!(!bench.manager.revoke(devices[2].key().unwrap()).await.unwrap());
    assert_eq!(bench.manager.revoke_owned(&ada, devices[0].key()).await.unwrap(), 1);
    assert_eq!(bench.live().await, 1);
    assert!(!bench.manager.open(devices[0].id().as_ref()).await.unwrap().is_new());
    devices[1].insert("late", &1).unwrap();
    assert_eq!(bench.manager.commit(&devices[1]).await.unwrap().outcome, Outcome::Gone);
}

#[tokio::test]
async fn an_id_is_renewed_by_age_and_the_old_one_works_for_the_grace_only() {
    let mut bench = bench();
    bench.manager = bench.manager.with_policy(short().with_renewal_after(Some(5 * MINUTE)));
    let old = bench.stored().await;
    bench.clock.advance(5 * MINUTE);
    let parallel = bench.manager.open(Some(&old)).await.unwrap();
    let session = bench.manager.open(Some(&old)).await.unwrap();
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Rotated);
    let new = session.id().unwrap();
    assert_ne!(new, old);

    parallel.update("n", |n: Option<i64>| n.unwrap_or(0) + 1).unwrap();
    assert_eq!(bench.manager.commit(&parallel).await.unwrap().outcome, Outcome::Saved);
    assert_eq!(bench.n(&new).await, Some(2), "a request that was under way is not lost");
    let late = bench.manager.open(Some(&old)).await.unwrap();
    assert_eq!(late.get::<i64>("n").unwrap(), Some(2));
    assert_eq!(late.id(), None, "the old id learns nothing of the new one");
    assert_eq!(late.keys(), ["n"]);
    assert_eq!(bench.manager.sessions(None, 10).await.unwrap().0.len(), 1, "an alias is no session");

    bench.clock.advance(MINUTE / 2);
    assert_eq!(bench.n(&old).await, None);
    assert_eq!(bench.n(&new).await, Some(2));
    bench.clock.advance(9 * MINUTE);
    assert_eq!(bench.n(&new).await, Some(2), "the renewed session has its full life");
}

#[tokio::test]
async fn signing_out_ends_a_renewed_session_under_both_ids() {
    let mut bench = bench();
    bench.manager = bench.manager.with_policy(short().with_renewal_after(Some(5 * MINUTE)));
    let old = bench.stored().await;
    bench.clock.advance(5 * MINUTE);
    let session = bench.manager.open(Some(&old)).await.unwrap();
    let _ = bench.manager.commit(&session).await.unwrap();
    let under_old = bench.manager.open(Some(&old)).await.unwrap();
    under_old.destroy();
    let _ = bench.manager.commit(&under_old).await.unwrap();
    assert_eq!(bench.n(&old).await, None);
    assert_eq!(bench.n(&session.id().unwrap()).await, None);
}

#[tokio::test]
async fn after_a_change_of_privilege_the_old_id_is_dead_at_once_also_when_a_renewal_was_due() {
    let mut bench = bench();
    bench.manager = bench.manager.with_policy(short().with_renewal_after(Some(5 * MINUTE)));
    let old = bench.stored().await;
    bench.clock.advance(5 * MINUTE);
    let session = bench.manager.open(Some(&old)).await.unwrap();
    session.rotate_id();
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Rotated);
    assert_eq!(bench.n(&old).await, None);
    assert_eq!(bench.live().await, 1);
    session.remove("n");
    assert_eq!(
        bench.manager.commit(&session).await.unwrap().outcome,
        Outcome::Ended,
        "the id's age is no entry"
    );
}

/// Signs ada in on one more device.
async fn sign_in(bench: &support::Bench) -> (Session, session_core::Result<session_core::Commit>) {
    bench.clock.advance(Duration::from_secs(1));
    let session = bench.manager.open(None).await.unwrap();
    session.set_owner(Some(Owner::new("ada").unwrap()));
    let commit = bench.manager.commit(&session).await;
    (session, commit)
}

#[tokio::test]
async fn a_sign_in_over_the_limit_ends_the_oldest_session() {
    let mut bench = bench();
    bench.manager = bench.manager.with_policy(short().with_session_limit(Some(SessionLimit::EndOldest(2))));
    let mut devices = Vec::new();
    for _ in 0..4 {
        let (session, commit) = sign_in(&bench).await;
        assert_eq!(commit.unwrap().outcome, Outcome::Created);
        devices.push(session);
    }
    for (at, device) in devices.iter().enumerate() {
        let ended = bench.manager.open(device.id().as_ref()).await.unwrap().is_new();
        assert_eq!(ended, at < 2, "device {at}");
    }
}

#[tokio::test]
async fn a_sign_in_over_the_limit_is_refused_and_the_visitor_keeps_the_session() {
    let mut bench = bench();
    bench.manager = bench.manager.with_policy(short().with_session_limit(Some(SessionLimit::Refuse(1))));
    let (first, commit) = sign_in(&bench).await;
    assert!(commit.is_ok());
    let anonymous = bench.stored().await;
    let session = bench.manager.open(Some(&anonymous)).await.unwrap();
    session.set_owner(Some(Owner::new("ada").unwrap()));
    assert_eq!(bench.manager.commit(&session).await.unwrap_err().kind(), ErrorKind::TooManySessions);
    assert_eq!(bench.n(&anonymous).await, Some(1));
    first.destroy();
    let _ = bench.manager.commit(&first).await.unwrap();
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Rotated);
}

#[tokio::test]
async fn of_sign_ins_that_race_for_the_last_place_one_gets_it() {
    let mut bench = bench();
    bench.manager = bench.manager.with_policy(short().with_session_limit(Some(SessionLimit::Refuse(1))));
    let earlier = ManualClock::new(bench.clock.now());
    let other = SessionManager::new(bench.store.clone()).with_clock(Arc::new(earlier));
    // Between this sign-in's first look and its write another one is stored, which began a little before.
    bench.store.during("list", move || {
        let racing = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let session = other.open(None).await.unwrap();
                session.set_owner(Some(Owner::new("ada").unwrap()));
                other.commit(&session).await.unwrap().outcome
            })
        });
        assert_eq!(racing.join().unwrap(), Outcome::Created);
    });
    let (late, commit) = sign_in(&bench).await;
    assert_eq!(commit.unwrap_err().kind(), ErrorKind::TooManySessions);
    assert_eq!(bench.live().await, 1);
    late.insert("late", &1).unwrap();
    assert_eq!(bench.manager.commit(&late).await.unwrap().outcome, Outcome::Gone);
}

#[tokio::test]
async fn the_sweeper_deletes_what_expired_in_batches_and_stops() {
    let mut bench = bench();
    bench.manager = bench.manager.with_policy(short());
    for _ in 0..25 {
        bench.stored().await;
    }
    bench.clock.advance(11 * MINUTE);
    let live = bench.stored().await;
    let sweeper = Sweeper::new(bench.store.clone()).with_batch(10);
    assert_eq!(sweeper.sweep().await.unwrap(), 25);
    assert_eq!(bench.store.calls(), ["delete_expired"; 3]);
    let running = sweeper.with_interval(Duration::from_millis(2)).spawn();
    while bench.store.calls().is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    running.stop().await;
    bench.store.calls();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(bench.store.calls(), [""; 0], "it went on after it was stopped");
    assert_eq!(bench.n(&live).await, Some(1));
}

#[tokio::test]
async fn only_a_commit_that_writes_nothing_is_done_at_once() {
    let mut bench = bench();
    bench.manager = bench.manager.with_policy(short());
    let id = bench.stored().await;
    let session = bench.manager.open(Some(&id)).await.unwrap();
    let at_once = bench.manager.commit_at_once(&session).unwrap();
    assert_eq!((at_once.outcome, at_once.expires_at), (Outcome::Unchanged, session.expires_at()));
    assert!(at_once.expires_at.is_some());

    for change in [|session: &Session| session.insert("n", &2).unwrap(), Session::rotate_id] {
        change(&session);
        assert_eq!(bench.manager.commit_at_once(&session), None, "a change is to be stored");
        let _ = bench.manager.commit(&session).await.unwrap();
        assert!(bench.manager.commit_at_once(&session).is_some());
    }
    bench.clock.advance(9 * MINUTE);
    assert_eq!(bench.manager.commit_at_once(&session), None, "a touch is due");
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Touched);
    let renews = bench.manager.clone().with_policy(short().with_renewal_after(Some(60 * MINUTE)));
    assert_eq!(renews.commit_at_once(&session), None, "a new id may be due");
    session.destroy();
    assert_eq!(bench.manager.commit_at_once(&session), None, "the stored session is to be deleted");
    bench.store.fail_next(support::Fault::AnswerLost);
    assert!(bench.manager.commit(&session).await.is_err());
    assert_eq!(bench.manager.commit_at_once(&session), None, "nobody knows whether it was deleted");
}
