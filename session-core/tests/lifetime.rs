//! How long sessions live.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use session_core::{Clock as _, Lifetime, Outcome, Policy, Session, Sweeper};
use support::{Bench, DAY, HOUR, MINUTE, ada, bench, bench_with};

#[tokio::test]
async fn reading_moves_the_expiry_only_after_the_set_share_of_the_idle_time() {
    let bench = bench_with(|short| short);
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
    let bench = bench_with(|short| short);
    let id = bench.stored().await;
    let saved = async |wait: Duration, change: fn(&Session)| {
        bench.clock.advance(wait);
        let session = bench.manager.open(Some(&id)).await.unwrap();
        change(&session);
        let commit = bench.manager.commit(&session).await.unwrap();
        commit.expires_at.unwrap().saturating_since(bench.clock.now())
    };
    let write = |session: &Session| session.insert("n", 2).unwrap();
    assert_eq!(saved(MINUTE / 2, write).await, 9 * MINUTE + MINUTE / 2);
    assert_eq!(saved(MINUTE / 2, write).await, 10 * MINUTE);
    assert_eq!(saved(MINUTE / 2, Session::rotate_id).await, 10 * MINUTE);
}

#[tokio::test]
async fn a_save_that_took_long_is_not_followed_by_a_touch() {
    let bench = bench_with(|short| short);
    let id = bench.stored().await;
    let session = bench.manager.open(Some(&id)).await.unwrap();
    session.insert("n", 2).unwrap();
    let clock = Arc::clone(&bench.clock);
    bench.store.during("save", move || clock.advance(2 * MINUTE));
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Saved);
    assert_eq!(bench.store.calls(), ["load", "save"]);
}

#[tokio::test]
async fn use_does_not_carry_a_session_over_its_absolute_lifetime() {
    let bench = bench_with(|short| short);
    let id = bench.stored().await;
    for minute in 1..60 {
        bench.clock.advance(MINUTE);
        let session = bench.manager.open(Some(&id)).await.unwrap();
        assert_eq!(session.get::<i64>("n").unwrap(), Some(minute));
        session.insert("n", minute + 1).unwrap();
        let _ = bench.manager.commit(&session).await.unwrap();
    }
    bench.clock.advance(MINUTE);
    assert_eq!(bench.n(&id).await, None);
}

#[tokio::test]
async fn a_session_that_expired_during_the_request_has_ended() {
    let bench = bench_with(|short| short);
    let id = bench.stored().await;
    let session = bench.manager.open(Some(&id)).await.unwrap();
    session.insert("n", 2).unwrap();
    bench.clock.advance(11 * MINUTE);
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Ended);
    assert_eq!(bench.live().await, 0);
}

#[tokio::test]
async fn a_sign_in_and_a_regeneration_start_the_absolute_lifetime_anew_and_a_rotation_does_not() {
    let bench = bench_with(|short| short);
    type Act = fn(&Session);
    let acts: [(Act, Duration); 4] = [
        (|session| session.sign_in(ada()), Duration::ZERO),
        (|session| session.sign_in(ada()), Duration::ZERO),
        (Session::rotate_id, 5 * MINUTE),
        (
            |session| {
                session.regenerate();
                session.insert("n", 2).unwrap();
            },
            Duration::ZERO,
        ),
    ];
    let mut id = bench.stored().await;
    for (act, age) in acts {
        bench.clock.advance(5 * MINUTE);
        let (session, outcome) = bench.request(&id, act).await;
        assert_eq!(outcome, Outcome::Rotated);
        assert_eq!(bench.clock.now().saturating_since(session.created_at().unwrap()), age);
        id = session.id().unwrap();
    }
}

/// Thirty days beside ten idle minutes for the rest.
fn remember_me() -> Lifetime {
    Lifetime { idle_timeout: 30 * DAY, absolute: Some(60 * DAY) }
}

fn remembering() -> Bench {
    bench_with(|short| short.with_longest_lifetime(remember_me()))
}

async fn sign_in_for(bench: &Bench, lifetime: Lifetime) -> Session {
    let session = bench.manager.open(None).await.unwrap();
    session.insert("n", 1).unwrap();
    session.set_lifetime(Some(lifetime));
    session.sign_in(ada());
    assert_eq!(bench.commit(&session).await, Outcome::Created);
    session
}

