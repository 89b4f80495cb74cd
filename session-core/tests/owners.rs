//! An owner's sessions, and sessions that are changed or ended by their key.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use session_core::{ErrorKind, Outcome, Session, SessionId};
use support::{Bench, Fault, MINUTE, ada, bench, bench_with, bob};

#[tokio::test]
async fn an_owner_lists_and_revokes_devices_and_keeps_this_one() {
    let bench = bench();
    let mut devices = Vec::new();
    for name in ["phone", "laptop", "library"] {
        let session = bench.manager.open(None).await.unwrap();
        session.sign_in(ada());
        session.insert("device", name).unwrap();
        let _ = bench.commit(&session).await;
        devices.push(session);
    }
    let mut names: Vec<String> = Vec::new();
    for info in bench.manager.sessions_of(&ada()).await.unwrap() {
        assert_eq!(info.owner(), Some(&ada()));
        assert_eq!(info.get::<Vec<u8>>("_session.id").unwrap(), None);
        names.extend(info.get::<String>("device").unwrap());
    }
    names.sort();
    assert_eq!(names, ["laptop", "library", "phone"]);
    assert!(bench.manager.revoke(devices[2].key().unwrap()).await.unwrap());
    assert!(!bench.manager.revoke(devices[2].key().unwrap()).await.unwrap());
    assert_eq!(bench.manager.revoke_others_of(&ada(), devices[0].key().unwrap()).await.unwrap(), 1);
    assert_eq!(bench.live().await, 1);
    assert!(bench.opens(&devices[0].id().unwrap()).await);
    devices[1].insert("late", 1).unwrap();
    assert_eq!(bench.dropped(&devices[1]).await, Outcome::Ended);
    assert_eq!(bench.manager.revoke_all_of(&ada()).await.unwrap(), 1);
    assert_eq!(bench.live().await, 0);
}

#[tokio::test]
async fn a_key_from_a_form_revokes_only_the_owners_own_session() {
    let bench = bench();
    let (adas, anonymous) = (bench.signed_in(ada()).await, bench.stored().await);
    assert!(!bench.manager.revoke_of(&bob(), adas.key()).await.unwrap());
    assert!(!bench.manager.revoke_of(&bob(), anonymous.key()).await.unwrap());
    assert!(bench.opens(&adas).await && bench.opens(&anonymous).await);
    assert!(bench.manager.revoke_of(&ada(), adas.key()).await.unwrap());
    assert!(!bench.manager.revoke_of(&ada(), adas.key()).await.unwrap());
    assert!(!bench.opens(&adas).await);
}

#[tokio::test]
async fn a_listed_key_revokes_the_session_whatever_its_id_is_by_then() {
    let bench = bench_with(|short| short.with_renewal_after(Some(5 * MINUTE)));
    let id = bench.signed_in(ada()).await;
    let listed = bench.manager.sessions_of(&ada()).await.unwrap()[0].key();
    bench.clock.advance(5 * MINUTE);
    let (renewed, outcome) = bench.request(&id, |_| ()).await;
    assert_eq!(outcome, Outcome::Rotated);
    assert!(bench.manager.revoke_of(&ada(), listed).await.unwrap());
    assert!(!bench.opens(&id).await && !bench.opens(&renewed.id().unwrap()).await);
}

#[tokio::test]
async fn sessions_are_listed_page_by_page_and_each_once() {
    let bench = bench();
    let mut keys = Vec::new();
    for _ in 0..10 {
        keys.push(bench.stored().await.key());
    }
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let (page, next) = bench.manager.sessions(cursor.as_ref(), 3).await.unwrap();
        assert!(page.len() <= 3);
        seen.extend(page.iter().map(|info| info.key()));
        match next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    keys.sort_unstable();
    seen.sort_unstable();
    assert_eq!(seen, keys);
}

async fn role(bench: &Bench, id: &SessionId) -> Option<String> {
    bench.open(id).await.get("role").unwrap()
}

