//! How many sessions an owner may have (`[I7]`).
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::time::Duration;

use session_core::{Clock as _, ErrorKind, Outcome, Session, SessionId, SessionLimit};
use support::{Bench, Fault, MINUTE, ada, bench_with, bob, polled};

fn limited(limit: SessionLimit) -> Bench {
    bench_with(|short| short.with_session_limit(Some(limit)))
}

/// Ada signs in on one more device, a minute later.
async fn sign_in(bench: &Bench) -> (Session, session_core::Result<Outcome>) {
    bench.clock.advance(MINUTE);
    let session = bench.manager.open(None).await.unwrap();
    session.sign_in(ada());
    let outcome = bench.manager.commit(&session).await.map(|commit| commit.outcome);
    (session, outcome)
}

async fn devices(bench: &Bench, count: usize) -> Vec<SessionId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let (session, outcome) = sign_in(bench).await;
        assert_eq!(outcome.unwrap(), Outcome::Created);
        ids.push(session.id().unwrap());
    }
    ids
}

async fn open_ones(bench: &Bench, ids: &[SessionId]) -> Vec<bool> {
    let mut open = Vec::new();
    for id in ids {
        open.push(bench.opens(id).await);
    }
    open
}

#[tokio::test]
async fn a_sign_in_over_the_limit_ends_the_oldest_session() {
    let bench = limited(SessionLimit::EndOldest(2));
    let ids = devices(&bench, 4).await;
    assert_eq!(open_ones(&bench, &ids).await, [false, false, true, true]);
}

#[tokio::test]
async fn a_later_sign_in_on_the_same_session_moves_it_in_no_order() {
    let bench = limited(SessionLimit::EndOldest(2));
    let mut ids = devices(&bench, 2).await;
    bench.clock.advance(MINUTE);
    let (again, outcome) = bench.request(&ids[0], |session| session.sign_in(ada())).await;
    assert_eq!(outcome, Outcome::Rotated);
    ids[0] = again.id().unwrap();
    ids.extend(devices(&bench, 1).await);
    assert_eq!(open_ones(&bench, &ids).await, [false, true, true]);
}

#[tokio::test]
async fn a_session_counts_from_when_it_first_got_this_owner_and_not_from_when_it_began() {
    let bench = limited(SessionLimit::EndOldest(2));
    let anonymous = bench.stored().await;
    let mut ids = devices(&bench, 2).await;
    bench.clock.advance(MINUTE);
    let (session, outcome) = bench.request(&anonymous, |session| session.sign_in(ada())).await;
    assert_eq!(outcome, Outcome::Rotated);
    ids.push(session.id().unwrap());
    assert_eq!(open_ones(&bench, &ids).await, [false, true, true]);
}

#[tokio::test]
async fn a_limit_of_one_owner_is_none_of_anothers_and_a_trace_counts_for_nobody() {
    let bench = limited(SessionLimit::EndOldest(1));
    let bobs = bench.signed_in(bob()).await;
    let adas = devices(&bench, 1).await;
    assert!(bench.opens(&bobs).await);
    // Carl replaces ada in her browser, and what is left of her session is in nobody's way.
    bench.request(&adas[0], |session| session.sign_in("carl".parse().unwrap())).await;
    let refusing = bench.manager.policy().clone().with_session_limit(Some(SessionLimit::Refuse(1)));
    let refusing = bench.manager.clone().with_policy(refusing);
    let session = refusing.open(None).await.unwrap();
    session.sign_in(ada());
    assert_eq!(refusing.commit(&session).await.unwrap().outcome, Outcome::Created);
}

#[tokio::test]
async fn sign_ins_that_race_agree_on_who_stays() {
    // The second one is stored before, or while, the first one is; or before, or while, the first one looks afterwards.
    for call in ["create", "list"] {
        for during in [false, true] {
            let bench = limited(SessionLimit::EndOldest(1));
            let clock = bench.clock.clone();
            let other = async move |manager: session_core::SessionManager| {
                clock.advance(MINUTE);
                let session = manager.open(None).await.unwrap();
                session.sign_in(ada());
                assert!(manager.commit(&session).await.is_ok());
            };
            let happens = |other| if during { bench.during(call, other) } else { bench.before(call, other) };
            let nothing: fn(_) -> std::future::Ready<()> = |_| std::future::ready(());
            if call == "list" {
                // The look before the sign-in.
                if during {
                    bench.during(call, nothing);
                } else {
                    bench.before(call, nothing);
                };
            }
            happens(other);
            let session = bench.manager.open(None).await.unwrap();
            session.sign_in(ada());
            let commit = bench.try_commit(&session).await;
            let left = bench.manager.sessions_of(&ada()).await.unwrap();
            assert_eq!(left.len(), 1, "{call}, during: {during}");
            assert_ne!(Some(left[0].key()), session.key(), "the one who got its owner last stays");
            let is_told = (commit.outcome, commit.dropped_changes) == (Outcome::Ended, true);
            // One that had its look already learns of its end with its next request.
            assert!(is_told != (call == "list" && during), "{call}, during: {during}: {commit:?}");
        }
    }
}

