//! The dictionary, and its flags as Flask has them.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use serde::{Deserialize, Serialize};
use session_core::{ErrorKind, Key, Session};
use support::{ada, bench};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct User {
    name: String,
    #[serde(default)]
    admin: bool,
}

#[test]
fn any_serde_type_goes_in_and_comes_out() {
    let session = Session::empty();
    session.insert("user", User { name: "ada".into(), admin: true }).unwrap();
    assert_eq!(session.get("user").unwrap(), Some(User { name: "ada".into(), admin: true }));
    assert_eq!(session.get::<User>("nobody").unwrap(), None);
    assert_eq!((session.len(), session.keys()), (1, vec!["user".to_owned()]));
    assert_eq!(session.take("user").unwrap(), Some(User { name: "ada".into(), admin: true }));
    assert!(session.is_empty() && session.take::<User>("user").unwrap().is_none());
}

#[test]
fn a_struct_that_gained_a_field_still_reads_what_was_stored_before() {
    let session = Session::empty();
    session.insert("user", std::collections::BTreeMap::from([("name", "ada")])).unwrap();
    assert_eq!(session.get("user").unwrap(), Some(User { name: "ada".into(), admin: false }));
}

#[test]
fn a_wrong_type_is_an_error_that_names_the_key_and_both_types_and_not_the_value() {
    let session = Session::empty();
    session.insert("user", "a secret").unwrap();
    let error = session.get::<u32>("user").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    let text = error.to_string();
    assert!(text.contains("\"user\"") && text.contains("u32") && text.contains("text"), "{text}");
    assert!(!format!("{text} {error:?}").contains("a secret"), "{error:?}");
    assert!(session.take::<u32>("user").is_err() && session.contains_key("user"), "a failed take took");
}

