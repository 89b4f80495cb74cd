//! An id has two parts: a key that stays, and a secret that changes by one save (`[I1]`, `[I2]`).
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
mod support;

use session_core::{
    Codecs, ErrorKind, Outcome, Record, Revision, Session, SessionId, SessionKey, SessionStore as _, Value,
};
use sha2::{Digest as _, Sha256};
use support::{Bench, Fault, HOUR, MINUTE, ada, bench, bench_with, mixed, secret};

type Act = fn(&Session);

/// Every explicit change of an id.
const CHANGES: [(&str, Act); 5] = [
    ("sign in", |session| session.sign_in(ada())),
    ("rotate", Session::rotate_id),
    ("regenerate", |session| {
        session.regenerate();
        session.insert("n", 1).unwrap();
    }),
    ("permanence", |session| session.set_permanent(!session.is_permanent())),
    ("owner given up", |session| {
        session.sign_in(ada());
        session.insert("n", 1).unwrap();
    }),
];

/// A session that goes through every change, a renewal too, and all ids that it had.
async fn through_every_change(bench: &Bench) -> Vec<SessionId> {
    let mut ids = vec![bench.stored().await];
    for (_, change) in CHANGES {
        let (session, outcome) = bench.request(ids.last().unwrap(), change).await;
        assert_eq!(outcome, Outcome::Rotated);
        ids.extend(session.id());
    }
    bench.clock.advance(5 * MINUTE);
    let (session, outcome) = bench.request(ids.last().unwrap(), |_| ()).await;
    assert_eq!(outcome, Outcome::Rotated, "a renewal");
    ids.extend(session.id());
    let (_, outcome) = bench.request(ids.last().unwrap(), |_| ()).await;
    assert_eq!(outcome, Outcome::Touched, "the renewed id is shown");
    bench.clock.advance(5 * MINUTE);
    let (session, outcome) = bench.request(ids.last().unwrap(), |s| s.insert("n", 2).unwrap()).await;
    assert_eq!(outcome, Outcome::Rotated, "a renewal within a save");
    ids.extend(session.id());
    ids
}

fn renewing() -> Bench {
    bench_with(|short| short.with_renewal_after(Some(5 * MINUTE)))
}

#[tokio::test]
async fn a_session_keeps_its_key_for_life_and_each_change_gives_it_another_secret() {
    let bench = renewing();
    let ids = through_every_change(&bench).await;
    let (last, before) = ids.split_last().unwrap();
    for id in before {
        assert_eq!(id.key(), last.key());
        assert_ne!(secret(id), secret(last));
        assert_eq!(before.iter().filter(|other| *other == id).count(), 1);
    }
    assert_eq!((bench.records().await, bench.n(last).await), (1, Some(2)));
}

#[tokio::test]
async fn no_secret_is_in_any_byte_that_reaches_the_store() {
    for codec in common::plain() {
        let mut bench = renewing();
        bench.manager = bench.manager.with_codecs(Codecs::new(codec.clone()));
        let ids = through_every_change(&bench).await;
        let written: Vec<u8> = bench
            .store
            .written()
            .into_iter()
            .flat_map(|(key, record)| {
                let entries = Codecs::new(codec.clone()).decode_entries(key, &record.payload).unwrap();
                let Value::Bytes(own) = &entries["_session.id"] else { unreachable!("{entries:?}") };
                [key.as_bytes(), format!("{record:?}").as_bytes(), &record.payload, own].concat()
            })
            .collect();
        let holds = |bytes: &[u8]| written.windows(bytes.len()).any(|window| window == bytes);
        for id in &ids {
            let (secret, text) = (secret(id), id.expose());
            let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
            let padded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &secret);
            for form in [&secret[..], &text.as_bytes()[22..], hex.as_bytes(), padded.as_bytes()] {
                assert!(!holds(form), "{codec:?}");
            }
        }
        // What the store may know is there, so that the look at the bytes would have found the rest.
        assert!(ids.iter().all(|id| holds(&Sha256::digest(secret(id)))), "{codec:?}");
    }
}

/// Puts a record's content under another key, behind the manager's back.
async fn overwrite(bench: &Bench, key: SessionKey, with: &Record) {
    let present = bench.record(key).await.unwrap();
    let record = Record { revision: Revision::generate().unwrap(), ..with.clone() };
    let _ = bench.store.save(key, present.revision, &record).await.unwrap();
    bench.store.calls();
}

