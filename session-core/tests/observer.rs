//! Observers hear what happens to sessions, and cannot slow or fail a request.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use session_core::{
    EndReason, Event, EventKind, Outcome, Policy, Revision, Session, SessionId, SessionLimit, SessionManager,
    SessionStore as _, Undecodable,
};
use support::{Bench, Fault, HOUR, MINUTE, ada, bench_with, bob, mixed};

/// A bench whose manager is observed.
fn observed(change: impl FnOnce(Policy) -> Policy) -> (Bench, Receiver<Event>) {
    let mut bench = bench_with(change);
    let (sender, events) = channel();
    bench.manager = bench.manager.with_observer(move |event| sender.send(event).unwrap());
    (bench, events)
}

/// What was heard since the last time: `count` events and no more.
#[track_caller]
fn heard(events: &Receiver<Event>, count: usize) -> Vec<Event> {
    let mut heard = Vec::new();
    while heard.len() < count {
        heard.push(events.recv_timeout(Duration::from_secs(20)).unwrap());
    }
    assert_eq!(events.recv_timeout(Duration::from_millis(5)).ok(), None, "after {heard:?}");
    heard
}

#[track_caller]
fn kinds(events: &Receiver<Event>, wanted: &[EventKind]) {
    let kinds: Vec<_> = heard(events, wanted.len()).into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, wanted);
}

async fn new_session(manager: &SessionManager, act: impl FnOnce(&Session)) -> SessionId {
    let session = manager.open(None).await.unwrap();
    session.insert("n", 1).unwrap();
    act(&session);
    assert_eq!(manager.commit(&session).await.unwrap().outcome, Outcome::Created);
    session.id().unwrap()
}

#[tokio::test]
async fn what_requests_do_is_told_with_key_owner_and_time() {
    let (bench, events) = observed(|short| short.with_renewal_after(Some(9 * MINUTE)));
    let id = new_session(&bench.manager, |_| ()).await;
    let created = heard(&events, 1).remove(0);
    assert_eq!((created.kind, created.key, created.owner), (EventKind::Created, Some(id.key()), None));
    assert_eq!(created.at, support::START);

    let (session, _) = bench.request(&id, |session| session.sign_in(ada())).await;
    let signed_in = heard(&events, 2);
    assert_eq!([signed_in[0].kind, signed_in[1].kind], [EventKind::IdChanged, EventKind::SignedIn]);
    for event in &signed_in {
        assert_eq!((event.key, event.owner.as_ref()), (Some(id.key()), Some(&ada())));
    }
    bench.request(&id, |_| ()).await;
    kinds(&events, &[EventKind::SupersededSecret]);

    bench.clock.advance(9 * MINUTE);
    bench.open(&mixed(&id, &SessionId::generate().unwrap())).await;
    kinds(&events, &[EventKind::WrongSecret]);
    let (renewed, _) = bench.request(&session.id().unwrap(), |_| ()).await;
    kinds(&events, &[EventKind::IdRenewed]);
    bench.request(&renewed.id().unwrap(), |session| session.insert("n", 2).unwrap()).await;
    kinds(&events, &[]);
    bench.clock.advance(9 * MINUTE);
    let (renewed, _) = bench.request(&renewed.id().unwrap(), |session| session.insert("n", 3).unwrap()).await;
    kinds(&events, &[EventKind::IdRenewed]);
    bench.request(&renewed.id().unwrap(), Session::sign_out).await;
    let ended = heard(&events, 1).remove(0);
    assert_eq!(ended.kind, EventKind::Ended(EndReason::Destroyed));
    assert_eq!((ended.key, ended.owner), (Some(id.key()), Some(ada())));
}

#[tokio::test]
async fn every_end_is_told_with_its_reason_and_once() {
    let (bench, events) = observed(|short| short);
    let ended = |reason| EventKind::Ended(reason);
    let begin = async |owner| {
        let id = new_session(&bench.manager, |session| session.sign_in(owner)).await;
        heard(&events, 2);
        id
    };
    let id = begin(ada()).await;
    bench.request(&id, Session::clear).await;
    kinds(&events, &[ended(EndReason::Emptied)]);

    let id = begin(ada()).await;
    assert!(bench.manager.revoke(id.key()).await.unwrap());
    assert!(!bench.manager.revoke(id.key()).await.unwrap());
    kinds(&events, &[ended(EndReason::Revoked)]);

    let id = begin(ada()).await;
    assert!(bench.manager.revoke_of(&ada(), id.key()).await.unwrap());
    assert_eq!(heard(&events, 1)[0].owner, Some(ada()));

    begin(ada()).await;
    bench.manager.revoke_all_of(&ada()).await.unwrap();
    let all = heard(&events, 1).remove(0);
    assert_eq!((all.kind, all.key, all.owner), (ended(EndReason::Revoked), None, Some(ada())));

    let id = begin(ada()).await;
    bench.request(&id, |session| session.sign_in(bob())).await;
    let replaced = heard(&events, 3);
    assert_eq!(replaced[2].kind, ended(EndReason::Replaced));
    assert_eq!((replaced[2].key, replaced[2].owner.as_ref()), (Some(id.key()), Some(&ada())));
    assert_eq!((replaced[0].kind, replaced[1].kind), (EventKind::Created, EventKind::SignedIn));

    let strict = bench.manager.policy().clone().with_absolute_lifetime(Some(MINUTE));
    let strict = bench.manager.clone().with_policy(strict);
    let id = begin(ada()).await;
    bench.clock.advance(2 * MINUTE);
    assert!(strict.open(Some(&id)).await.unwrap().is_new());
    kinds(&events, &[ended(EndReason::Outlived)]);
}

