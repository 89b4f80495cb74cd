//! Who signs in owns the outcome, and nothing of another owner stays (`[I6]`, `[I7]`).
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use session_core::{
    ErrorKind, Outcome, Owner, Policy, Session, SessionId, SessionLimit, SessionStore as _, Undecodable,
};
use support::{Bench, Fault, MINUTE, ada, bench, bench_with, bob};

fn sign_in(session: &Session) {
    session.sign_in(ada());
    session.insert("hello", "ada").unwrap();
}

#[tokio::test]
async fn a_login_form_that_is_sent_twice_signs_in_whichever_commits_first() {
    for in_the_middle in [false, true] {
        let bench = bench();
        let anonymous = bench.stored().await;
        let (first, second) = (bench.open(&anonymous).await, bench.open(&anonymous).await);
        sign_in(&first);
        sign_in(&second);
        if in_the_middle {
            let id = anonymous.clone();
            bench.before("save", async move |manager| {
                let third = manager.open(Some(&id)).await.unwrap();
                sign_in(&third);
                assert_eq!(manager.commit(&third).await.unwrap().outcome, Outcome::Rotated);
            });
        }
        for (session, outcome) in [
            (&first, if in_the_middle { Outcome::Created } else { Outcome::Rotated }),
            (&second, Outcome::Created),
        ] {
            let commit = bench.try_commit(session).await;
            assert_eq!((commit.outcome, commit.dropped_changes), (outcome, false));
            assert!(session.status().id_is_new && !session.status().ended_here);
        }
        for session in [&first, &second] {
            let next = bench.open(&session.id().unwrap()).await;
            assert_eq!(next.owner(), Some(ada()));
            assert_eq!(next.get::<String>("hello").unwrap().as_deref(), Some("ada"));
        }
        assert!(bench.open(&anonymous).await.is_superseded());
    }
}

#[tokio::test]
async fn a_sign_in_after_the_end_of_its_session_begins_a_new_one() {
    for act in ["sign out", "revoke", "expire"] {
        let bench = bench_with(|short| short);
        let id = bench.signed_in(ada()).await;
        let session = bench.open(&id).await;
        sign_in(&session);
        match act {
            "sign out" => drop(bench.request(&id, Session::sign_out).await),
            "revoke" => assert!(bench.manager.revoke(id.key()).await.unwrap()),
            _ => bench.clock.advance(20 * MINUTE),
        }
        bench.store.calls();
        assert_eq!(bench.commit(&session).await, Outcome::Created, "{act}");
        assert_eq!(bench.store.calls(), ["save", "create"], "{act}");
        let next = bench.open(&session.id().unwrap()).await;
        assert_eq!((next.owner(), next.keys()), (Some(ada()), vec!["hello".to_owned()]), "{act}");
        assert!(!bench.opens(&id).await, "{act}");
    }
}

#[tokio::test]
async fn a_sign_in_with_a_superseded_id_begins_a_new_session_and_leaves_the_other_alone() {
    let bench = bench();
    let old = bench.stored().await;
    let (changed, _) = bench.request(&old, Session::rotate_id).await;
    let (session, outcome) = bench.request(&old, sign_in).await;
    assert_eq!((outcome, session.is_superseded()), (Outcome::Created, false));
    assert!(bench.opens(&session.id().unwrap()).await && bench.opens(&changed.id().unwrap()).await);
}

#[tokio::test]
async fn what_was_put_in_besides_a_sign_in_that_begins_anew_is_computed_from_nothing_of_the_old_session() {
    let bench = bench();
    let anonymous = bench.stored().await;
    let session = bench.open(&anonymous).await;
    session.update("n", |n: Option<i64>| n.unwrap_or(100) + 1).unwrap();
    session.sign_in(ada());
    let _ = bench.manager.revoke(anonymous.key()).await.unwrap();
    let _ = bench.commit(&session).await;
    assert_eq!(bench.n(&session.id().unwrap()).await, Some(101));
}

