//! What is in the directory and was not written by the store.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use session_core::{Created, ErrorKind, Saved, SessionStore as _, Touched};

use crate::support::{Place, expired, files, in_an_hour, kind, live, neighbour, new_key, skip};

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn check_modes(directory: &Path) {
    assert_eq!(mode(directory), 0o700, "{}", directory.display());
    for entry in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap()) {
        if entry.file_type().unwrap().is_dir() {
            check_modes(&entry.path());
        } else {
            assert_eq!(mode(&entry.path()), 0o600, "{}", entry.path().display());
        }
    }
}

#[tokio::test]
async fn directories_are_0700_and_files_0600_whatever_the_umask() {
    // Other tests of this process do not mind.
    rustix::process::umask(rustix::fs::Mode::empty());
    let place = Place::new().await;
    let record = live(Some("ann"), 10);
    let key = place.create(&record).await;
    let next = live(Some("bob"), 20);
    assert_eq!(place.store.save(key, record.revision, &next).await.unwrap(), Saved::Stored);
    let later = in_an_hour().saturating_add(Duration::from_secs(9));
    assert_eq!(place.store.touch(key, next.revision, later).await.unwrap(), Touched::Stored);
    let damaged = place.create(&live(None, 10)).await;
    std::fs::write(place.path(damaged), "damaged").unwrap();
    place.store.delete(damaged).await.unwrap();
    check_modes(&place.directory);
}

#[tokio::test]
async fn a_symbolic_link_in_the_place_of_a_session_is_refused_and_not_followed() {
    let place = Place::new().await;
    let record = live(None, 100);
    let key = place.create(&record).await;
    let target = place.directory.with_extension("target");
    std::fs::rename(place.path(key), &target).unwrap();
    let before = std::fs::read(&target).unwrap();
    symlink(&target, place.path(key)).unwrap();

    assert_eq!(kind(place.store.load(key).await), ErrorKind::Corrupt);
    assert_eq!(kind(place.store.save(key, record.revision, &live(None, 5)).await), ErrorKind::Corrupt);
    assert_eq!(kind(place.store.create(key, &live(None, 5)).await), ErrorKind::Corrupt);
    assert_eq!(kind(place.store.touch(key, record.revision, in_an_hour()).await), ErrorKind::Corrupt);
    assert!(!place.store.delete(key).await.unwrap());
    assert_eq!(place.store.load(key).await.unwrap(), None);
    assert_eq!(std::fs::read(&target).unwrap(), before, "the target was written to");
}

#[tokio::test]
async fn a_symbolic_link_in_the_place_of_a_directory_is_refused_and_not_followed() {
    for (name, deep) in [("sessions", false), ("owners", false), ("due", false), ("sessions", true)] {
        let place = Place::new().await;
        let key = place.create(&live(Some("ann"), 10)).await;
        let at = if deep { place.shard(key) } else { place.directory.join(name) };
        let elsewhere = place.directory.with_extension("elsewhere");
        std::fs::rename(&at, &elsewhere).unwrap();
        symlink(&elsewhere, &at).unwrap();
        let before = files(&elsewhere);

        assert!(place.store.create(key, &live(Some("bob"), 10)).await.is_err() || name != "sessions");
        let other = if deep { neighbour(key) } else { new_key() };
        let refused = place.store.create(other, &live(Some("ann"), 10)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable, "{name}: {refused}");
        assert_eq!(files(&elsewhere), before, "{name}: something was written behind the link");
    }
}

#[tokio::test]
async fn a_session_file_with_a_second_name_is_refused_and_not_written() {
    let place = Place::new().await;
    let record = live(None, 100);
    let key = place.create(&record).await;
    let second = place.directory.with_extension("second");
    std::fs::hard_link(place.path(key), &second).unwrap();
    let before = std::fs::read(&second).unwrap();

    assert_eq!(kind(place.store.load(key).await), ErrorKind::Corrupt);
    let later = in_an_hour().saturating_add(Duration::from_secs(60));
    assert_eq!(kind(place.store.touch(key, record.revision, later).await), ErrorKind::Corrupt);
    assert_eq!(kind(place.store.save(key, record.revision, &live(None, 5)).await), ErrorKind::Corrupt);
    assert_eq!(std::fs::read(&second).unwrap(), before);
    std::fs::remove_file(second).unwrap();
    assert_eq!(place.store.load(key).await.unwrap(), Some(record), "it is whole again with one name");
}