#[tokio::test]
async fn limits_and_what_cannot_be_read_are_told() {
    let (bench, events) = observed(|short| {
        short.with_session_limit(Some(SessionLimit::EndOldest(1))).with_undecodable(Undecodable::Ended)
    });
    let first = new_session(&bench.manager, |session| session.sign_in(ada())).await;
    heard(&events, 2);
    bench.clock.advance(MINUTE);
    let second = new_session(&bench.manager, |session| session.sign_in(ada())).await;
    let over = heard(&events, 3).remove(2);
    assert_eq!((over.kind, over.key), (EventKind::Ended(EndReason::OverLimit), Some(first.key())));

    let refuse = bench.manager.policy().clone().with_session_limit(Some(SessionLimit::Refuse(1)));
    let session = bench.manager.open(None).await.unwrap();
    session.sign_in(ada());
    assert!(bench.manager.clone().with_policy(refuse).commit(&session).await.is_err());
    kinds(&events, &[EventKind::Refused]);

    let whole = bench.record(second.key()).await.unwrap();
    let mut damaged = whole.clone();
    (damaged.payload, damaged.revision) = ([0x99].into(), Revision::generate().unwrap());
    let _ = bench.store.save(second.key(), whole.revision, &damaged).await.unwrap();
    assert!(bench.open(&second).await.is_new());
    kinds(&events, &[EventKind::Undecodable]);
}

#[tokio::test]
async fn a_sign_in_whose_answer_was_lost_is_told_once_it_is_known() {
    let (bench, events) = observed(|short| short);
    let id = new_session(&bench.manager, |_| ()).await;
    heard(&events, 1);
    let session = bench.open(&id).await;
    session.sign_in(ada());
    bench.store.fail("save", Fault::AnswerLost);
    assert!(bench.manager.commit(&session).await.is_err());
    kinds(&events, &[]);
    bench.manager.change(id.key(), |session| session.insert("n", 2)).await.unwrap();
    assert!(bench.manager.commit(&session).await.is_ok());
    kinds(&events, &[EventKind::IdChanged, EventKind::SignedIn]);
}

#[tokio::test]
async fn a_slow_observer_slows_no_request_and_hears_what_there_is_room_for() {
    let mut bench = bench_with(|short| short);
    let (open_gate, gate) = channel::<()>();
    let (sender, events) = channel();
    let observer = move |event: Event| {
        let _ = gate.recv();
        let _ = sender.send(event);
    };
    bench.manager = bench.manager.with_observer(observer);
    let begin = Instant::now();
    for _ in 0..2_000 {
        new_session(&bench.manager, |_| ()).await;
    }
    assert!(begin.elapsed() < Duration::from_secs(60), "a request waited for the observer");
    drop(open_gate);
    let mut told = 0;
    while events.recv_timeout(Duration::from_secs(1)).is_ok() {
        told += 1;
    }
    assert!((1_024..=1_026).contains(&told), "{told} events");
    new_session(&bench.manager, |_| ()).await;
    assert!(events.recv_timeout(Duration::from_secs(20)).is_ok(), "it hears again");
    bench.clock.advance(HOUR);
}

#[tokio::test]
async fn an_observer_that_panics_fails_no_request_and_hears_the_next_event() {
    let mut bench = bench_with(|short| short);
    let (sender, events) = channel();
    let mut is_first = true;
    bench.manager = bench.manager.with_observer(move |event: Event| {
        if std::mem::take(&mut is_first) {
            std::panic::resume_unwind(Box::new("no message"));
        }
        sender.send(event).unwrap();
    });
    new_session(&bench.manager, |_| ()).await;
    let second = new_session(&bench.manager, |_| ()).await;
    assert_eq!(heard(&events, 1)[0].key, Some(second.key()));
}

#[tokio::test]
async fn an_observers_thread_ends_with_the_last_manager() {
    let (bench, events) = observed(|short| short);
    let clone = bench.manager.clone();
    drop(bench);
    new_session(&clone, |_| ()).await;
    assert!(events.recv_timeout(Duration::from_secs(20)).is_ok());
    drop(clone);
    let closed = events.recv_timeout(Duration::from_secs(20));
    assert_eq!(closed, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
}
