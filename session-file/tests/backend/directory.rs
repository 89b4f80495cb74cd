//! Directories that go away, disks that are full or read-only.

use std::path::Path;
use std::process::Command;

use session_core::{Created, ErrorKind, Record, Revision, Saved, SessionKey, SessionStore as _};
use session_file::{FileConfig, FileStore};

use crate::support::{Place, files, in_an_hour, kind, live, new_key, skip};

/// Every operation says that the store is not there.
async fn all_unavailable(store: &FileStore, key: SessionKey, record: &Record) {
    let next = live(None, 10);
    let owner = "ann".parse().unwrap();
    let kinds = [
        kind(store.load(key).await),
        kind(store.create(new_key(), &next).await),
        kind(store.save(key, record.revision, &next).await),
        kind(store.touch(key, record.revision, in_an_hour()).await),
        kind(store.delete(key).await),
        kind(store.list(None, None, 10).await),
        kind(store.list(Some(&owner), None, 10).await),
        kind(store.delete_owned(&owner, None).await),
        kind(store.delete_expired(10).await),
    ];
    assert_eq!(kinds, [ErrorKind::Unavailable; 9]);
}

#[tokio::test]
async fn a_directory_that_was_removed_is_an_error_until_it_is_prepared_again() {
    let place = Place::new().await;
    let record = live(None, 10);
    let key = place.create(&record).await;
    std::fs::remove_dir_all(&place.directory).unwrap();
    all_unavailable(&place.store, key, &record).await;
    // An empty directory is what a file system that is not mounted looks like.
    std::fs::create_dir(&place.directory).unwrap();
    all_unavailable(&place.store, key, &record).await;
    assert!(files(&place.directory).is_empty());
    place.store.prepare().await.unwrap();
    assert_eq!(place.store.load(key).await.unwrap(), None);
    assert_eq!(place.store.create(key, &record).await.unwrap(), Created::Stored);
}

#[tokio::test]
async fn a_directory_that_was_moved_away_is_found_when_it_is_back() {
    let place = Place::new().await;
    let record = live(None, 10);
    let key = place.create(&record).await;
    let away = place.directory.with_extension("away");
    std::fs::rename(&place.directory, &away).unwrap();
    all_unavailable(&place.store, key, &record).await;
    std::fs::rename(&away, &place.directory).unwrap();
    assert_eq!(place.store.load(key).await.unwrap(), Some(record));
}

#[tokio::test]
async fn empty_directories_that_a_cleaner_removed_are_made_anew() {
    let place = Place::new().await;
    let record = live(Some("ann"), 10);
    let key = place.create(&record).await;
    assert!(place.store.delete(key).await.unwrap());
    std::fs::remove_dir(place.shard(key)).unwrap();
    assert_eq!(place.store.load(key).await.unwrap(), None);
    assert_eq!(place.store.create(key, &record).await.unwrap(), Created::Stored);
    assert_eq!(place.store.load(key).await.unwrap(), Some(record));
}

/// A small file system of its own, taken away when it is dropped.
struct Mount(tempfile::TempDir);

impl Mount {
    /// `None` where mounting is not allowed.
    fn new() -> Option<Self> {
        let at = tempfile::tempdir().unwrap();
        let mounted = mount(&["-t", "tmpfs", "-o", "size=768k,mode=0700", "tmpfs"], at.path());
        mounted.then_some(Self(at))
    }

    fn remount(&self, option: &str) {
        assert!(mount(&["-o", &format!("remount,{option}")], self.0.path()), "remount {option}");
    }