#[tokio::test]
async fn a_session_file_of_another_user_is_refused() {
    let place = Place::new().await;
    let record = live(None, 100);
    let key = place.create(&record).await;
    if std::os::unix::fs::chown(place.path(key), Some(12_345), None).is_err() {
        return skip("only root can give a file to another user");
    }
    assert_eq!(kind(place.store.load(key).await), ErrorKind::Corrupt);
    assert_eq!(kind(place.store.save(key, record.revision, &live(None, 5)).await), ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_pipe_or_a_directory_in_the_place_of_a_session_is_refused_without_waiting() {
    let place = Place::new().await;
    let record = live(None, 100);
    let key = place.create(&record).await;
    std::fs::remove_file(place.path(key)).unwrap();
    let shard = std::fs::File::open(place.shard(key)).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(&shard, key.to_string(), mode).unwrap();
    assert_eq!(kind(place.store.load(key).await), ErrorKind::Corrupt);
    std::fs::remove_file(place.path(key)).unwrap();
    std::fs::create_dir(place.path(key)).unwrap();
    assert_eq!(kind(place.store.load(key).await), ErrorKind::Corrupt);
    assert_eq!(kind(place.store.touch(key, record.revision, in_an_hour()).await), ErrorKind::Corrupt);
}

#[tokio::test]
async fn foreign_and_leftover_files_are_never_counted_and_leftovers_are_cleaned() {
    let place = Place::new().await;
    let key = place.create(&live(Some("ann"), 100)).await;
    let shard = place.shard(key);
    let foreign = ["notes.txt", "00000000-0000-4000-8000-000000000000", &key.to_string().to_uppercase()];
    for name in foreign {
        std::fs::write(shard.join(name), "x").unwrap();
    }
    for name in [".new", ".old"] {
        std::fs::copy(place.path(key), shard.join(name)).unwrap();
    }
    assert_eq!(place.listed(None).await, [key]);
    assert_eq!(place.listed(Some(&"ann".parse().unwrap())).await, [key]);
    assert_eq!(place.store.delete_expired(10).await.unwrap(), 0);
    place.store.prepare().await.unwrap();
    assert!(!shard.join(".new").exists() && !shard.join(".old").exists());
    assert!(foreign.iter().all(|name| shard.join(name).exists()), "foreign files are not ours to remove");
    assert_eq!(place.listed(Some(&"ann".parse().unwrap())).await, [key], "the record's own entries stay");
}

#[tokio::test]
async fn a_write_goes_past_what_a_dead_writer_left() {
    let place = Place::new().await;
    let record = live(None, 100);
    let key = place.create(&record).await;
    for name in [".new", ".old"] {
        std::fs::write(place.shard(key).join(name), "SESSFILE, cut off").unwrap();
    }
    let next = live(Some("ann"), 10);
    assert_eq!(place.store.save(key, record.revision, &next).await.unwrap(), Saved::Stored);
    assert_eq!(place.store.load(key).await.unwrap(), Some(next));
    assert!(place.store.delete(key).await.unwrap());
    assert!(files(&place.shard(key)).is_empty());
}

#[tokio::test]
async fn a_directory_that_is_open_to_others_or_of_another_format_is_refused() {
    let place = Place::new().await;
    std::fs::set_permissions(&place.directory, Permissions::from_mode(0o750)).unwrap();
    assert_eq!(kind(place.store.prepare().await), ErrorKind::InvalidConfig);
    std::fs::set_permissions(&place.directory, Permissions::from_mode(0o700)).unwrap();
    place.store.prepare().await.unwrap();
    // An earlier one, a later one, and what is none.
    for (format, told) in
        [("session-file 1\n", "format 1"), ("session-file 3\n", "format 3"), ("tar\n", "`format`")]
    {
        std::fs::write(place.directory.join("format"), format).unwrap();
        let error = place.store.prepare().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains(told), "{error}");
    }
}

#[tokio::test]
async fn a_directory_of_another_user_is_refused_and_left_alone() {
    let parent = tempfile::tempdir().unwrap();
    let theirs = parent.path().join("theirs");
    std::fs::create_dir(&theirs).unwrap();
    if std::os::unix::fs::chown(&theirs, Some(12_345), None).is_err() {
        return skip("only root can give a directory to another user");
    }
    let store = session_file::FileStore::new(session_file::FileConfig::new(&theirs)).unwrap();
    let error = store.prepare().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("another user"), "{error}");
    assert!(std::fs::read_dir(&theirs).unwrap().next().is_none(), "something was written");
    assert_eq!(mode(&theirs), 0o755, "its mode was changed");
}

#[tokio::test]
async fn a_store_is_begun_in_an_empty_directory_only() {
    let parent = tempfile::tempdir().unwrap();
    let store = |path: &Path| session_file::FileStore::new(session_file::FileConfig::new(path)).unwrap();
    std::fs::write(parent.path().join("letter.txt"), "dear").unwrap();
    assert_eq!(kind(store(parent.path()).prepare().await), ErrorKind::InvalidConfig);
    assert_eq!(kind(store(&parent.path().join("letter.txt")).prepare().await), ErrorKind::InvalidConfig);

    let open = parent.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();
    store(&open).prepare().await.unwrap();
    assert_eq!(mode(&open), 0o700);
    assert_eq!(store(&open).create(new_key(), &expired(None, 1)).await.unwrap(), Created::Stored);
}