#[tokio::test]
async fn an_anonymous_session_keeps_its_basket_but_not_what_an_attacker_planted() {
    let bench = bench();
    let session = bench.manager.open(None).await.unwrap();
    session.insert("basket", ["apple"]).unwrap();
    session.insert("_csrf", "planted").unwrap();
    let _ = bench.commit(&session).await;
    let anonymous = session.id().unwrap();
    let (session, outcome) = bench.request(&anonymous, |session| session.sign_in(ada())).await;
    assert_eq!((outcome, session.key()), (Outcome::Rotated, Some(anonymous.key())));
    let next = bench.open(&session.id().unwrap()).await;
    assert_eq!((next.keys(), next.owner()), (vec!["basket".to_owned()], Some(ada())));
    assert!(bench.open(&anonymous).await.is_superseded(), "session fixation");
}

#[tokio::test]
async fn what_is_planted_during_the_sign_in_goes_too() {
    let bench = bench();
    let anonymous = bench.stored().await;
    let session = bench.open(&anonymous).await;
    session.sign_in(ada());
    let id = anonymous.clone();
    bench.before("save", async move |manager| {
        let attacker = manager.open(Some(&id)).await.unwrap();
        attacker.insert("_csrf", "planted").unwrap();
        attacker.insert("basket", 1).unwrap();
        assert_eq!(manager.commit(&attacker).await.unwrap().outcome, Outcome::Saved);
    });
    assert_eq!(bench.commit(&session).await, Outcome::Rotated);
    assert_eq!(bench.open(&session.id().unwrap()).await.keys(), ["basket", "n"]);
}

#[tokio::test]
async fn a_token_that_the_request_makes_after_its_sign_in_stays() {
    let bench = bench();
    let anonymous = bench.stored().await;
    let act = |session: &Session| {
        session.sign_in(ada());
        session.insert("_csrf", "fresh").unwrap();
    };
    let (session, _) = bench.request(&anonymous, act).await;
    let token: Option<String> = bench.open(&session.id().unwrap()).await.get("_csrf").unwrap();
    assert_eq!(token.as_deref(), Some("fresh"));
}

#[tokio::test]
async fn a_sign_in_on_ones_own_session_keeps_entries_and_key_and_changes_the_secret() {
    let bench = bench_with(|short| short);
    let id = bench.signed_in(ada()).await;
    bench.clock.advance(MINUTE);
    let (session, outcome) = bench.request(&id, |session| session.sign_in(ada())).await;
    assert_eq!((outcome, session.key()), (Outcome::Rotated, Some(id.key())));
    assert_eq!(session.created_at().unwrap().as_millis(), support::START.as_millis() + 60_000);
    assert!(bench.open(&id).await.is_superseded());
    assert_eq!(bench.n(&session.id().unwrap()).await, Some(1));
}

/// Bob signs in in the browser in which ada is.
async fn bob_signs_in(bench: &Bench, adas: &SessionId) -> Session {
    let (session, outcome) = bench.request(adas, |session| session.sign_in(bob())).await;
    assert_eq!(outcome, Outcome::Created);
    session
}

/// Nothing but a trace of ada's session is left.
async fn is_replaced(bench: &Bench, adas: &SessionId, bobs: &Session) {
    assert_ne!(bobs.key(), Some(adas.key()));
    let next = bench.open(&bobs.id().unwrap()).await;
    assert_eq!((next.owner(), next.keys()), (Some(bob()), vec![]));
    assert!(bobs.status().id_is_new && !bobs.status().ended_here);
    assert_eq!(bench.manager.sessions_of(&ada()).await.unwrap().len(), 0);
    assert_eq!(bench.manager.sessions_of(&bob()).await.unwrap().len(), 1);
    assert_eq!(bench.live().await, 1, "the trace is in no list");
    let trace = bench.record(adas.key()).await.unwrap();
    assert_eq!(trace.owner, None);
    assert!(bench.open(adas).await.is_superseded());
}

#[tokio::test]
async fn of_another_owners_session_nothing_is_kept() {
    let bench = bench();
    let adas = bench.signed_in(ada()).await;
    let late = bench.open(&adas).await;
    let bobs = bob_signs_in(&bench, &adas).await;
    is_replaced(&bench, &adas, &bobs).await;
    // Ada's late requests write nothing anywhere, and begin nothing over bob's cookie.
    let trace = bench.record(adas.key()).await;
    for session in [late, bench.open(&adas).await] {
        session.insert("adas", "secret").unwrap();
        assert!(matches!(bench.dropped(&session).await, Outcome::Ended | Outcome::Superseded));
        assert!(session.id().is_none() && !session.status().ended_here);
    }
    assert_eq!((bench.record(adas.key()).await, bench.records().await), (trace, 2));
    bench.clock.advance(5 * MINUTE);
    assert!(bench.record(adas.key()).await.is_none(), "after five minutes no trace is left");
    assert!(bench.opens(&bobs.id().unwrap()).await);
}

