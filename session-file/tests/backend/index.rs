//! The indexes, touch in place, and what a sweep opens.

use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::Duration;

use session_core::{
    Created, ErrorKind, ManualClock, Owner, Record, Renamed, Revision, Saved, SessionStore as _, Timestamp,
};
use session_file::{Durability, FileConfig, FileStore};

use crate::support::{Place, expired, files, in_an_hour, kind, live, new_key, record};

#[tokio::test]
async fn indexes_that_were_removed_are_built_anew() {
    for lost in [&["owners"][..], &["due"], &["owners", "due"]] {
        let place = Place::new().await;
        let owner: Owner = "ann".parse().unwrap();
        let mine = place.create_and_rename(&live(Some("ann"), 10)).await;
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
    for renamed in [false, true] {
        let place = Place::new().await;
        let record = live(None, 50_000);
        let key = if renamed { place.create_and_rename(&record).await } else { place.create(&record).await };
        let look =
            || (std::fs::read(place.path(key)).unwrap(), std::fs::metadata(place.path(key)).unwrap().ino());
        let (before, inode) = look();
        for seconds in [60, 120, 180] {
            let later = in_an_hour().saturating_add(Duration::from_secs(seconds));
            assert!(place.store.touch(key, later).await.unwrap());
            assert_eq!(place.store.load(key).await.unwrap().unwrap().expires_at, later);
        }
        let (after, same) = look();
        assert_eq!((inode, before.len()), (same, after.len()));
        let changed: Vec<_> = (0..before.len()).filter(|at| before[*at] != after[*at]).collect();
        assert!(changed.last().unwrap() - changed[0] < 40, "more than the two slots changed: {changed:?}");
    }
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
    assert!(store.touch(key, at(100)).await.unwrap());
    clock.set(at(50));
    assert_eq!(store.delete_expired(10).await.unwrap(), 0);
    assert!(store.touch(key, at(400_000)).await.unwrap());
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
    let [first, second] = [live(Some("ann"), 10), live(Some("bob"), 10)];
    let (key, to) = (place.create(&first).await, new_key());
    assert_eq!(place.store.save(key, first.revision, &second).await.unwrap(), Saved::Stored);
    let owners = place.directory.join("owners");
    assert_eq!(files(&owners).len(), 2, "the marker, and bob's");
    assert_eq!(files(&place.shard(key)), [place.path(key)]);
    let third = live(None, 10);
    // Over before it is renamed onto.
    let over = expired(Some("eve"), 10);
    assert_eq!(place.store.create(to, &over).await.unwrap(), Created::Stored);
    assert_eq!(place.store.rename(key, second.revision, to, &third).await.unwrap(), Renamed::Stored);
    assert_eq!(files(&owners), [owners.join("complete")]);
    assert_eq!(files(&place.directory.join("sessions")), [place.path(to)]);
    assert_eq!(files(&place.directory.join("due")).len(), 2, "the marker, and the new one's");
    assert!(place.store.delete(to).await.unwrap());
    assert!(files(&place.directory.join("sessions")).is_empty());
}

#[tokio::test]
async fn a_file_does_not_grow_with_the_number_of_renames() {
    let place = Place::new().await;
    let mut old = live(Some("ann"), 1_000);
    let mut key = place.create(&old).await;
    for _ in 0..10 {
        let (to, new) = (new_key(), live(Some("ann"), 1_000));
        assert_eq!(place.store.rename(key, old.revision, to, &new).await.unwrap(), Renamed::Stored);
        (key, old) = (to, new);
    }
    assert!(std::fs::metadata(place.path(key)).unwrap().len() < 3_000);
    let entries = files(&place.directory.join("owners"));
    assert_eq!(entries.len(), 2, "the marker and one entry: {entries:?}");
}

#[tokio::test]
async fn no_page_shows_a_session_under_two_keys_while_it_is_renamed() {
    let place = Place::new().await;
    let mut old = live(Some("ann"), 10);
    let mut key = place.create(&old).await;
    let store = place.store.clone();
    let renamer = tokio::spawn(async move {
        for _ in 0..300 {
            let (to, new) = (new_key(), live(Some("ann"), 10));
            assert_eq!(store.rename(key, old.revision, to, &new).await.unwrap(), Renamed::Stored);
            (key, old) = (to, new);
        }
    });
    let owner: Owner = "ann".parse().unwrap();
    while !renamer.is_finished() {
        for owner in [None, Some(&owner)] {
            let listed = place.listed(owner).await;
            assert!(listed.len() <= 1, "one session, two keys: {listed:?}");
        }
    }
    renamer.await.unwrap();
}

#[tokio::test]
async fn a_store_that_survives_power_loss_does_the_same() {
    let parent = tempfile::tempdir().unwrap();
    let config = FileConfig::new(parent.path().join("sessions")).with_durability(Durability::PowerLoss);
    let store = FileStore::new(config).unwrap();
    store.prepare().await.unwrap();
    let (from, to, first, second) = (new_key(), new_key(), live(Some("ann"), 10), live(Some("bob"), 10));
    let _stored = store.create(from, &first).await.unwrap();
    assert!(store.touch(from, in_an_hour().saturating_add(Duration::from_secs(5))).await.unwrap());
    assert_eq!(store.rename(from, first.revision, to, &second).await.unwrap(), Renamed::Stored);
    assert_eq!(store.load(to).await.unwrap(), Some(second));
    assert!(store.delete(to).await.unwrap());
    assert_eq!(store.load(to).await.unwrap(), None);
}

#[tokio::test]
async fn a_rename_to_its_own_key_is_refused() {
    let place = Place::new().await;
    let record = live(None, 10);
    let key = place.create(&record).await;
    let next = Record { revision: Revision::generate().unwrap(), ..record.clone() };
    let refused = place.store.rename(key, record.revision, key, &next).await;
    assert_eq!(kind(refused), ErrorKind::InvalidInput);
    assert_eq!(place.store.load(key).await.unwrap(), Some(record));
}
