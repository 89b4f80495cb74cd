//! What is counted, and that no label tells who.
#![cfg(feature = "metrics")]
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeMap;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use session_core::SessionId;
use support::{Fault, bench};

#[test]
fn opens_commits_conflicts_and_revocations_are_counted_without_an_id() {
    let recorder = DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let id = metrics::with_local_recorder(&recorder, || runtime.block_on(requests()));

    let mut counted = BTreeMap::new();
    let mut timed = BTreeMap::new();
    for (key, _, _, value) in seen.snapshot().into_vec() {
        let labels: Vec<_> = key.key().labels().map(|label| label.value().to_owned()).collect();
        let name = [&[key.key().name().to_owned()], &labels[..]].concat().join(" ");
        assert!(!name.contains(&id.expose()) && !name.contains(&id.key().to_string()), "{name}");
        match value {
            DebugValue::Counter(count) => drop(counted.insert(name, count)),
            DebugValue::Histogram(times) => drop(timed.insert(name, times.len())),
            DebugValue::Gauge(_) => {}
        }
    }
    let wanted = [
        ("session_commits_total created", 2),
        ("session_commits_total destroyed", 1),
        ("session_commits_total ended", 1),
        ("session_commits_total error", 1),
        ("session_commits_total rotated", 1),
        ("session_commits_total saved", 2),
        ("session_commits_total unchanged", 1),
        ("session_conflicts_total", 1),
        ("session_opens_total error", 1),
        ("session_opens_total hit", 5),
        ("session_opens_total miss", 1),
        ("session_opens_total new", 3),
        ("session_replays_total", 1),
        ("session_revocations_total", 1),
    ];
    assert_eq!(counted, wanted.map(|(name, count)| (name.to_owned(), count)).into());
    let wanted = [("session_commit_seconds", 9), ("session_open_seconds", 10)];
    assert_eq!(timed, wanted.map(|(name, count)| (name.to_owned(), count)).into());
}

/// Requests with every outcome but a touch.
async fn requests() -> SessionId {
    let bench = bench();
    let manager = &bench.manager;
    let begun = manager.open(None).await.unwrap();
    begun.insert("n", 1).unwrap();
    let _ = manager.commit(&begun).await.unwrap();
    let id = begun.id().unwrap();

    let first = manager.open(Some(&id)).await.unwrap();
    let second = manager.open(Some(&id)).await.unwrap();
    first.insert("first", 1).unwrap();
    second.insert("second", 1).unwrap();
    let _ = manager.commit(&first).await.unwrap();
    let _ = manager.commit(&second).await.unwrap();

    let reader = manager.open(Some(&id)).await.unwrap();
    let _ = manager.commit(&reader).await.unwrap();
    reader.rotate_id();
    let _ = manager.commit(&reader).await.unwrap();
    let new = reader.id().unwrap();

    let late = manager.open(Some(&new)).await.unwrap();
    late.insert("n", 2).unwrap();
    let _ = manager.revoke(new.key()).await.unwrap();
    let _ = manager.commit(&late).await.unwrap();

    let _ = manager.open(Some(&new)).await.unwrap();
    bench.store.fail_next(Fault::Refused);
    let _ = manager.open(Some(&new)).await.unwrap_err();

    let unlucky = manager.open(None).await.unwrap();
    unlucky.insert("n", 1).unwrap();
    bench.store.fail_next(Fault::Refused);
    let _ = manager.commit(&unlucky).await.unwrap_err();
    let ended = bench.stored().await;
    let ended = manager.open(Some(&ended)).await.unwrap();
    ended.destroy();
    let _ = manager.commit(&ended).await.unwrap();
    id
}
