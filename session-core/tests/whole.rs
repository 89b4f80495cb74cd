//! The session as a whole, and what belongs to this crate in it.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
mod support;

use std::collections::BTreeMap;

use serde::Deserialize;
use session_core::{Codecs, ErrorKind, Session, Value};
use support::{ada, bench};

const OWN: &str = "_session.id";

#[derive(Debug, PartialEq, Deserialize)]
struct Whole {
    n: i64,
    user: String,
    #[serde(default)]
    absent: Option<bool>,
}

#[tokio::test]
async fn the_sessions_own_entry_is_in_no_list_no_text_and_no_answer() {
    for codec in common::plain() {
        let mut bench = bench();
        bench.manager = bench.manager.with_codecs(Codecs::new(codec));
        let id = bench.signed_in(ada()).await;
        let session = bench.open(&id).await;
        for when in ["loaded", "changed", "committed"] {
            assert_eq!(session.get::<Value>(OWN).unwrap(), None, "{when}");
            assert_eq!(session.take::<Value>(OWN).unwrap(), None, "{when}");
            assert!(!session.contains_key(OWN) && !session.remove(OWN), "{when}");
            assert!(session.keys().iter().all(|key| !key.starts_with("_session")), "{when}");
            assert_eq!(session.len(), session.keys().len(), "{when}");
            assert_eq!(session.entries().unwrap().len(), session.len(), "{when}");
            let whole: BTreeMap<String, Value> = session.to_typed().unwrap();
            assert_eq!(whole, session.entries().unwrap(), "{when}");
            assert!(!session.to_text().unwrap().contains("_session"), "{when}");
            assert!(!format!("{session:?}").contains(OWN), "{when}");
            match when {
                "loaded" => session.insert("user", "ada").unwrap(),
                _ => drop(bench.commit(&session).await),
            }
        }
        // It is there, and no commit loses it.
        let record = bench.record(id.key()).await.unwrap();
        assert!(record.payload.windows(OWN.len()).any(|window| window == OWN.as_bytes()));
    }
}

#[tokio::test]
async fn nobody_writes_the_sessions_own_entries() {
    let bench = bench();
    let session = bench.open(&bench.stored().await).await;
    for error in [
        session.insert(OWN, 1).unwrap_err(),
        session.update(OWN, |n: Option<i64>| n.unwrap_or(0)).unwrap_err(),
        session.get_or_insert(OWN, 1).unwrap_err(),
        session.start_consume::<i64>("_session.other").map(|_| session.insert(OWN, 1)).unwrap().unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    assert!(!session.is_modified());
}

#[tokio::test]
async fn every_entry_is_there_once_stored_and_changed_ones_alike() {
    let bench = bench();
    let id = bench.stored().await;
    bench.request(&id, |session| session.insert("gone", 1).unwrap()).await;
    let session = bench.open(&id).await;
    session.insert("user", "ada").unwrap();
    session.remove("gone");
    session.update("n", |n: Option<i64>| n.unwrap_or(0) + 41).unwrap();
    let entries = session.entries().unwrap();
    assert_eq!(entries.keys().collect::<Vec<_>>(), ["n", "user"]);
    assert_eq!(entries["n"], Value::I64(42));
    assert_eq!(session.to_typed::<Whole>().unwrap(), Whole { n: 42, user: "ada".into(), absent: None });
    assert_eq!(serde_json::to_string(&entries).unwrap(), r#"{"n":42,"user":"ada"}"#);
    assert!(!session.is_new() && session.is_accessed());
    let error = session.to_typed::<BTreeMap<String, i64>>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert!(!error.to_string().contains("ada"), "{error}");
    session.clear();
    assert!(session.entries().unwrap().is_empty());
}

#[test]
fn the_text_is_what_python_shows_of_a_dictionary() {
    let session = Session::empty();
    assert_eq!(session.to_text().unwrap(), "{}");
    session.insert("user", "john_doe").unwrap();
    session.insert("testing", 42).unwrap();
    session.insert("half", 0.5).unwrap();
    session.insert("nothing", ()).unwrap();
    session.insert("flags", [true, false]).unwrap();
    session.insert("it's", "a \"quote\" and it's\n").unwrap();
    let text = session.to_text().unwrap();
    assert_eq!(
        text,
        "{'flags': [True, False], 'half': 0.5, \"it's\": 'a \"quote\" and it\\'s\\n', 'nothing': None, \
         'testing': 42, 'user': 'john_doe'}"
    );
    assert!(!format!("{session:?}").contains("john_doe"), "values are never in Debug");
}
