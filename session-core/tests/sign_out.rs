//! Sign-out wins, whatever happens to ids meanwhile (`[I4]`).
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::sync::Arc;

use session_core::{ErrorKind, ManualClock, Outcome, Session, SessionId, SessionLimit, SessionManager};
use support::{Bench, Fault, HOUR, MINUTE, ada, bench, bench_with, mixed};

type Act = fn(&Session);

/// What changes an id, and what writes without doing so. Whether a new session may begin after the end of this one.
const WRITERS: [(&str, Act, bool); 8] = [
    ("sign in again", |session| session.sign_in(ada()), true),
    ("rotate", Session::rotate_id, false),
    (
        "regenerate",
        |session| {
            session.regenerate();
            session.sign_in(ada());
        },
        true,
    ),
    ("permanence", |session| session.set_permanent(true), false),
    ("renewal", |_| (), false),
    ("insert", |session| session.insert("n", 2).unwrap(), false),
    ("update", |session| assert!(session.update("n", |n: Option<i64>| n.unwrap_or(0) + 1).is_ok()), false),
    ("flash", |session| session.flash("info", "hello").unwrap(), false),
];

/// How a session of ada's ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Destroy,
    Revoke,
    RevokeOf,
    RevokeAll,
    RevokeOthers,
    Limit,
}

const ENDS: [End; 6] =
    [End::Destroy, End::Revoke, End::RevokeOf, End::RevokeAll, End::RevokeOthers, End::Limit];

/// A request, or a part of the application, that ends the session of `id`. What it needs was loaded before.
struct Ending {
    how: End,
    id: SessionId,
    manager: SessionManager,
    clock: Arc<ManualClock>,
    opened: Session,
    elsewhere: SessionId,
}

impl Ending {
    async fn of(how: End, id: &SessionId, bench: &Bench) -> Self {
        let (manager, clock) = (bench.other(), bench.clock.clone());
        let elsewhere = manager.open(None).await.unwrap();
        elsewhere.sign_in(ada());
        let _ = manager.commit(&elsewhere).await.unwrap();
        let opened = manager.open(Some(id)).await.unwrap();
        Self { how, id: id.clone(), manager, clock, opened, elsewhere: elsewhere.id().unwrap() }
    }