#[tokio::test]
async fn a_session_lives_as_long_as_it_asked_for_also_in_another_process() {
    let bench = remembering();
    let long = sign_in_for(&bench, remember_me()).await.id().unwrap();
    let ordinary = bench.stored().await;
    bench.clock.advance(29 * DAY);
    assert!(!bench.opens(&ordinary).await);
    let other = bench.other();
    let session = other.open(Some(&long)).await.unwrap();
    assert_eq!(session.status().lifetime, Some(remember_me()));
    assert_eq!(other.commit(&session).await.unwrap().outcome, Outcome::Touched);
    bench.clock.advance(30 * DAY - MINUTE);
    assert_eq!(bench.n(&long).await, Some(1));
    bench.clock.advance(DAY + MINUTE);
    assert!(!bench.opens(&long).await, "its absolute lifetime");
}

#[tokio::test]
async fn a_session_gets_no_more_than_the_policy_allows_and_what_it_wants_less_of_it_gets() {
    let much = Lifetime { idle_timeout: 400 * DAY, absolute: None };
    let bench = remembering();
    let session = sign_in_for(&bench, much).await;
    assert_eq!(session.expires_at().unwrap().saturating_since(bench.clock.now()), 30 * DAY);

    let bench = bench_with(|short| short);
    let session = sign_in_for(&bench, much).await;
    assert_eq!(session.expires_at().unwrap().saturating_since(bench.clock.now()), 10 * MINUTE, "no bounds");
    let little = Lifetime { idle_timeout: MINUTE, absolute: Some(2 * MINUTE) };
    let id = sign_in_for(&bench, little).await.id().unwrap();
    bench.clock.advance(MINUTE);
    assert!(!bench.opens(&id).await);
}

#[tokio::test]
async fn another_lifetime_comes_with_a_new_secret_and_the_same_one_with_none() {
    let bench = remembering();
    let id = sign_in_for(&bench, remember_me()).await.id().unwrap();
    let (session, outcome) = bench.request(&id, |session| session.set_lifetime(Some(remember_me()))).await;
    assert_eq!((outcome, session.id()), (Outcome::Unchanged, Some(id.clone())));
    let (session, outcome) = bench.request(&id, |session| session.set_lifetime(None)).await;
    assert_eq!(outcome, Outcome::Rotated);
    assert_eq!(session.expires_at().unwrap().saturating_since(bench.clock.now()), 10 * MINUTE);
    assert_ne!(session.id(), Some(id));
}

#[tokio::test]
async fn another_permanence_comes_with_a_new_secret_and_the_same_one_with_none() {
    let bench = bench();
    let id = bench.stored().await;
    let (session, outcome) = bench.request(&id, |session| session.set_permanent(true)).await;
    assert_eq!((outcome, session.status().id_is_new), (Outcome::Rotated, true));
    let id = session.id().unwrap();
    let (session, outcome) = bench.request(&id, |session| session.set_permanent(true)).await;
    assert_eq!((outcome, session.status().id_is_new), (Outcome::Saved, false));
}

#[tokio::test]
async fn a_policy_that_became_stricter_ends_what_was_stored_before_it_and_lists_it_no_more() {
    type Change = fn(Policy) -> Policy;
    let stricter: [(&str, Change); 2] = [
        ("absolute", |policy| policy.with_absolute_lifetime(Some(20 * MINUTE))),
        ("idle", |policy| policy.with_idle_timeout(20 * MINUTE)),
    ];
    for (which, stricter) in stricter {
        let bench = bench();
        let id = bench.signed_in(ada()).await;
        bench.clock.advance(30 * MINUTE);
        let strict = bench.manager.clone().with_policy(stricter(Policy::default()));
        assert_eq!(strict.sessions_of(&ada()).await.unwrap().len(), 0, "{which}");
        assert!(strict.open(Some(&id)).await.unwrap().is_new(), "{which}");
        assert_eq!(bench.records().await, 0, "{which}: it does not come back when the policy is relaxed");
    }
}

#[tokio::test]
async fn a_stricter_policy_reaches_what_is_stored_and_in_use_with_its_next_use() {
    let bench = bench();
    let id = bench.stored().await;
    let strict = bench.manager.clone().with_policy(Policy::default().with_idle_timeout(20 * MINUTE));
    bench.clock.advance(10 * MINUTE);
    let session = strict.open(Some(&id)).await.unwrap();
    assert_eq!(session.get::<i64>("n").unwrap(), Some(1), "used within the idle timeout of today");
    assert_eq!(strict.commit(&session).await.unwrap().outcome, Outcome::Touched);
    assert_eq!(session.expires_at().unwrap().saturating_since(bench.clock.now()), 20 * MINUTE);
    bench.clock.advance(20 * MINUTE);
    assert!(!bench.opens(&id).await, "also for a process with the policy of yesterday");
}

#[tokio::test]
async fn a_shorter_longest_lifetime_reaches_the_remembered_sessions() {
    let bench = remembering();
    let id = sign_in_for(&bench, remember_me()).await.id().unwrap();
    bench.clock.advance(2 * DAY);
    let day = Lifetime { idle_timeout: DAY, absolute: Some(10 * DAY) };
    let strict = bench.manager.clone().with_policy(bench.manager.policy().clone().with_longest_lifetime(day));
    assert!(strict.open(Some(&id)).await.unwrap().is_new());
}

