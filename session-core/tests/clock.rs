//! Sessions live by the store's clock, whatever this host's says (`[H5]`).
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use session_core::{Clock as _, ManualClock, Outcome, Policy, Session, Timestamp};
use support::{Bench, DAY, HOUR, MINUTE, START, ada};

/// Ten idle minutes and an hour in all, on a host whose clock is so many milliseconds ahead.
fn apart(millis: i64) -> (Bench, Arc<ManualClock>) {
    let host = Arc::new(ManualClock::new(Timestamp::from_millis(START.as_millis() + millis)));
    let mut bench = Bench::on(Arc::new(ManualClock::new(START)), host.clone());
    let policy = Policy::default().with_idle_timeout(10 * MINUTE).with_absolute_lifetime(Some(HOUR));
    bench.manager = bench.manager.with_policy(policy);
    (bench, host)
}

const OFF: [i64; 5] = [0, 600_000, -600_000, 1_000 * 86_400_000, -1_000 * 86_400_000];

fn pass(bench: &Bench, host: &ManualClock, time: Duration) {
    bench.clock.advance(time);
    host.advance(time);
}

#[tokio::test]
async fn a_host_that_is_ten_minutes_or_years_off_changes_nothing() {
    for off in OFF {
        let (bench, host) = apart(off);
        let id = bench.signed_in(ada()).await;
        let session = bench.open(&id).await;
        assert_eq!(session.created_at(), Some(START), "{off}");
        assert_eq!(session.expires_at(), Some(START.saturating_add(10 * MINUTE)), "{off}");
        assert_eq!(bench.manager.now(), START, "{off}");
        let info = &bench.manager.sessions_of(&ada()).await.unwrap()[0];
        assert_eq!(info.used_since(), Some(START), "{off}");

        pass(&bench, &host, 9 * MINUTE);
        let (session, outcome) = bench.request(&id, |_| ()).await;
        assert_eq!(outcome, Outcome::Touched, "{off}");
        assert_eq!(session.expires_at(), Some(START.saturating_add(19 * MINUTE)), "{off}");
        pass(&bench, &host, 10 * MINUTE - Duration::from_millis(1));
        assert!(bench.opens(&id).await, "{off}");
        pass(&bench, &host, Duration::from_millis(1));
        assert!(!bench.opens(&id).await, "{off}");
    }
}

#[tokio::test]
async fn the_absolute_lifetime_and_what_follows_a_change_of_the_id_go_by_the_stores_clock_too() {
    for off in OFF {
        let (bench, host) = apart(off);
        let id = bench.stored().await;
        let (changed, _) = bench.request(&id, Session::rotate_id).await;
        pass(&bench, &host, 5 * MINUTE - Duration::from_millis(1));
        assert!(bench.open(&id).await.is_superseded(), "{off}");
        pass(&bench, &host, Duration::from_millis(1));
        assert!(!bench.open(&id).await.is_superseded(), "{off}");
        let id = changed.id().unwrap();
        for _ in 0..6 {
            bench.request(&id, |session| session.insert("n", 1).unwrap()).await;
            pass(&bench, &host, 9 * MINUTE);
        }
        let (session, _) = bench.request(&id, |session| session.insert("n", 1).unwrap()).await;
        assert_eq!(session.expires_at(), Some(START.saturating_add(HOUR)), "{off}");
        pass(&bench, &host, MINUTE);
        assert!(!bench.opens(&id).await, "{off}");
    }
}

#[tokio::test]
async fn two_hosts_whose_clocks_differ_agree_on_each_session() {
    let (bench, _) = apart(600_000);
    let late = ManualClock::new(Timestamp::from_millis(START.as_millis() - 600_000));
    let late = bench.manager.clone().with_clock(Arc::new(late));
    let id = bench.stored().await;
    let session = late.open(Some(&id)).await.unwrap();
    assert_eq!(session.get::<i64>("n").unwrap(), Some(1));
    assert_eq!(late.commit(&session).await.unwrap().outcome, Outcome::Unchanged);
    assert_eq!(session.expires_at(), Some(START.saturating_add(10 * MINUTE)));
}