#[tokio::test]
async fn a_sign_in_after_another_one_stays_whatever_the_clocks_say() {
    for behind in [0, 1, 10 * 60_000] {
        let bench = limited(SessionLimit::EndOldest(2));
        let mut ids = Vec::new();
        for _ in 0..5 {
            let session = bench.manager.open(None).await.unwrap();
            session.sign_in(ada());
            assert_eq!(bench.commit(&session).await, Outcome::Created);
            ids.push(session.id().unwrap());
            bench.clock.set(bench.clock.now().saturating_sub(Duration::from_millis(behind)));
        }
        assert_eq!(open_ones(&bench, &ids).await, [false, false, false, true, true], "{behind} ms");
        // A session that was anonymous, too; and a later sign-in moves nothing.
        let anonymous = bench.stored().await;
        let (session, outcome) = bench.request(&anonymous, |session| session.sign_in(ada())).await;
        assert_eq!(outcome, Outcome::Rotated);
        let (again, outcome) = bench.request(&ids[4], |session| session.sign_in(ada())).await;
        assert_eq!(outcome, Outcome::Rotated);
        let last = bench.manager.open(None).await.unwrap();
        last.sign_in(ada());
        assert_eq!(bench.commit(&last).await, Outcome::Created);
        let ids = [again.id().unwrap(), session.id().unwrap(), last.id().unwrap()];
        assert_eq!(open_ones(&bench, &ids).await, [false, true, true], "{behind} ms");
    }
}

#[tokio::test]
async fn sign_ins_of_the_same_moment_that_do_not_see_each_other_agree_by_their_keys() {
    for _ in 0..20 {
        let bench = limited(SessionLimit::EndOldest(1));
        bench.before("create", async |manager: session_core::SessionManager| {
            let session = manager.open(None).await.unwrap();
            session.sign_in(ada());
            assert_eq!(manager.commit(&session).await.unwrap().outcome, Outcome::Created);
        });
        let session = bench.manager.open(None).await.unwrap();
        session.sign_in(ada());
        let outcome = bench.try_commit(&session).await.outcome;
        let mut keys: Vec<_> = bench.store.written().into_iter().map(|(key, _)| key).collect();
        keys.sort_unstable();
        keys.dedup();
        let left = bench.manager.sessions_of(&ada()).await.unwrap();
        assert_eq!(left.iter().map(|info| info.key()).collect::<Vec<_>>(), keys[1..]);
        let stays = session.key() == Some(keys[1]);
        assert_eq!(outcome, if stays { Outcome::Created } else { Outcome::Ended });
    }
}

#[tokio::test]
async fn a_sign_in_over_the_limit_is_refused_and_the_visitor_keeps_the_session() {
    let bench = limited(SessionLimit::Refuse(1));
    let first = devices(&bench, 1).await;
    let anonymous = bench.stored().await;
    let session = bench.open(&anonymous).await;
    session.sign_in(ada());
    session.insert("n", 7).unwrap();
    assert_eq!(bench.manager.commit(&session).await.unwrap_err().kind(), ErrorKind::TooManySessions);
    assert_eq!((bench.commit(&session).await, session.owner()), (Outcome::Unchanged, None));
    assert_eq!((session.id(), bench.n(&anonymous).await), (Some(anonymous.clone()), Some(1)));
    let (again, outcome) = bench.request(&first[0], |session| session.sign_in(ada())).await;
    assert_eq!(outcome, Outcome::Rotated, "her own session is no further one");
    again.destroy();
    let _ = bench.commit(&again).await;
    session.sign_in(ada());
    assert_eq!(bench.commit(&session).await, Outcome::Rotated);
}