#[tokio::test]
async fn a_lifetime_of_odd_length_or_without_end_costs_no_write_with_each_request() {
    for idle in [Duration::from_nanos(600_000_000_001), Duration::MAX] {
        let bench = bench_with(|short| {
            short.with_idle_timeout(idle).with_absolute_lifetime(None).with_touch_share(1.0)
        });
        let id = bench.stored().await;
        let (session, outcome) = bench.request(&id, |_| ()).await;
        assert_eq!(outcome, Outcome::Unchanged, "{idle:?}");
        session
            .set_lifetime(Some(Lifetime { idle_timeout: Duration::from_nanos(1_000_001), absolute: None }));
        let _ = bench.commit(&session).await;
        session
            .set_lifetime(Some(Lifetime { idle_timeout: Duration::from_nanos(1_000_001), absolute: None }));
        assert_eq!(bench.commit(&session).await, Outcome::Unchanged, "the same lifetime");
    }
}

#[tokio::test]
async fn a_request_that_does_not_count_as_use_moves_no_expiry_and_its_changes_are_stored() {
    let bench = bench_with(|short| short);
    let id = bench.stored().await;
    let session = bench.open(&id).await;
    let end = session.expires_at();
    bench.clock.advance(5 * MINUTE);
    session.set_counts_as_use(false);
    assert!(bench.manager.try_commit_now(&session).is_some());
    session.insert("n", 2).unwrap();
    let commit = bench.try_commit(&session).await;
    assert_eq!((commit.outcome, commit.expires_at), (Outcome::Saved, end));
    assert_eq!(bench.n(&id).await, Some(2));
    bench.clock.advance(5 * MINUTE);
    assert!(!bench.opens(&id).await);
}

#[tokio::test]
async fn a_listed_session_tells_since_when_it_was_used_at_least() {
    let bench = bench_with(|short| short);
    let id = bench.signed_in(ada()).await;
    let used_since = async || bench.manager.sessions_of(&ada()).await.unwrap()[0].used_since().unwrap();
    let begin = bench.clock.now();
    assert_eq!(used_since().await, begin);
    bench.clock.advance(MINUTE / 2);
    bench.request(&id, |_| ()).await;
    assert_eq!(used_since().await, begin, "within the touch share");
    bench.clock.advance(MINUTE);
    bench.request(&id, |_| ()).await;
    assert_eq!(used_since().await, bench.clock.now());
}

#[tokio::test]
async fn the_sweeper_deletes_what_expired_in_batches_and_stops() {
    let bench = bench_with(|short| short);
    for _ in 0..25 {
        bench.stored().await;
    }
    bench.clock.advance(11 * MINUTE);
    let live = bench.stored().await;
    let sweeper = Sweeper::new(bench.store.clone()).with_batch(10);
    // The memory store may have removed two of them itself, when the last one was stored.
    let swept = sweeper.sweep().await.unwrap();
    assert!((23..=25).contains(&swept), "{swept}");
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
    let bench = bench_with(|short| short);
    let id = bench.stored().await;
    let session = bench.manager.open(Some(&id)).await.unwrap();
    let at_once = bench.manager.try_commit_now(&session).unwrap();
    assert_eq!((at_once.outcome, at_once.expires_at), (Outcome::Unchanged, session.expires_at()));
    assert!(at_once.expires_at.is_some());

    for change in [|session: &Session| session.insert("n", 2).unwrap(), Session::rotate_id] {
        change(&session);
        assert_eq!(bench.manager.try_commit_now(&session), None, "a change is to be stored");
        let _ = bench.manager.commit(&session).await.unwrap();
        assert!(bench.manager.try_commit_now(&session).is_some());
    }
    bench.clock.advance(9 * MINUTE);
    assert_eq!(bench.manager.try_commit_now(&session), None, "a touch is due");
    assert_eq!(bench.manager.commit(&session).await.unwrap().outcome, Outcome::Touched);
    let renews =
        bench.manager.clone().with_policy(bench.manager.policy().clone().with_renewal_after(Some(HOUR)));
    assert_eq!(renews.try_commit_now(&session), None, "a new id may be due");
    session.destroy();
    assert_eq!(bench.manager.try_commit_now(&session), None, "the stored session is to be deleted");
    bench.store.fail_next(support::Fault::AnswerLost);
    assert!(bench.manager.commit(&session).await.is_err());
    assert_eq!(bench.manager.try_commit_now(&session), None, "nobody knows whether it was deleted");
}