#[test]
fn a_failed_operation_marks_and_changes_nothing() {
    let session = Session::empty();
    let error = session.insert("_session.moved_to", 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(session.insert("n", i128::MAX).unwrap_err().to_string().contains("\"n\""));
    assert!(session.update("_session.x", |n: Option<i64>| n.unwrap_or(0)).is_err());
    assert!(!session.remove("_session.x"));
    assert!(!session.is_modified() && session.is_empty());
}

type Act = (&'static str, fn(&Session), bool);

#[tokio::test]
async fn flags_follow_flask() {
    let bench = bench();
    let id = bench.stored().await;
    let fresh = || bench.manager.open(Some(&id));
    let table: [Act; 20] = [
        ("get", |s| assert_eq!(s.get("n").unwrap(), Some(1)), false),
        ("contains", |s| assert!(s.contains_key("n")), false),
        ("len", |s| assert_eq!(s.len(), 1), false),
        ("keys", |s| assert_eq!(s.keys(), ["n"]), false),
        ("owner", |s| assert_eq!(s.owner(), None), false),
        ("remove absent", |s| assert!(!s.remove("absent")), false),
        ("take absent", |s| assert!(s.take::<i64>("absent").unwrap().is_none()), false),
        ("get_or_insert present", |s| assert_eq!(s.get_or_insert("n", 5).unwrap(), 1), false),
        ("take_flashes of none", |s| assert!(s.take_flashes().unwrap().is_empty()), false),
        ("insert the same", |s| s.insert("n", 1).unwrap(), true),
        ("update", |s| assert_eq!(s.update("n", Option::<i64>::unwrap_or_default).unwrap(), 1), true),
        ("remove", |s| assert!(s.remove("n")), true),
        ("get_or_insert absent", |s| assert_eq!(s.get_or_insert("m", 5).unwrap(), 5), true),
        ("clear", Session::clear, true),
        ("set_permanent", |s| s.set_permanent(true), true),
        ("flash", |s| s.flash("info", "hello").unwrap(), true),
        ("sign_in", |s| s.sign_in(ada()), true),
        ("rotate_id", Session::rotate_id, true),
        ("regenerate", Session::regenerate, true),
        ("destroy", Session::destroy, true),
    ];
    for (name, act, modifies) in table {
        let session = fresh().await.unwrap();
        assert!(!session.is_accessed() && !session.is_modified() && !session.is_new(), "{name}");
        act(&session);
        assert!(session.is_accessed(), "{name}");
        assert_eq!(session.is_modified(), modifies, "{name}");
    }
    let session = fresh().await.unwrap();
    let _ =
        (session.is_permanent(), session.id(), session.key(), session.expires_at(), format!("{session:?}"));
    assert!(!session.is_accessed());
    let _ = bench.manager.commit(&session).await.unwrap();
    assert!(!session.is_accessed(), "saving is no use");
    let new = bench.manager.open(None).await.unwrap();
    new.insert("n", 1).unwrap();
    let _ = bench.manager.commit(&new).await.unwrap();
    assert!(new.is_new(), "it was not stored when it was opened");
}

#[test]
fn a_session_is_permanent_only_while_its_entry_is_true() {
    let session = Session::empty();
    assert!(!session.is_permanent());
    session.set_permanent(true);
    assert!(session.is_permanent());
    session.set_permanent(false);
    assert!(!session.is_permanent() && session.contains_key("_permanent"));
    session.insert("_permanent", "yes").unwrap();
    assert!(!session.is_permanent());
}

#[tokio::test]
async fn a_cleared_session_has_the_keys_that_came_after() {
    let bench = bench();
    let id = bench.stored().await;
    let session = bench.manager.open(Some(&id)).await.unwrap();
    session.clear();
    assert_eq!((session.len(), session.keys()), (0, vec![]));
    session.insert("m", 2).unwrap();
    assert_eq!((session.len(), session.keys()), (1, vec!["m".to_owned()]));
}

#[tokio::test]
async fn messages_that_two_requests_take_do_not_take_a_third_with_them() {
    let bench = bench();
    let id = bench.stored().await;
    let session = bench.manager.open(Some(&id)).await.unwrap();
    session.flash("info", "one").unwrap();
    let _ = bench.manager.commit(&session).await.unwrap();
    let (slow, fast) =
        (bench.manager.open(Some(&id)).await.unwrap(), bench.manager.open(Some(&id)).await.unwrap());
    assert_eq!(slow.take_flashes().unwrap().len(), 1);
    assert_eq!(fast.take_flashes().unwrap().len(), 1);
    fast.flash("info", "two").unwrap();
    let _ = bench.manager.commit(&fast).await.unwrap();
    let _ = bench.manager.commit(&slow).await.unwrap();
    let next = bench.manager.open(Some(&id)).await.unwrap();
    assert_eq!(next.take_flashes().unwrap()[0].message, "two");
}

#[test]
fn threads_that_share_one_handle_lose_no_update() {
    let session = Session::empty();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    session.update("n", |n: Option<i64>| n.unwrap_or(0) + 1).unwrap();
                }
            });
        }
    });
    assert_eq!(session.get::<i64>("n").unwrap(), Some(2_000));
}

#[tokio::test]
async fn a_message_flashed_meanwhile_waits_for_the_next_page() {
    let bench = bench();
    let id = bench.stored().await;
    let session = bench.manager.open(Some(&id)).await.unwrap();
    session.flash("info", "one").unwrap();
    session.flash("error", "two").unwrap();
    let _ = bench.manager.commit(&session).await.unwrap();
    let reading = bench.manager.open(Some(&id)).await.unwrap();
    let flashing = bench.manager.open(Some(&id)).await.unwrap();
    flashing.flash("info", "three").unwrap();
    let _ = bench.manager.commit(&flashing).await.unwrap();
    let flashes = reading.take_flashes().unwrap();
    let shown: Vec<_> = flashes.iter().map(|f| (f.category.as_str(), f.message.as_str())).collect();
    assert_eq!(shown, [("info", "one"), ("error", "two")]);
    assert!(reading.take_flashes().unwrap().is_empty());
    let _ = bench.manager.commit(&reading).await.unwrap();
    let next = bench.manager.open(Some(&id)).await.unwrap();
    assert_eq!(next.take_flashes().unwrap()[0].message, "three");
}