async fn swap(bench: &Bench, one: &SessionId, other: &SessionId) {
    let (first, second) = (bench.record(one.key()).await.unwrap(), bench.record(other.key()).await.unwrap());
    overwrite(bench, one.key(), &second).await;
    overwrite(bench, other.key(), &first).await;
}

#[tokio::test]
async fn records_that_were_swapped_behind_the_stores_back_are_opened_by_nobody() {
    let bench = bench();
    let (one, other) = (bench.signed_in(ada()).await, bench.stored().await);
    swap(&bench, &one, &other).await;
    for id in [&one, &other] {
        let session = bench.open(id).await;
        assert!(
            session.is_empty() && session.is_new() && session.owner().is_none() && session.key().is_none()
        );
    }
    swap(&bench, &one, &other).await;
    assert_eq!((bench.n(&one).await, bench.n(&other).await), (Some(1), Some(1)));
}

#[tokio::test]
async fn what_a_request_did_does_not_reach_a_record_that_was_swapped_in_meanwhile() {
    let bench = bench();
    let (one, other) = (bench.stored().await, bench.signed_in(ada()).await);
    let session = bench.open(&one).await;
    session.insert("mine", 1).unwrap();
    swap(&bench, &one, &other).await;
    let before = bench.record(one.key()).await;
    assert_eq!(bench.dropped(&session).await, Outcome::Superseded);
    assert_eq!(bench.record(one.key()).await, before);
}