    async fn run(self) {
        let Self { how, id, manager, clock, opened, elsewhere } = self;
        match how {
            End::Destroy => {
                opened.sign_out();
                assert_eq!(manager.commit(&opened).await.unwrap().outcome, Outcome::Destroyed);
            }
            End::Revoke => assert!(manager.revoke(id.key()).await.unwrap()),
            End::RevokeOf => assert!(manager.revoke_of(&ada(), id.key()).await.unwrap()),
            End::RevokeAll => assert!(manager.revoke_all_of(&ada()).await.unwrap() >= 2),
            End::RevokeOthers => {
                assert!(manager.revoke_others_of(&ada(), elsewhere.key()).await.unwrap() >= 1);
            }
            End::Limit => {
                let policy = manager.policy().clone().with_session_limit(Some(SessionLimit::EndOldest(1)));
                let manager = manager.with_policy(policy);
                let session = manager.open(None).await.unwrap();
                session.sign_in(ada());
                clock.advance(MINUTE);
                assert_eq!(manager.commit(&session).await.unwrap().outcome, Outcome::Created);
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum When {
    BeforeTheCommit,
    BeforeTheSave,
    DuringTheSave,
    AfterTheCommit,
}

const WHENS: [When; 4] =
    [When::BeforeTheCommit, When::BeforeTheSave, When::DuringTheSave, When::AfterTheCommit];

/// A session of ada's whose renewal is due, and an earlier one of hers that a limit meets first.
async fn scene() -> (Bench, SessionId) {
    let bench = bench_with(|short| short.with_renewal_after(Some(5 * MINUTE)));
    let id = bench.signed_in(ada()).await;
    bench.clock.advance(6 * MINUTE);
    (bench, id)
}

#[tokio::test]
async fn an_end_wins_over_every_change_of_the_id_and_every_write_before_during_and_after_it() {
    for how in ENDS {
        for (name, act, may_begin) in WRITERS {
            for when in WHENS {
                let (bench, id) = scene().await;
                let ending = Ending::of(how, &id, &bench).await;
                let writer = bench.open(&id).await;
                act(&writer);
                match when {
                    When::BeforeTheCommit => ending.run().await,
                    When::BeforeTheSave => bench.before("save", async move |_| ending.run().await),
                    When::DuringTheSave => bench.during("save", async move |_| ending.run().await),
                    When::AfterTheCommit => {
                        let _ = bench.commit(&writer).await;
                        ending.run().await;
                    }
                }
                let what = format!("{how:?}, {name}, {when:?}");
                let commit = bench.try_commit(&writer).await;
                let began = bench.record(id.key()).await;
                assert!(began.is_none(), "{what}: the session lives, {commit:?}");
                let shown = writer.id();
                assert!(!bench.opens(&id).await, "{what}");
                if let Some(shown) = shown.filter(|shown| shown.key() != id.key()) {
                    assert!(may_begin, "{what}: a session began");
                    assert_eq!(bench.open(&shown).await.owner(), Some(ada()), "{what}");
                }
                if !matches!(when, When::DuringTheSave | When::AfterTheCommit) && !may_begin {
                    assert_eq!(commit.outcome, Outcome::Ended, "{what}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_destroy_of_a_request_that_was_opened_before_an_explicit_change_ends_the_session() {
    for (name, change, _) in &WRITERS[..4] {
        for writes_first in [false, true] {
            let bench = bench();
            let id = bench.signed_in(ada()).await;
            let leaving = bench.open(&id).await;
            let (changed, _) = bench.request(&id, change).await;
            if writes_first {
                leaving.insert("late", 1).unwrap();
                assert_eq!(bench.dropped(&leaving).await, Outcome::Superseded, "{name}");
            }
            leaving.destroy();
            assert_eq!(bench.commit(&leaving).await, Outcome::Destroyed, "{name}");
            assert!(leaving.status().ended_here, "{name}");
            assert!(!bench.opens(&changed.id().unwrap()).await, "{name}");
            assert_eq!(bench.records().await, 0, "{name}");
        }
    }
}

#[tokio::test]
async fn an_old_secret_of_a_renewal_that_still_opens_can_end_the_session() {
    let bench = bench_with(|short| short.with_renewal_after(Some(5 * MINUTE)));
    let old = bench.stored().await;
    bench.clock.advance(5 * MINUTE);
    let (renewed, _) = bench.request(&old, |_| ()).await;
    let (_, outcome) = bench.request(&old, Session::destroy).await;
    assert_eq!((outcome, bench.records().await), (Outcome::Destroyed, 0));
    assert!(!bench.opens(&renewed.id().unwrap()).await);
}

#[tokio::test]
async fn a_destroy_with_an_id_that_was_changed_before_is_an_error_and_ends_nothing() {
    for later in [MINUTE, 8 * MINUTE] {
        let bench = bench_with(|short| short);
        let old = bench.signed_in(ada()).await;
        let (changed, _) = bench.request(&old, Session::rotate_id).await;
        bench.clock.advance(later);
        let leaving = bench.open(&old).await;
        assert_eq!(leaving.is_superseded(), later == MINUTE);
        leaving.sign_out();
        assert!(bench.manager.try_commit_now(&leaving).is_none());
        let error = bench.manager.commit(&leaving).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Superseded);
        assert!(!leaving.status().ended_here, "the cookie stays");
        assert!(bench.opens(&changed.id().unwrap()).await);
    }
}

#[tokio::test]
async fn a_guessed_secret_can_end_nothing() {
    let bench = bench();
    let id = bench.stored().await;
    bench.clock.advance(HOUR);
    let guess = mixed(&id, &SessionId::generate().unwrap());
    let session = bench.open(&guess).await;
    session.destroy();
    assert_eq!(bench.manager.commit(&session).await.unwrap_err().kind(), ErrorKind::Superseded);
    assert!(bench.opens(&id).await);
    // What such a request begins is its own, and it can end that.
    let session = bench.open(&guess).await;
    session.insert("n", 2).unwrap();
    assert_eq!(bench.commit(&session).await, Outcome::Created);
    session.destroy();
    assert_eq!(bench.commit(&session).await, Outcome::Destroyed);
    assert_eq!((bench.opens(&id).await, bench.records().await), (true, 1));
}

#[tokio::test]
async fn a_destroy_that_did_not_reach_the_store_is_not_acknowledged() {
    let bench = bench();
    let id = bench.stored().await;
    let session = bench.open(&id).await;
    session.destroy();
    for fault in [Fault::Refused, Fault::AnswerLost] {
        bench.store.fail("delete", fault);
        assert!(bench.manager.commit(&session).await.is_err());
        assert!(bench.manager.try_commit_now(&session).is_none(), "nobody knows whether it was deleted");
    }
    assert_eq!(bench.commit(&session).await, Outcome::Destroyed);
    assert!(!bench.opens(&id).await);
}

#[tokio::test]
async fn a_destroy_that_finds_nothing_is_acknowledged_and_does_not_claim_to_have_ended_it() {
    let bench = bench_with(|short| short);
    let id = bench.stored().await;
    let (first, second) = (bench.open(&id).await, bench.open(&id).await);
    for (session, ended_here) in [(&first, true), (&second, false)] {
        session.destroy();
        assert_eq!(bench.commit(session).await, Outcome::Destroyed);
        assert_eq!(session.status().ended_here, ended_here);
    }
    let expired = bench.stored().await;
    bench.clock.advance(HOUR);
    let session = bench.open(&expired).await;
    session.destroy();
    assert_eq!(bench.commit(&session).await, Outcome::Unchanged);
    assert!(!session.status().ended_here);
}

#[tokio::test]
async fn a_session_that_is_cleared_has_no_owner_and_takes_nothing_from_late_requests_of_its_owner() {
    let bench = bench();
    let id = bench.signed_in(ada()).await;
    let late = bench.open(&id).await;
    let (cleared, outcome) = bench
        .request(&id, |session| {
            session.clear();
            session.flash("info", "signed out").unwrap();
        })
        .await;
    assert_eq!((outcome, cleared.owner()), (Outcome::Rotated, None));
    late.insert("adas", 1).unwrap();
    assert_eq!(bench.dropped(&late).await, Outcome::Superseded);
    assert!(bench.open(&id).await.is_superseded());
    let anonymous = bench.open(&cleared.id().unwrap()).await;
    assert_eq!((anonymous.keys(), anonymous.owner()), (vec!["_flashes".to_owned()], None));
    assert_eq!(bench.manager.sessions_of(&ada()).await.unwrap().len(), 0);
}

#[tokio::test]
async fn clearing_everything_ends_the_session_of_its_owner() {
    let bench = bench();
    let id = bench.signed_in(ada()).await;
    let (session, outcome) = bench.request(&id, Session::clear).await;
    assert_eq!((outcome, bench.store.calls()), (Outcome::Destroyed, vec!["load", "save"]));
    assert!(session.owner().is_none() && session.status().ended_here);
    assert_eq!(bench.records().await, 0);
}