#[tokio::test]
async fn the_other_owners_session_ends_also_when_its_id_was_changed_meanwhile_or_it_was_written() {
    let acts: [fn(&Session); 4] = [
        Session::rotate_id,
        |session| session.sign_in(ada()),
        |session| session.insert("n", 2).unwrap(),
        |session| session.set_permanent(true),
    ];
    for act in acts {
        for call in ["create", "save"] {
            let bench = bench();
            let adas = bench.signed_in(ada()).await;
            let bobs = bench.open(&adas).await;
            bobs.sign_in(bob());
            let id = adas.clone();
            let change = async move |manager: session_core::SessionManager| {
                let session = manager.open(Some(&id)).await.unwrap();
                act(&session);
                assert!(manager.commit(&session).await.is_ok());
            };
            // Before bob's session is there, or between the look at ada's and its replacement.
            bench.before(call, change);
            assert_eq!(bench.commit(&bobs).await, Outcome::Created);
            is_replaced(&bench, &adas, &bobs).await;
        }
    }
}

#[tokio::test]
async fn a_write_of_ada_that_waits_during_bobs_sign_in_is_dropped() {
    let bench = bench();
    let adas = bench.signed_in(ada()).await;
    let late = bench.open(&adas).await;
    late.insert("adas", 1).unwrap();
    let id = adas.clone();
    bench.before("save", async move |manager| {
        let session = manager.open(Some(&id)).await.unwrap();
        session.sign_in(bob());
        assert_eq!(manager.commit(&session).await.unwrap().outcome, Outcome::Created);
    });
    assert_eq!(bench.dropped(&late).await, Outcome::Ended);
    assert_eq!(bench.live().await, 1);
}

#[tokio::test]
async fn an_application_cannot_write_into_a_trace() {
    let bench = bench();
    let adas = bench.signed_in(ada()).await;
    bob_signs_in(&bench, &adas).await;
    let trace = bench.record(adas.key()).await;
    let act = |session: &Session| session.insert("role", "admin");
    assert_eq!(bench.manager.change(adas.key(), act).await.unwrap(), Outcome::Ended);

    // Also when it becomes one after the look.
    let adas_other = bench.signed_in(ada()).await;
    let id = adas_other.clone();
    bench.before("save", async move |manager| {
        let session = manager.open(Some(&id)).await.unwrap();
        session.sign_in(bob());
        let _ = manager.commit(&session).await.unwrap();
    });
    assert_eq!(bench.manager.change(adas_other.key(), act).await.unwrap(), Outcome::Ended);
    let other_trace = bench.record(adas_other.key()).await.unwrap();
    assert_eq!(Some(other_trace.payload.len()), trace.map(|trace| trace.payload.len()));
}

#[tokio::test]
async fn bob_gets_nothing_of_adas_whatever_was_done_before_he_signs_in() {
    type Act = fn(&Session);
    let acts: [(Act, &[&str]); 4] = [
        (|session| session.insert("adas", 1).unwrap(), &[]),
        (
            |session| {
                session.insert("adas", 1).unwrap();
                session.clear();
                session.insert("bobs", 1).unwrap();
            },
            &["bobs"],
        ),
        (
            |session| {
                session.regenerate();
                session.insert("bobs", 1).unwrap();
            },
            &["bobs"],
        ),
        (|session| session.sign_in(Owner::new("carl").unwrap()), &[]),
    ];
    for (act, keys) in acts {
        let bench = bench();
        let adas = bench.signed_in(ada()).await;
        let (bobs, outcome) = bench
            .request(&adas, |session| {
                act(session);
                session.sign_in(bob());
            })
            .await;
        assert_eq!(
            (outcome, bobs.keys()),
            (Outcome::Created, keys.iter().map(|key| key.to_string()).collect())
        );
        bobs.remove("bobs");
        let _ = bench.commit(&bobs).await;
        is_replaced(&bench, &adas, &bobs).await;
    }
}

