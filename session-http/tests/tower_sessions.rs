//! Applications that are on tower-sessions, on a store of this family.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy does not take the helpers of a test for tests"
)]

mod common;

use axum::Router;
use axum::routing::get as on_get;
use common::{cookie, get};
use session_core::{SessionId, SessionKey, SessionManager, SessionStore as _};
use session_http::TowerSessionsStore;
use session_memory::MemoryStore;
use time::{Duration, OffsetDateTime};
use tower_sessions::session::{Id, Record};
use tower_sessions::session_store::ExpiredDeletion as _;
use tower_sessions::{Expiry, Session, SessionManagerLayer, SessionStore as _};

fn record() -> Record {
    let data = [
        ("text", serde_json::json!("value")),
        ("numbers", serde_json::json!([1, -1, u64::MAX, 0.5, true, null])),
        ("map", serde_json::json!({ "a": { "b": [] } })),
    ];
    Record {
        id: Id::default(),
        data: data.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        expiry_date: OffsetDateTime::now_utc() + Duration::minutes(30),
    }
}

#[tokio::test]
async fn a_record_comes_back_as_it_was_to_the_nanosecond() {
    let store = TowerSessionsStore::new(MemoryStore::default());
    let mut record = record();
    store.create(&mut record).await.unwrap();
    assert_eq!(store.load(&record.id).await.unwrap(), Some(record.clone()));
    record.data.insert("more".to_owned(), serde_json::json!(1));
    record.expiry_date += Duration::nanoseconds(1);
    store.save(&record).await.unwrap();
    assert_eq!(store.load(&record.id).await.unwrap(), Some(record.clone()));
    store.delete(&record.id).await.unwrap();
    assert_eq!(store.load(&record.id).await.unwrap(), None);
    store.delete(&record.id).await.unwrap();
}

#[tokio::test]
async fn an_id_that_is_taken_is_replaced_and_its_session_kept() {
    let store = TowerSessionsStore::new(MemoryStore::default());
    let (mut first, mut second) = (record(), record());
    store.create(&mut first).await.unwrap();
    second.id = first.id;
    second.data.clear();
    store.create(&mut second).await.unwrap();
    assert_ne!(second.id, first.id);
    assert_eq!(store.load(&first.id).await.unwrap(), Some(first));
}

#[tokio::test]
async fn a_late_save_does_not_bring_an_ended_session_back() {
    let store = TowerSessionsStore::new(MemoryStore::default());
    let mut record = record();
    store.create(&mut record).await.unwrap();
    store.delete(&record.id).await.unwrap();
    store.save(&record).await.unwrap();
    assert_eq!(store.load(&record.id).await.unwrap(), None);
}

#[tokio::test]
async fn expired_sessions_are_not_loaded_and_are_deleted() {
    let memory = MemoryStore::default();
    let store = TowerSessionsStore::new(memory.clone());
    let mut record = record();
    record.expiry_date = OffsetDateTime::now_utc() - Duration::seconds(1);
    store.create(&mut record).await.unwrap();
    assert_eq!(store.load(&record.id).await.unwrap(), None);
    store.delete_expired().await.unwrap();
    assert_eq!(memory.delete_expired(10).await.unwrap(), 0, "an expired session was left");
}

/// A key as the first half of an id.
fn text_of(key: SessionKey) -> String {
    let hex: String = key.to_string().chars().filter(|&letter| letter != '-').collect();
    base64::Engine::encode(
        &base64::engine::general_purpose::URL_SAFE_NO_PAD,
        u128::from_str_radix(&hex, 16).unwrap().to_be_bytes(),
    )
}

#[tokio::test]
async fn its_layer_runs_on_it_and_our_manager_lists_and_revokes_what_it_cannot_open() {
    let memory = MemoryStore::default();
    let layer = SessionManagerLayer::new(TowerSessionsStore::new(memory.clone()))
        .with_expiry(Expiry::OnInactivity(Duration::hours(1)));
    let app = Router::new()
        .route("/insert", on_get(async |s: Session| s.insert("foo", 42).await.unwrap()))
        .route("/get", on_get(async |s: Session| format!("{:?}", s.get::<u64>("foo").await.unwrap())))
        .route("/cycle", on_get(async |s: Session| s.cycle_id().await.unwrap()))
        .route("/flush", on_get(async |s: Session| s.flush().await.unwrap()))
        .layer(layer);
    let first = cookie("id", &get(&app, "/insert", None).await);
    assert_eq!(get(&app, "/get", Some(&first)).await.body, "Some(42)");
    let second = cookie("id", &get(&app, "/cycle", Some(&first)).await);
    assert_ne!(second, first);
    assert_eq!(get(&app, "/get", Some(&first)).await.body, "None");
    assert_eq!(get(&app, "/get", Some(&second)).await.body, "Some(42)");

    // Ids of theirs have one part: no id of ours opens such a session, whatever its secret.
    let manager = SessionManager::new(memory.clone());
    let (listed, _) = manager.sessions(None, 10).await.unwrap();
    let [listed] = &listed[..] else { panic!("not one session: {listed:?}") };
    assert_eq!(listed.get::<u64>("foo").unwrap(), Some(42));
    let [half, other] = [listed.key(), SessionKey::generate().unwrap()].map(text_of);
    for secret in [&half, &other] {
        let id: SessionId = format!("{half}{secret}").parse().unwrap();
        assert_eq!(id.key(), listed.key());
        let opened = manager.open(Some(&id)).await.unwrap();
        assert!(opened.is_new() && opened.is_empty(), "opened without a secret");
    }
    assert_eq!(get(&app, "/get", Some(&second)).await.body, "Some(42)");
    assert!(manager.revoke(listed.key()).await.unwrap());
    assert_eq!(get(&app, "/get", Some(&second)).await.body, "None");

    let second = cookie("id", &get(&app, "/insert", None).await);
    get(&app, "/flush", Some(&second)).await;
    assert_eq!(get(&app, "/get", Some(&second)).await.body, "None");
    assert!(memory.list(None, None, 10).await.unwrap().sessions.is_empty());
}
