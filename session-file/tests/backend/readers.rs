//! What a reader does that finds a touch of another process under way.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use session_core::{ManualClock, Record, SessionStore as _, Timestamp, Touched};
use session_file::{FileConfig, FileStore};

use crate::support::{Place, new_key, record};

/// Loads while this test, in the place of the toucher, holds the shard's lock, and then ends the touch.
async fn loaded_during_a_touch(half: impl FnOnce(&[u8], &[u8]) -> Vec<u8>) -> (Option<Record>, Record) {
    let start = Timestamp::from_millis(1_700_000_000_000);
    let at = |seconds| start.saturating_add(Duration::from_secs(seconds));
    let clock = Arc::new(ManualClock::new(start));
    let place = Place::new().await;
    let store = FileStore::new(FileConfig::new(&place.directory).with_clock(clock.clone())).unwrap();
    let (key, before) = (new_key(), record(None, at(10), 20));
    let _stored = store.create(key, &before).await.unwrap();
    let old = std::fs::read(place.path(key)).unwrap();
    assert_eq!(store.touch(key, before.revision, at(100)).await.unwrap(), Touched::Stored);
    let new = std::fs::read(place.path(key)).unwrap();

    let file = File::options().write(true).open(place.path(key)).unwrap();
    let shard = File::open(place.shard(key)).unwrap();
    shard.lock().unwrap();
    file.write_all_at(&half(&old, &new), 0).unwrap();
    // Over by what the reader sees first.
    clock.set(at(20));
    let reading = tokio::spawn(async move { store.load(key).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    file.write_all_at(&new, 0).unwrap();
    shard.unlock().unwrap();
    let found = reading.await.unwrap().unwrap();
    (found, Record { expires_at: at(100), ..before })
}

#[tokio::test]
async fn a_reader_that_meets_half_a_touch_waits_for_the_whole() {
    let half = |old: &[u8], new: &[u8]| {
        let changed: Vec<_> = (0..old.len()).filter(|at| old[*at] != new[*at]).collect();
        let middle = changed[changed.len() / 2];
        [&new[..middle], &old[middle..]].concat()
    };
    let (found, expected) = loaded_during_a_touch(half).await;
    assert_eq!(found, Some(expected));
}

#[tokio::test]
async fn a_reader_that_finds_a_session_expired_asks_whether_a_touch_was_under_way() {
    let (found, expected) = loaded_during_a_touch(|old, _| old.to_vec()).await;
    assert_eq!(found, Some(expected));
}