#[cfg(feature = "seal")]
#[tokio::test]
async fn a_sealed_record_that_was_swapped_is_damaged() {
    let mut bench = bench();
    let codec = common::sealed(session_core::Codec::bincode());
    bench.manager = bench.manager.with_codecs(Codecs::new(codec));
    let (one, other) = (bench.stored().await, bench.stored().await);
    swap(&bench, &one, &other).await;
    let error = bench.manager.open(Some(&one)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_key_without_its_secret_opens_nothing() {
    let bench = bench();
    let (one, other) = (bench.stored().await, bench.stored().await);
    let guessed = mixed(&one, &SessionId::generate().unwrap());
    for id in [mixed(&one, &other), mixed(&other, &one), guessed] {
        assert!(!bench.opens(&id).await);
    }
    bench.clock.advance(HOUR);
    assert!(!bench.opens(&mixed(&one, &other)).await);
}

#[tokio::test]
async fn a_record_that_no_session_manager_wrote_is_no_session() {
    let bench = bench();
    let id = bench.stored().await;
    let entries = [("n".to_owned(), Value::I64(1))].into();
    let payload = Codecs::default().encode_entries(id.key(), &entries).unwrap();
    let record = Record { payload, ..bench.record(id.key()).await.unwrap() };
    overwrite(&bench, id.key(), &record).await;
    assert!(!bench.opens(&id).await);
}

#[tokio::test]
async fn after_a_lost_answer_of_create_another_key_is_drawn_and_no_orphan_stays() {
    let bench = bench();
    let session = bench.manager.open(None).await.unwrap();
    session.sign_in(ada());
    session.update("n", |n: Option<i64>| n.unwrap_or(0) + 1).unwrap();
    bench.store.fail_next(Fault::AnswerLost);
    assert_eq!(bench.manager.commit(&session).await.unwrap_err().kind(), ErrorKind::Timeout);
    assert!(session.id().is_none() && bench.manager.try_commit_now(&session).is_none());
    assert_eq!(bench.records().await, 1);
    assert_eq!(bench.commit(&session).await, Outcome::Created);
    assert_eq!(bench.store.calls(), ["delete", "create"]);
    let keys: Vec<_> = bench.store.written().into_iter().map(|(key, _)| key).collect();
    assert_ne!(keys[0], keys[1]);
    assert_eq!((bench.records().await, session.key()), (1, Some(keys[1])));
    assert_eq!(bench.n(&session.id().unwrap()).await, Some(1));
}

#[tokio::test]
async fn a_revocation_after_a_lost_answer_of_create_is_not_undone() {
    let bench = bench();
    let session = bench.manager.open(None).await.unwrap();
    session.sign_in(ada());
    bench.store.fail_next(Fault::AnswerLost);
    assert!(bench.manager.commit(&session).await.is_err());
    let revoked = bench.manager.sessions_of(&ada()).await.unwrap()[0].key();
    assert!(bench.manager.revoke_of(&ada(), revoked).await.unwrap());
    assert_eq!(bench.commit(&session).await, Outcome::Created);
    assert_ne!(session.key(), Some(revoked));
    assert!(bench.record(revoked).await.is_none());
}

#[tokio::test]
async fn each_change_of_an_id_is_exactly_one_save() {
    let bench = renewing();
    let mut id = bench.stored().await;
    for (name, change) in CHANGES {
        let (session, outcome) = bench.request(&id, change).await;
        assert_eq!(outcome, Outcome::Rotated, "{name}");
        assert_eq!(bench.store.calls(), ["load", "save"], "{name}");
        let status = session.status();
        assert!(status.id_is_new && !status.ended_here, "{name}");
        id = status.id.unwrap();
    }
    bench.clock.advance(5 * MINUTE);
    let (session, outcome) = bench.request(&id, |_| ()).await;
    assert_eq!((outcome, bench.store.calls()), (Outcome::Rotated, vec!["load", "save"]), "a renewal");
    assert!(session.status().id_is_new);
    let (session, outcome) = bench.request(&session.id().unwrap(), |_| ()).await;
    assert_eq!((outcome, bench.store.calls()), (Outcome::Touched, vec!["load", "save"]), "it was shown");
    assert!(!session.status().id_is_new);
}

#[tokio::test]
async fn a_change_that_is_repeated_after_a_lost_answer_is_the_same_save() {
    for (name, change) in CHANGES {
        let bench = bench();
        let id = bench.stored().await;
        bench.store.written();
        let session = bench.open(&id).await;
        change(&session);
        for _ in 0..2 {
            bench.store.fail("save", Fault::AnswerLost);
            assert!(bench.manager.commit(&session).await.is_err(), "{name}");
        }
        assert_eq!(bench.commit(&session).await, Outcome::Rotated, "{name}");
        let saves = bench.store.written();
        assert_eq!(saves.len(), 3, "{name}");
        assert!(saves.iter().all(|save| *save == saves[0]), "{name}");
        assert!(bench.opens(&session.id().unwrap()).await && !bench.opens(&id).await, "{name}");
    }
}

#[tokio::test]
async fn a_change_whose_answer_was_lost_is_stored_if_its_verifier_is_the_current_one() {
    let bench = bench();
    let id = bench.stored().await;
    let session = bench.open(&id).await;
    session.sign_in(ada());
    session.update("n", |n: Option<i64>| n.unwrap_or(0) + 1).unwrap();
    bench.store.fail("save", Fault::AnswerLost);
    assert!(bench.manager.commit(&session).await.is_err());
    session.update("n", |n: Option<i64>| n.unwrap_or(0) + 10).unwrap();
    // Somebody else writes who needs no secret.
    let act = |session: &Session| session.update("n", |n: Option<i64>| n.unwrap_or(0) + 100).map(drop);
    assert_eq!(bench.manager.change(id.key(), act).await.unwrap(), Outcome::Saved);
    bench.store.calls();
    assert_eq!(bench.commit(&session).await, Outcome::Saved);
    assert_eq!(bench.store.calls(), ["save", "load", "save"]);
    let status = session.status();
    assert!(status.id_is_new);
    assert_eq!(bench.n(&status.id.unwrap()).await, Some(112), "each is counted once");
    assert!(!bench.opens(&id).await);
}

#[tokio::test]
async fn a_change_that_was_not_stored_is_made_again_on_what_another_request_wrote() {
    let bench = bench();
    let id = bench.stored().await;
    let session = bench.open(&id).await;
    session.rotate_id();
    session.update("n", |n: Option<i64>| n.unwrap_or(0) + 1).unwrap();
    bench.store.fail("save", Fault::Refused);
    assert!(bench.manager.commit(&session).await.is_err());
    bench.request(&id, |session| session.insert("n", 100).unwrap()).await;
    assert_eq!(bench.commit(&session).await, Outcome::Rotated);
    assert_eq!(bench.n(&session.id().unwrap()).await, Some(101));
    assert!(!bench.opens(&id).await);
}

#[tokio::test]
async fn a_write_that_the_store_refuses_for_good_does_not_stand_in_the_way_of_the_next() {
    let bench = bench();
    let id = bench.stored().await;
    let session = bench.open(&id).await;
    let over_the_stores_limit = "x".repeat(2 << 20);
    let manager =
        bench.manager.clone().with_policy(session_core::Policy::default().with_max_payload(4 << 20));
    session.insert("big", over_the_stores_limit).unwrap();
    assert_eq!(manager.commit(&session).await.unwrap_err().kind(), ErrorKind::TooLarge);
    session.insert("big", "small").unwrap();
    assert_eq!(manager.commit(&session).await.unwrap().outcome, Outcome::Saved);
}