#[tokio::test]
async fn an_administrator_changes_a_session_by_its_key_without_its_secret() {
    let bench = bench_with(|short| short);
    let id = bench.signed_in(ada()).await;
    bench.clock.advance(9 * MINUTE);
    let act = |session: &Session| session.insert("role", "none");
    assert_eq!(bench.manager.change(id.key(), act).await.unwrap(), Outcome::Saved);
    assert_eq!((role(&bench, &id).await.as_deref(), bench.n(&id).await), (Some("none"), Some(1)));
    bench.clock.advance(MINUTE);
    assert!(!bench.opens(&id).await, "it is no use of the session");
    assert_eq!(bench.manager.change(id.key(), act).await.unwrap(), Outcome::Ended);
}

#[tokio::test]
async fn a_change_by_key_and_requests_that_race_it_lose_nothing() {
    let bench = bench();
    let id = bench.signed_in(ada()).await;
    let count = |session: &Session| session.update("n", |n: Option<i64>| n.unwrap_or(0) + 10).map(drop);
    let own = id.clone();
    bench.before("save", async move |manager| {
        let session = manager.open(Some(&own)).await.unwrap();
        session.rotate_id();
        session.update("n", |n: Option<i64>| n.unwrap_or(0) + 1).unwrap();
        assert_eq!(manager.commit(&session).await.unwrap().outcome, Outcome::Rotated);
    });
    assert_eq!(bench.manager.change(id.key(), count).await.unwrap(), Outcome::Saved);
    let after = bench.manager.sessions_of(&ada()).await.unwrap();
    assert_eq!(after[0].get::<i64>("n").unwrap(), Some(12));

    let session = bench.signed_in(bob()).await;
    let late = bench.open(&session).await;
    late.update("n", |n: Option<i64>| n.unwrap_or(0) + 1).unwrap();
    let key = session.key();
    bench.before("save", async move |manager| {
        assert_eq!(manager.change(key, count).await.unwrap(), Outcome::Saved);
    });
    assert_eq!(bench.commit(&late).await, Outcome::Saved);
    assert_eq!(bench.n(&session).await, Some(12));
}

#[tokio::test]
async fn a_change_by_key_can_end_a_session_and_brings_none_back() {
    let bench = bench();
    let id = bench.stored().await;
    let act = |session: &Session| {
        session.destroy();
        Ok(())
    };
    assert_eq!(bench.manager.change(id.key(), act).await.unwrap(), Outcome::Destroyed);
    let id = bench.stored().await;
    let key = id.key();
    bench.before("save", async move |manager| assert!(manager.revoke(key).await.unwrap()));
    let act = |session: &Session| session.insert("role", "none");
    assert_eq!(bench.manager.change(key, act).await.unwrap(), Outcome::Ended);
    assert_eq!(bench.records().await, 0);
}

#[tokio::test]
async fn a_change_by_key_can_change_no_id_and_begin_no_session() {
    type Act = fn(&Session);
    let acts: [Act; 4] = [
        Session::rotate_id,
        |session| session.sign_in(ada()),
        |session| session.sign_in(bob()),
        |session| session.set_permanent(true),
    ];
    for act in acts {
        let bench = bench();
        let id = bench.signed_in(ada()).await;
        let before = bench.record(id.key()).await;
        let change = |session: &Session| {
            act(session);
            Ok(())
        };
        let error = bench.manager.change(id.key(), change).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!((bench.record(id.key()).await, bench.records().await), (before, 1));
    }
    let bench = bench();
    let id = bench.stored().await;
    let change = |session: &Session| {
        session.destroy();
        session.insert("n", 1)
    };
    assert!(bench.manager.change(id.key(), change).await.is_err());
    assert_eq!(bench.records().await, 0, "nobody would have its id");
}

#[tokio::test]
async fn an_error_of_the_change_changes_nothing() {
    let bench = bench();
    let id = bench.stored().await;
    let act = |session: &Session| {
        session.insert("n", 2)?;
        session.get::<String>("n").map(drop)
    };
    assert_eq!(bench.manager.change(id.key(), act).await.unwrap_err().kind(), ErrorKind::Codec);
    assert_eq!(bench.n(&id).await, Some(1));
    bench.store.fail("load", Fault::Refused);
    assert!(bench.manager.change(id.key(), |_| Ok(())).await.is_err());
}