#[tokio::test]
async fn a_host_whose_clock_is_set_between_two_measurements_ends_and_revives_nothing() {
    for step in [2_000, -2_000, 365 * 86_400_000_i64, -365 * 86_400_000] {
        let (bench, host) = apart(0);
        let id = bench.stored().await;
        let set = |millis: i64| host.set(Timestamp::from_millis(host.now().as_millis() + millis));
        set(step);
        let session = bench.open(&id).await;
        session.insert("n", 2).unwrap();
        let commit = bench.try_commit(&session).await;
        assert_eq!(commit.expires_at, Some(START.saturating_add(10 * MINUTE)), "{step}");

        // What is decided when a session is opened: a policy that is stricter now, an id that was changed.
        let policy = bench.manager.policy().clone();
        let strict = bench.manager.clone().with_policy(policy.with_idle_timeout(9 * MINUTE));
        strict.prepare().await.unwrap();
        set(step);
        assert!(!strict.open(Some(&id)).await.unwrap().is_new(), "{step}: ended by a clock that was set");
        set(step);
        assert_eq!(strict.sessions(None, 9).await.unwrap().0.len(), 1, "{step}");
        let (changed, _) = bench.request(&id, Session::rotate_id).await;
        set(step);
        assert!(bench.open(&id).await.is_superseded(), "{step}");
        assert!(bench.opens(&changed.id().unwrap()).await, "{step}");
    }
}

#[tokio::test]
async fn the_grace_of_a_renewal_is_not_cut_short_by_a_clock_that_was_set() {
    let (mut bench, host) = apart(0);
    let policy = bench.manager.policy().clone().with_renewal_after(Some(MINUTE));
    bench.manager = bench.manager.clone().with_policy(policy);
    let old = bench.stored().await;
    pass(&bench, &host, MINUTE);
    let (renewed, _) = bench.request(&old, |_| ()).await;
    let (_, shown) = bench.request(&renewed.id().unwrap(), |_| ()).await;
    assert_eq!(shown, Outcome::Touched);
    host.advance(DAY);
    assert!(bench.opens(&old).await, "the store's clock stands within the grace");
}

#[tokio::test]
async fn the_time_is_asked_for_at_first_use_and_again_when_the_clock_was_set_and_not_with_each_request() {
    let (bench, host) = apart(0);
    let id = bench.stored().await;
    assert_eq!(bench.store.setups(), ["prepare", "now"]);
    for _ in 0..10 {
        let (session, _) = bench.request(&id, |session| session.insert("n", 1).unwrap()).await;
        assert!(bench.manager.try_commit_now(&session).is_some());
    }
    assert_eq!(bench.store.setups(), [""; 0]);
    let session = bench.open(&id).await;
    host.advance(DAY);
    assert!(bench.manager.try_commit_now(&session).is_none(), "nobody knows what is due");
    assert_eq!(bench.commit(&session).await, Outcome::Unchanged);
    assert_eq!(bench.store.setups(), ["now"]);
}

#[tokio::test]
async fn a_store_that_cannot_tell_the_time_any_more_fails_no_request() {
    for off in OFF {
        let (bench, host) = apart(off);
        let id = bench.stored().await;
        bench.store.break_now(true);
        pass(&bench, &host, 2 * MINUTE);
        let (session, outcome) = bench.request(&id, |session| session.insert("n", 2).unwrap()).await;
        assert_eq!(outcome, Outcome::Saved, "{off}");
        assert_eq!(
            session.expires_at(),
            Some(START.saturating_add(12 * MINUTE)),
            "{off}: the old difference"
        );
        let (_, outcome) = bench.request(&id, |_| ()).await;
        assert_eq!(outcome, Outcome::Unchanged, "{off}");
        assert_eq!(bench.manager.revoke(id.key()).await.ok(), Some(true), "{off}");
    }
}

#[tokio::test]
async fn a_store_that_never_told_the_time_is_an_error_until_it_does() {
    let (bench, _) = apart(600_000);
    bench.store.break_now(true);
    let session = bench.manager.open(None).await.unwrap();
    session.insert("n", 1).unwrap();
    assert!(bench.manager.commit(&session).await.unwrap_err().is_retryable());
    assert!(bench.manager.prepare().await.is_err());
    assert_eq!(bench.records().await, 0);
    bench.store.break_now(false);
    assert_eq!(bench.commit(&session).await, Outcome::Created);
    assert_eq!(session.expires_at(), Some(START.saturating_add(10 * MINUTE)));
}
