//! Files whose bytes are not what was written.

use session_core::{ErrorKind, Owner, SessionKey, SessionStore as _, Touched};

use crate::support::{Place, expired, files, in_an_hour, kind, live};

/// No bit of a file can flip and no byte be missing or too many without an error.
async fn damage_everywhere(place: &Place, key: SessionKey) {
    let record = place.store.load(key).await.unwrap().unwrap();
    let whole = std::fs::read(place.path(key)).unwrap();
    for at in 0..whole.len() {
        for bit in [0x01, 0x80] {
            let mut bytes = whole.clone();
            bytes[at] ^= bit;
            std::fs::write(place.path(key), &bytes).unwrap();
            assert_eq!(kind(place.store.load(key).await), ErrorKind::Corrupt, "bit {bit:02x} of byte {at}");
        }
    }
    for len in 0..whole.len() {
        std::fs::write(place.path(key), &whole[..len]).unwrap();
        assert_eq!(kind(place.store.load(key).await), ErrorKind::Corrupt, "cut to {len} bytes");
    }
    for more in [1, 31, 128, 500] {
        let mut bytes = whole.clone();
        bytes.resize(whole.len() + more, 0);
        std::fs::write(place.path(key), &bytes).unwrap();
        assert_eq!(kind(place.store.load(key).await), ErrorKind::Corrupt, "{more} bytes too long");
    }
    std::fs::write(place.path(key), &whole).unwrap();
    assert_eq!(place.store.load(key).await.unwrap(), Some(record));
}

#[tokio::test]
async fn damage_at_any_byte_is_corrupt() {
    let place = Place::new().await;
    let key = place.create(&live(Some("ann"), 50)).await;
    damage_everywhere(&place, key).await;
}

#[tokio::test]
async fn damage_at_any_byte_is_corrupt_after_a_touch() {
    let place = Place::new().await;
    let record = live(None, 20);
    let key = place.create(&record).await;
    let later = in_an_hour().saturating_add(std::time::Duration::from_secs(60));
    assert_eq!(place.store.touch(key, record.revision, later).await.unwrap(), Touched::Stored);
    damage_everywhere(&place, key).await;
}

#[tokio::test]
async fn the_file_of_one_session_in_the_place_of_another_is_corrupt() {
    let place = Place::new().await;
    let [one, other] = [place.create(&live(None, 9)).await, place.create(&live(None, 9)).await];
    std::fs::copy(place.path(one), place.path(other)).unwrap();
    assert_eq!(kind(place.store.load(other).await), ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_damaged_session_keeps_no_other_from_being_listed_swept_or_revoked() {
    let place = Place::new().await;
    let owner: Owner = "ann".parse().unwrap();
    let healthy = place.create(&live(Some("ann"), 10)).await;
    let damaged = place.create(&live(Some("ann"), 10)).await;
    let over = place.create(&expired(None, 10)).await;
    let damaged_and_over = place.create(&expired(None, 10)).await;
    for key in [damaged, damaged_and_over] {
        std::fs::write(place.path(key), b"scratched").unwrap();
    }
    assert_eq!(place.listed(None).await, [healthy]);
    assert_eq!(place.listed(Some(&owner)).await, [healthy]);
    assert_eq!(place.store.delete_expired(10).await.unwrap(), 1);
    assert!(!place.path(over).exists());
    assert_eq!(place.store.delete_owned(&owner, None).await.unwrap(), 1);
    assert_eq!(place.store.load(healthy).await.unwrap(), None);
    assert!(place.path(damaged).exists(), "nobody asked to remove it");
}

#[tokio::test]
async fn the_bytes_of_a_damaged_session_are_kept_when_it_is_deleted_or_falls_due() {
    let place = Place::new().await;
    let deleted = place.create(&live(None, 10)).await;
    let due = place.create(&expired(None, 10)).await;
    for key in [deleted, due] {
        std::fs::write(place.path(key), format!("scratched {key}")).unwrap();
    }
    assert!(!place.store.delete(deleted).await.unwrap());
    assert_eq!(place.store.delete_expired(10).await.unwrap(), 0);
    for key in [deleted, due] {
        assert_eq!(place.store.load(key).await.unwrap(), None);
    }
    let aside = files(&place.directory.join("damaged"));
    let mut kept: Vec<_> = aside.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    kept.sort_unstable();
    let mut expected = [deleted, due].map(|key| format!("scratched {key}"));
    expected.sort_unstable();
    assert_eq!(kept, expected);
}