#[tokio::test]
async fn of_sign_ins_that_race_for_the_last_place_who_was_told_yes_stays() {
    for begins_first in [true, false] {
        let bench = limited(SessionLimit::Refuse(1));
        // Between this sign-in's first look and its write another one is stored.
        let clock = bench.clock.clone();
        bench.during("list", async move |manager| {
            if begins_first {
                clock.advance(MINUTE);
            }
            let session = manager.open(None).await.unwrap();
            session.sign_in(ada());
            assert_eq!(manager.commit(&session).await.unwrap().outcome, Outcome::Created);
        });
        let (late, outcome) = sign_in(&bench).await;
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::TooManySessions);
        assert_eq!(bench.manager.sessions_of(&ada()).await.unwrap().len(), 1);
        late.insert("late", 1).unwrap();
        assert_eq!(bench.dropped(&late).await, Outcome::Ended);
        assert_eq!(bench.live().await, 1);
    }
}

#[tokio::test]
async fn a_sign_in_again_is_refused_by_no_limit_also_by_one_that_was_lowered() {
    let bench = limited(SessionLimit::Refuse(3));
    let ids = devices(&bench, 3).await;
    let lowered = bench.manager.policy().clone().with_session_limit(Some(SessionLimit::Refuse(1)));
    let lowered = bench.manager.clone().with_policy(lowered);
    bench.clock.advance(MINUTE);
    let session = lowered.open(Some(&ids[2])).await.unwrap();
    session.sign_in(ada());
    assert_eq!(lowered.commit(&session).await.unwrap().outcome, Outcome::Rotated);
    assert!(bench.opens(&session.id().unwrap()).await);
}

#[tokio::test]
async fn a_sign_in_that_is_tried_again_later_takes_no_place_that_was_given_away_meanwhile() {
    let bench = limited(SessionLimit::Refuse(1));
    let anonymous = bench.stored().await;
    let session = bench.open(&anonymous).await;
    session.sign_in(ada());
    bench.store.fail("save", Fault::Refused);
    assert!(bench.manager.commit(&session).await.is_err());
    let ids = devices(&bench, 1).await;
    assert_eq!(bench.manager.commit(&session).await.unwrap_err().kind(), ErrorKind::TooManySessions);
    assert!(bench.opens(&ids[0]).await);
    assert_eq!(bench.n(&anonymous).await, Some(1));
}

#[tokio::test]
async fn a_limit_holds_also_when_the_look_after_the_sign_in_failed_or_was_cut_off() {
    for fault in [Fault::Refused, Fault::AnswerLost, Fault::Hangs] {
        let bench = limited(SessionLimit::EndOldest(1));
        let ids = devices(&bench, 1).await;
        bench.clock.advance(MINUTE);
        let session = bench.manager.open(None).await.unwrap();
        session.sign_in(ada());
        bench.store.fail("list", fault);
        let mut commit = Box::pin(bench.manager.commit(&session));
        assert!(polled(&mut commit).await.is_none_or(|commit| commit.is_err()), "{fault:?}");
        drop(commit);
        assert!(bench.opens(&ids[0]).await, "{fault:?}");
        assert!(bench.manager.try_commit_now(&session).is_none(), "{fault:?}");
        assert!(bench.manager.commit(&session).await.is_ok(), "{fault:?}");
        assert!(!bench.opens(&ids[0]).await, "{fault:?}");
        assert!(bench.opens(&session.id().unwrap()).await, "{fault:?}");
    }
}

#[tokio::test]
async fn a_limit_holds_also_when_the_answer_of_the_sign_in_was_lost() {
    for somebody_writes in [false, true] {
        let bench = limited(SessionLimit::EndOldest(1));
        let ids = devices(&bench, 1).await;
        let anonymous = bench.stored().await;
        bench.clock.advance(MINUTE);
        let session = bench.open(&anonymous).await;
        session.sign_in(ada());
        bench.store.fail("save", Fault::AnswerLost);
        assert!(bench.manager.commit(&session).await.is_err());
        if somebody_writes {
            let act = |session: &Session| session.insert("n", 5);
            assert_eq!(bench.manager.change(anonymous.key(), act).await.unwrap(), Outcome::Saved);
        }
        assert_eq!(bench.commit(&session).await, Outcome::Rotated);
        assert!(!bench.opens(&ids[0]).await && bench.opens(&session.id().unwrap()).await);
    }
}