    fn store(&self) -> FileStore {
        FileStore::new(FileConfig::new(self.0.path().join("sessions"))).unwrap()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

fn mount(arguments: &[&str], at: &Path) -> bool {
    let status = Command::new("mount").args(arguments).arg(at).stderr(std::process::Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

#[tokio::test]
async fn a_full_disk_is_an_error_that_tears_nothing_and_ends_when_there_is_room() {
    let Some(disk) = Mount::new() else { return skip("this user may not mount a file system") };
    let store = disk.store();
    store.prepare().await.unwrap();
    let mut stored = Vec::new();
    let error = loop {
        let (key, record) = (new_key(), live(Some("ann"), 9_000));
        match store.create(key, &record).await {
            Ok(done) => {
                assert_eq!(done, Created::Stored);
                stored.push((key, record));
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("full"), "{error}");
    assert!(stored.len() > 10, "{} sessions fitted", stored.len());
    let (key, record) = stored[0].clone();
    for _ in 0..3 {
        let larger = live(Some("bob"), 60_000);
        assert_eq!(kind(store.save(key, record.revision, &larger).await), ErrorKind::Unavailable);
    }
    for (key, record) in &stored {
        assert_eq!(store.load(*key).await.unwrap().as_ref(), Some(record));
    }
    let sessions = disk.0.path().join("sessions");
    assert_eq!(files(&sessions.join("sessions")).len(), stored.len(), "leftovers");
    assert_eq!(files(&sessions.join("owners")).len(), stored.len() + 1, "entries without a record");
    assert_eq!(files(&sessions.join("due")).len(), stored.len() + 1, "entries without a record");

    for (key, _) in stored.drain(1..10) {
        assert!(store.delete(key).await.unwrap());
    }
    let larger = live(Some("bob"), 60_000);
    assert_eq!(store.save(key, record.revision, &larger).await.unwrap(), Saved::Stored);
    assert_eq!(store.load(key).await.unwrap(), Some(larger));
}

#[tokio::test]
async fn a_read_only_disk_still_reads_and_writes_again_when_it_is_mended() {
    let Some(disk) = Mount::new() else { return skip("this user may not mount a file system") };
    let store = disk.store();
    store.prepare().await.unwrap();
    let (key, record) = (new_key(), live(None, 10));
    assert_eq!(store.create(key, &record).await.unwrap(), Created::Stored);
    disk.remount("ro");
    assert_eq!(store.load(key).await.unwrap(), Some(record.clone()));
    assert_eq!(store.list(None, None, 10).await.unwrap().sessions.len(), 1);
    let next = Record { revision: Revision::generate().unwrap(), ..record.clone() };
    let error = store.save(key, record.revision, &next).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("read-only"), "{error}");
    assert_eq!(kind(store.delete(key).await), ErrorKind::Unavailable);
    assert_eq!(kind(store.create(new_key(), &next).await), ErrorKind::Unavailable);
    disk.remount("rw");
    assert_eq!(store.save(key, record.revision, &next).await.unwrap(), Saved::Stored);
    assert_eq!(store.load(key).await.unwrap(), Some(next));
}

#[tokio::test]
async fn a_store_on_a_read_only_disk_can_be_prepared_and_none_can_be_begun() {
    let Some(disk) = Mount::new() else { return skip("this user may not mount a file system") };
    let (key, record) = (new_key(), live(Some("ann"), 10));
    let store = disk.store();
    store.prepare().await.unwrap();
    assert_eq!(store.create(key, &record).await.unwrap(), Created::Stored);
    std::fs::create_dir(disk.0.path().join("empty")).unwrap();
    // A writer died before the disk turned read-only.
    let shard = disk.0.path().join(format!("sessions/sessions/{:02x}", key.as_bytes()[15]));
    std::fs::copy(shard.join(key.to_string()), shard.join(".old")).unwrap();
    disk.remount("ro");
    let store = disk.store();
    store.prepare().await.unwrap();
    assert_eq!(store.load(key).await.unwrap(), Some(record));
    for name in ["missing", "empty"] {
        let other = FileStore::new(FileConfig::new(disk.0.path().join(name))).unwrap();
        let error = other.prepare().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("read-only"), "{error}");
    }
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused() {
    let new = |config| FileStore::new(config).map(drop);
    assert_eq!(kind(new(FileConfig::new(""))), ErrorKind::InvalidConfig);
    assert_eq!(kind(new(FileConfig::default().with_max_payload(usize::MAX))), ErrorKind::InvalidConfig);
}

#[test]
fn outside_of_a_runtime_an_operation_is_an_error() {
    let store = FileStore::new(FileConfig::new("sessions")).unwrap();
    let future = store.prepare();
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(result) => assert_eq!(kind(result), ErrorKind::InvalidConfig),
        std::task::Poll::Pending => panic!("it waits for a runtime that does not exist"),
    }
}