#[tokio::test]
async fn reload_brings_the_newest_version_under_uncommitted_changes() {
    let bench = bench();
    let id = bench.stored().await;
    let session = bench.manager.open(Some(&id)).await.unwrap();
    session.update("n", |n: Option<i64>| n.unwrap_or(0) + 1).unwrap();
    let other = bench.manager.open(Some(&id)).await.unwrap();
    other.insert("n", 10).unwrap();
    let _ = bench.manager.commit(&other).await.unwrap();
    assert!(bench.manager.reload(&session).await.unwrap());
    assert_eq!(session.get::<i64>("n").unwrap(), Some(11));
    let _ = bench.manager.revoke(id.key()).await.unwrap();
    assert!(!bench.manager.reload(&session).await.unwrap());
    assert!(session.is_empty());
}

#[test]
fn a_typed_key_reads_and_writes_its_type() {
    const VISITS: Key<u64> = Key::new("visits");
    let session = Session::empty();
    assert_eq!(VISITS.get(&session).unwrap(), None);
    assert_eq!(VISITS.get_or_insert(&session, 4).unwrap(), 4);
    assert_eq!(VISITS.update(&session, |visits| visits.unwrap_or(0) + 1).unwrap(), 5);
    assert_eq!(VISITS.take(&session).unwrap(), Some(5));
    VISITS.insert(&session, 1).unwrap();
    assert!(VISITS.remove(&session) && session.is_empty());
    assert_eq!(VISITS.name(), "visits");
}

#[tokio::test]
async fn a_read_only_session_is_read_as_empty_and_says_why_it_takes_nothing() {
    let bench = bench();
    let session = Session::read_only("no secret key is set");
    assert_eq!(session.get::<i64>("n").unwrap(), None);
    assert!(session.is_empty() && !session.remove("n") && session.take_flashes().unwrap().is_empty());
    assert!(bench.manager.commit(&session).await.is_ok(), "reading is no fault");
    for refused in [
        session.insert("n", 1).unwrap_err(),
        session.update("n", |n: Option<i64>| n.unwrap_or(0)).unwrap_err(),
        session.flash("info", "hello").unwrap_err(),
        session.get_or_insert("n", 1).unwrap_err(),
    ] {
        assert_eq!(
            (refused.kind(), refused.to_string().as_str()),
            (ErrorKind::InvalidConfig, "no secret key is set")
        );
    }
    assert!(!session.is_modified());
    session.set_permanent(true);
    assert_eq!(bench.manager.commit(&session).await.unwrap_err().kind(), ErrorKind::InvalidConfig);
    assert_eq!(bench.store.calls(), [""; 0]);
}

#[tokio::test]
async fn the_status_says_at_once_what_the_methods_say() {
    let bench = bench();
    let agrees = |session: &Session| {
        let status = session.status();
        assert_eq!((&status.id, status.key), (&session.id(), session.key()));
        assert_eq!((status.expires_at, status.created_at), (session.expires_at(), session.created_at()));
        assert_eq!((status.new, status.permanent), (session.is_new(), session.is_permanent()));
        assert_eq!((status.accessed, status.modified), (session.is_accessed(), session.is_modified()));
        status.id_is_new
    };
    let created = bench.manager.open(None).await.unwrap();
    assert!(!agrees(&created), "it has none");
    created.insert("n", 1).unwrap();
    let _ = bench.commit(&created).await;
    assert!(agrees(&created));

    let session = bench.open(&created.id().unwrap()).await;
    assert!(!agrees(&session) && !session.is_accessed(), "asking is no use");
    session.insert("n", 2).unwrap();
    let _ = bench.commit(&session).await;
    assert!(!agrees(&session), "saved under the id that it had");
    session.rotate_id();
    assert!(!agrees(&session), "not yet");
    let _ = bench.commit(&session).await;
    assert!(agrees(&session));
    session.insert("n", 3).unwrap();
    let _ = bench.commit(&session).await;
    assert!(agrees(&session), "the client still does not know it");
    session.destroy();
    let _ = bench.commit(&session).await;
    assert!(!agrees(&session));
    assert_eq!((session.status().id, session.status().key), (None, None));
    assert!(session.status().ended_here);
}
