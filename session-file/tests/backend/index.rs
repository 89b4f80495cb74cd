//! The indexes, touch in place, and what a sweep opens.

use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::Duration;

use session_core::{
    Created, ManualClock, Owner, Record, Saved, SessionKey, SessionStore as _, Timestamp, Touched,
};
use session_file::{Durability, FileConfig, FileStore};

use crate::support::{Place, expired, files, in_an_hour, live, new_key, record};

#[tokio::test]
async fn indexes_that_were_removed_are_built_anew() {
    for lost in [&["owners"][..], &["due"], &["owners", "due"]] {
        let place = Place::new().await;
        let owner: Owner = "ann".parse().unwrap();
        let mine = place.create(&live(Some("ann"), 10)).await;
        let over = place.create(&expired(Some("ann"), 10)).await;
        place.create(&live(Some("bob"), 10)).await;
        let indexed = || [files(&place.directory.join("owners")), files(&place.directory.join("due"))];
        let before = indexed();
        for name in lost {
            std::fs::remove_dir_all(place.directory.join(name)).unwrap();
        }
        // A write in between makes the directory, but not the index.
        let later = place.create(&live(None, 10)).await;
        assert!(place.store.delete(later).await.unwrap());
        assert_eq!(place.listed(Some(&owner)).await, [mine]);
        assert_eq!(indexed(), before, "{lost:?}");
        assert_eq!(place.store.delete_expired(10).await.unwrap(), 1);
        assert!(!place.path(over).exists());
        assert_eq!(place.store.delete_owned(&owner, None).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn revoking_and_sweeping_build_a_lost_index_first() {
    let place = Place::new().await;
    place.create(&live(Some("ann"), 10)).await;
    place.create(&expired(None, 10)).await;
    std::fs::remove_dir_all(place.directory.join("owners")).unwrap();
    assert_eq!(place.store.delete_owned(&"ann".parse().unwrap(), None).await.unwrap(), 1);
    std::fs::remove_dir_all(place.directory.join("due")).unwrap();
    assert_eq!(place.store.delete_expired(10).await.unwrap(), 1);
}

#[tokio::test]
async fn an_owner_entry_that_no_record_stands_for_is_not_listed_and_goes() {
    let place = Place::new().await;
    let (ann, bob) = ("ann".parse().unwrap(), "bob".parse().unwrap());
    let key = place.create(&live(Some("ann"), 10)).await;
    let entries = || {
        let mut entries = files(&place.directory.join("owners"));
        entries.retain(|path| !path.ends_with("complete"));
        entries
    };
    let stale = entries()[0].clone();
    assert!(place.store.delete(key).await.unwrap());
    std::fs::write(&stale, "").unwrap();
    assert!(place.listed(Some(&ann)).await.is_empty());
    assert_eq!(entries().len(), 0, "no record");
    let key = place.create(&live(Some("bob"), 10)).await;
    let theirs = stale.with_file_name(
        stale
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .replace(&stale.file_name().unwrap().to_str().unwrap()[33..], &key.to_string()),
    );
    std::fs::write(&theirs, "").unwrap();
    assert_eq!(place.store.delete_owned(&ann, None).await.unwrap(), 0, "somebody else's record");
    assert_eq!(place.listed(Some(&bob)).await, [key]);
    assert_eq!(entries().len(), 1);
}

#[tokio::test]
async fn a_touch_writes_twenty_bytes_in_place() {
    let place = Place::new().await;
    let record = live(None, 50_000);
    let key = place.create(&record).await;
    let look =
        || (std::fs::read(place.path(key)).unwrap(), std::fs::metadata(place.path(key)).unwrap().ino());
    let (before, inode) = look();
    for seconds in [60, 120, 180] {
        let later = in_an_hour().saturating_add(Duration::from_secs(seconds));
        assert_eq!(place.store.touch(key, record.revision, later).await.unwrap(), Touched::Stored);
        assert_eq!(place.store.load(key).await.unwrap().unwrap().expires_at, later);
    }
    let (after, same) = look();
    assert_eq!((inode, before.len()), (same, after.len()));
    let changed: Vec<_> = (0..before.len()).filter(|at| before[*at] != after[*at]).collect();
    assert!(changed.last().unwrap() - changed[0] < 40, "more than the two slots changed: {changed:?}");
}

#[tokio::test]
async fn a_touch_at_another_revision_writes_nothing() {
    let place = Place::new().await;
    let [first, second] = [live(Some("ann"), 10), live(Some("ann"), 10)];
    let key = place.create(&first).await;
    assert_eq!(place.store.save(key, first.revision, &second).await.unwrap(), Saved::Stored);
    let before = std::fs::read(place.path(key)).unwrap();
    let later = in_an_hour().saturating_add(Duration::from_secs(60));
    assert_eq!(place.store.touch(key, first.revision, later).await.unwrap(), Touched::Conflict);
    assert_eq!(std::fs::read(place.path(key)).unwrap(), before);
}

/// The first bytes of a UUIDv7 are the time.
#[tokio::test]
async fn keys_that_begin_with_the_time_are_spread_over_the_shards() {
    let place = Place::new().await;
    for _ in 0..512 {
        let mut bytes = *new_key().as_bytes();
        bytes[..6].copy_from_slice(&Timestamp::now().as_millis().to_be_bytes()[2..]);
        let key: SessionKey = uuid::Builder::from_bytes(bytes)
            .with_version(uuid::Version::SortRand)
            .into_uuid()
            .try_into()
            .unwrap();
        assert_eq!(place.store.create(key, &live(None, 1)).await.unwrap(), Created::Stored);
    }
    let shards = std::fs::read_dir(place.directory.join("sessions")).unwrap().count();
    // About 222 of 256 on average; by chance, less than 190 does not happen.
    assert!(shards > 190, "512 new sessions are in {shards} directories");
}

#[tokio::test]
async fn a_sweep_opens_no_file_that_has_not_expired() {
    let place = Place::new().await;
    // Whoever opens one of these finds it damaged and puts it aside.
    let mut later = Vec::new();
    for seconds in [1, 60, 3_600, 86_400, 40 * 86_400] {
        let at = Timestamp::now().saturating_add(Duration::from_secs(300 + seconds));
        let key = place.create(&record(None, at, 10)).await;
        std::fs::write(place.path(key), "not to be opened").unwrap();
        later.push(key);
    }
    for _ in 0..20 {
        place.create(&expired(None, 10)).await;
    }
    assert_eq!(place.store.delete_expired(1_000).await.unwrap(), 20);
    assert!(later.iter().all(|key| place.path(*key).exists()));
    assert!(files(&place.directory.join("damaged")).is_empty());
}

#[tokio::test]
async fn a_touched_session_is_filed_anew_and_swept_when_its_time_has_come() {
    let parent = tempfile::tempdir().unwrap();
    let start = Timestamp::from_millis(1_700_000_000_000);
    let clock = Arc::new(ManualClock::new(start));
    let config = FileConfig::new(parent.path().join("sessions")).with_clock(clock.clone());
    let store = FileStore::new(config).unwrap();
    store.prepare().await.unwrap();
    let at = |seconds| start.saturating_add(Duration::from_secs(seconds));
    let key = new_key();
    let first = record(None, at(10), 10);
    let _stored = store.create(key, &first).await.unwrap();
    assert_eq!(store.touch(key, first.revision, at(100)).await.unwrap(), Touched::Stored);
    clock.set(at(50));
    assert_eq!(store.delete_expired(10).await.unwrap(), 0);
    assert_eq!(store.touch(key, first.revision, at(400_000)).await.unwrap(), Touched::Stored);
    clock.set(at(200));
    assert_eq!(store.delete_expired(10).await.unwrap(), 0);
    assert_eq!(store.load(key).await.unwrap(), Some(Record { expires_at: at(400_000), ..first }));
    clock.set(at(400_000));
    assert_eq!(store.delete_expired(10).await.unwrap(), 1);
    // Empty buckets went with it, all but the one that is not over.
    let due = parent.path().join("sessions/due");
    assert_eq!(files(&due), [due.join("complete")]);
    clock.set(at(4_000_000));
    assert_eq!(store.delete_expired(10).await.unwrap(), 0);
    assert_eq!(std::fs::read_dir(&due).unwrap().count(), 1, "eras that are over are removed");
}

#[tokio::test]
async fn a_shortened_life_ends_in_time_and_leaves_no_entry() {
    let place = Place::new().await;
    let first = live(None, 10);
    let key = place.create(&first).await;
    let second = record(None, Timestamp::from_millis(Timestamp::now().as_millis() - 1), 10);
    assert_eq!(place.store.save(key, first.revision, &second).await.unwrap(), Saved::Stored);
    assert_eq!(place.store.delete_expired(10).await.unwrap(), 1);
    let due = place.directory.join("due");
    assert_eq!(files(&due), [due.join("complete")]);
}

#[tokio::test]
async fn a_change_leaves_no_entry_and_no_file_of_what_was() {
    let place = Place::new().await;
    // Over before it is created anew.
    let key = place.create(&expired(Some("eve"), 10)).await;
    let [first, second, third] = [live(Some("ann"), 10), live(Some("bob"), 10), live(None, 10)];
    assert_eq!(place.store.create(key, &first).await.unwrap(), Created::Stored);
    assert_eq!(place.store.save(key, first.revision, &second).await.unwrap(), Saved::Stored);
    let owners = place.directory.join("owners");
    assert_eq!(files(&owners).len(), 2, "the marker, and bob's");
    assert_eq!(place.store.save(key, second.revision, &third).await.unwrap(), Saved::Stored);
    assert_eq!(files(&owners), [owners.join("complete")]);
    assert_eq!(files(&place.directory.join("sessions")), [place.path(key)]);
    assert_eq!(files(&place.directory.join("due")).len(), 2, "the marker, and the new one's");
    assert!(place.store.delete(key).await.unwrap());
    assert!(files(&place.directory.join("sessions")).is_empty());
}

#[tokio::test]
async fn a_store_that_survives_power_loss_does_the_same() {
    let parent = tempfile::tempdir().unwrap();
    let config = FileConfig::new(parent.path().join("sessions")).with_durability(Durability::PowerLoss);
    let store = FileStore::new(config).unwrap();
    store.prepare().await.unwrap();
    let (key, first, second) = (new_key(), live(Some("ann"), 10), live(Some("bob"), 10));
    let _stored = store.create(key, &first).await.unwrap();
    let later = in_an_hour().saturating_add(Duration::from_secs(5));
    assert_eq!(store.touch(key, first.revision, later).await.unwrap(), Touched::Stored);
    assert_eq!(store.save(key, first.revision, &second).await.unwrap(), Saved::Stored);
    assert_eq!(store.load(key).await.unwrap(), Some(second));
    assert!(store.delete(key).await.unwrap());
    assert_eq!(store.load(key).await.unwrap(), None);
}