#[tokio::test]
async fn bob_replaces_adas_session_also_where_her_request_was_superseded_before() {
    let bench = bench();
    let adas = bench.signed_in(ada()).await;
    let session = bench.open(&adas).await;
    bench.request(&adas, Session::rotate_id).await;
    session.insert("n", 2).unwrap();
    assert_eq!(bench.dropped(&session).await, Outcome::Superseded);
    session.sign_in(bob());
    assert_eq!(bench.commit(&session).await, Outcome::Created);
    is_replaced(&bench, &adas, &session).await;
}

#[tokio::test]
async fn what_is_left_undone_of_a_replacement_is_done_by_the_next_commit() {
    for fault in [Fault::Refused, Fault::AnswerLost] {
        let bench = bench();
        let adas = bench.signed_in(ada()).await;
        let session = bench.open(&adas).await;
        session.sign_in(bob());
        bench.store.fail("save", fault);
        assert!(bench.manager.commit(&session).await.is_err());
        assert!(bench.manager.try_commit_now(&session).is_none());
        assert_eq!(bench.commit(&session).await, Outcome::Unchanged);
        is_replaced(&bench, &adas, &session).await;
    }
}

#[tokio::test]
async fn a_sign_in_that_is_taken_back_before_the_commit_still_ends_the_other_owners_session() {
    let bench = bench();
    let adas = bench.signed_in(ada()).await;
    let (session, _) = bench
        .request(&adas, |session| {
            session.sign_in(bob());
            session.regenerate();
        })
        .await;
    assert!(session.id().is_none());
    assert!(bench.open(&adas).await.is_superseded());
    assert_eq!(bench.live().await, 0);
}

#[tokio::test]
async fn a_refused_sign_in_leaves_the_session_of_whoever_is_signed_in() {
    let mut bench = bench();
    let refuse = Policy::default().with_session_limit(Some(SessionLimit::Refuse(1)));
    bench.manager = bench.manager.with_policy(refuse);
    bench.signed_in(bob()).await;
    let adas = bench.signed_in(ada()).await;
    let (session, error) = {
        let session = bench.open(&adas).await;
        session.sign_in(bob());
        let error = bench.manager.commit(&session).await.unwrap_err();
        (session, error)
    };
    assert_eq!(error.kind(), ErrorKind::TooManySessions);
    // The page that says so belongs to ada's session, and takes no cookie from her.
    session.flash("error", "too many").unwrap();
    assert_eq!(bench.commit(&session).await, Outcome::Saved);
    assert_eq!((session.owner(), session.id()), (Some(ada()), Some(adas.clone())));
    assert_eq!(bench.n(&adas).await, Some(1));
}

#[tokio::test]
async fn a_browser_whose_session_cannot_be_read_can_sign_in_and_out() {
    let mut bench = bench();
    let forgiving = Policy::default().with_undecodable(Undecodable::Ended);
    bench.manager = bench.manager.with_policy(forgiving);
    for sign_out in [false, true] {
        let id = bench.stored().await;
        damage(&bench, &id).await;
        let (session, outcome) = bench.request(&id, if sign_out { Session::sign_out } else { sign_in }).await;
        if sign_out {
            assert_eq!((outcome, session.status().ended_here), (Outcome::Destroyed, true));
            assert!(bench.record(id.key()).await.is_none(), "it may not come back with the key");
        } else {
            assert_eq!(outcome, Outcome::Created);
            assert_eq!(bench.open(&session.id().unwrap()).await.owner(), Some(ada()));
            assert!(bench.record(id.key()).await.is_some());
        }
    }
}

async fn damage(bench: &Bench, id: &SessionId) {
    let whole = bench.record(id.key()).await.unwrap();
    let mut record = whole.clone();
    record.payload = [0x99].into();
    record.revision = session_core::Revision::generate().unwrap();
    let _ = bench.store.save(id.key(), whole.revision, &record).await.unwrap();
    bench.store.calls();
}

#[tokio::test]
async fn by_default_a_session_that_cannot_be_read_is_an_error_and_a_storage_that_fails_always() {
    let bench = bench();
    let id = bench.stored().await;
    damage(&bench, &id).await;
    assert_eq!(bench.manager.open(Some(&id)).await.unwrap_err().kind(), ErrorKind::Codec);
    let forgiving = bench.manager.clone().with_policy(Policy::default().with_undecodable(Undecodable::Ended));
    bench.store.fail("load", Fault::Refused);
    assert_eq!(forgiving.open(Some(&id)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(forgiving.open(Some(&id)).await.unwrap().is_new());
}
