//! Sealed sessions: keys that rotate, sessions that cannot be moved, bare payloads that are refused.
#![cfg(feature = "seal")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;

use common::{key, one};
use session_core::{Codec, Codecs, ErrorKind, SealKeys, SessionId, Value};

fn sealing(keys: SealKeys) -> Codecs {
    Codecs::new(Codec::sealed(Codec::bincode(), keys))
}

fn keys(first: u8) -> SealKeys {
    SealKeys::new([first; 32])
}

fn seal(codecs: &Codecs) -> Arc<[u8]> {
    codecs.encode_entries(key(), &one(Value::Text("hunter2".into()))).unwrap()
}

fn kind(codecs: &Codecs, payload: &[u8]) -> Result<(), ErrorKind> {
    codecs.decode_entries(key(), payload).map(drop).map_err(|error| error.kind())
}

#[test]
fn what_is_sealed_shows_nothing_of_what_it_holds() {
    let payload = seal(&sealing(keys(1)));
    assert!(!payload.windows(7).any(|window| window == b"hunter2"));
    let bare = Codecs::default().encode_entries(key(), &one(Value::Text("hunter2".into()))).unwrap();
    assert_eq!(payload.len(), bare.len() + 45);
}

#[test]
fn a_fleet_changes_its_key_without_losing_a_session() {
    let (old, first, then, last) = (
        sealing(keys(1)),
        sealing(keys(1).with_older([2; 32])),
        sealing(keys(2).with_older([1; 32])),
        sealing(keys(2)),
    );
    let sealed_with_old = [seal(&old), seal(&first)];
    let sealed_with_new = [seal(&then), seal(&last)];
    for payload in &sealed_with_old {
        assert_eq!([&old, &first, &then].map(|codecs| kind(codecs, payload)), [Ok(()); 3]);
        assert_eq!(kind(&last, payload), Err(ErrorKind::Codec), "a key that is missing is no damage");
    }
    for payload in &sealed_with_new {
        assert_eq!([&first, &then, &last].map(|codecs| kind(codecs, payload)), [Ok(()); 3]);
        assert_eq!(kind(&old, payload), Err(ErrorKind::Codec));
    }
}

#[test]
fn a_sealed_payload_opens_under_its_own_session_only() {
    let codecs = sealing(keys(1));
    let payload = seal(&codecs);
    let other = SessionId::generate().unwrap().key();
    assert_eq!(codecs.decode_entries(other, &payload).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_bare_payload_is_refused_unless_a_reader_for_it_was_added() {
    let bare = seal(&Codecs::default());
    assert_eq!(kind(&sealing(keys(1)), &bare), Err(ErrorKind::Codec));
    assert_eq!(kind(&sealing(keys(1)).also_reads(Codec::bincode()), &bare), Ok(()));
    let sealed = seal(&sealing(keys(1)));
    assert_eq!(kind(&Codecs::default(), &sealed), Err(ErrorKind::Codec));
    let moving_in = Codecs::default().also_reads(Codec::sealed(Codec::bincode(), keys(1)));
    assert_eq!(kind(&moving_in, &sealed), Ok(()));
}

#[cfg(feature = "json")]
#[test]
fn a_seal_around_another_codec_needs_a_reader_for_both() {
    let json = Codecs::new(Codec::sealed(Codec::json(), keys(1)));
    let payload = seal(&json);
    assert_eq!(kind(&json, &payload), Ok(()));
    assert_eq!(kind(&sealing(keys(1)), &payload), Err(ErrorKind::Codec));
    assert_eq!(kind(&sealing(keys(1)).also_reads(Codec::json()), &payload), Err(ErrorKind::Codec));
    assert_eq!(kind(&sealing(keys(1)).also_reads(Codec::sealed(Codec::json(), keys(1))), &payload), Ok(()));
}

#[test]
fn a_seal_inside_a_seal_opens() {
    let twice = Codecs::new(Codec::sealed(Codec::sealed(Codec::bincode(), keys(1)), keys(2)));
    assert_eq!(kind(&twice, &seal(&twice)), Ok(()));
}
