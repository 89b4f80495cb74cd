//! What lies in the cookie of a client-side session, and how it is protected.
//!
//! ```text
//! cookie  = base64url( 1 tag[32] body )             signed:  HMAC-SHA256 over bound and body
//!         | base64url( 2 nonce[24] sealed body )    sealed:  XChaCha20-Poly1305, bound as associated data
//! bound   = length of the cookie's name (4 bytes, little endian), the name, 1 or 2
//! body    = id[32] expires_at[8] created_at[8] length of owner[1] owner payload
//! ```
//!
//! Times are milliseconds, little endian. The owner's length is 0 when there is none.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use session_core::{Error, ErrorKind, Owner, Result, SessionId, Timestamp};

use super::keys::KeyRing;
use crate::cookie::MAX_COOKIE;

const SIGNED: u8 = 1;
const SEALED: u8 = 2;
/// A key and a secret.
const ID: usize = 32;

/// How the content is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protection {
    /// Readable, and unchangeable.
    Signed,
    /// Unreadable, too.
    Sealed,
}

/// A session as it lies in a cookie.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Envelope {
    pub(super) id: SessionId,
    pub(super) expires_at: Timestamp,
    pub(super) created_at: Timestamp,
    pub(super) owner: Option<Owner>,
    pub(super) payload: Vec<u8>,
}

impl Envelope {
    pub(super) fn write(&self, keys: &KeyRing, protection: Protection, name: &str) -> Result<String> {
        let body = self.body()?;
        let (tag, protected) = match protection {
            Protection::Signed => (SIGNED, keys.sign(&bound(name, SIGNED), &body)?),
            Protection::Sealed => (SEALED, keys.seal(&bound(name, SEALED), &body)?),
        };
        Ok(URL_SAFE_NO_PAD.encode([&[tag], &protected[..]].concat()))
    }

    /// `None` for whatever this server did not write. Only the present protection is read, so that a key which
    /// served signed cookies cannot be used to pass off a readable session as a sealed one.
    pub(super) fn read(text: &str, keys: &KeyRing, protection: Protection, name: &str) -> Option<Self> {
        if text.len() > MAX_COOKIE {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let body = match (bytes.split_first()?, protection) {
            ((&SIGNED, signed), Protection::Signed) => keys.verify(&bound(name, SIGNED), signed)?,
            ((&SEALED, sealed), Protection::Sealed) => keys.open(&bound(name, SEALED), sealed)?,
            _ => return None,
        };
        Self::from_body(&body)
    }

    fn body(&self) -> Result<Vec<u8>> {
        let owner = self.owner.as_ref().map_or("", Owner::as_str);
        let length = u8::try_from(owner.len())
            .map_err(|_| Error::new(ErrorKind::InvalidInput, "an owner has at most 255 bytes"))?;
        let mut body = Vec::with_capacity(ID + 17 + owner.len() + self.payload.len());
        let id = self.id.expose();
        let (key, secret) = id.split_at(id.len() / 2);
        for part in [key, secret] {
            URL_SAFE_NO_PAD
                .decode_vec(part, &mut body)
                .map_err(|_| Error::new(ErrorKind::Other, "the session's id has no bytes"))?;
        }
        body.extend_from_slice(&self.expires_at.as_millis().to_le_bytes());
        body.extend_from_slice(&self.created_at.as_millis().to_le_bytes());
        body.push(length);
        body.extend_from_slice(owner.as_bytes());
        body.extend_from_slice(&self.payload);
        Ok(body)
    }

    fn from_body(body: &[u8]) -> Option<Self> {
        let (id, body) = body.split_first_chunk::<ID>()?;
        let (expires_at, body) = body.split_first_chunk()?;
        let (created_at, body) = body.split_first_chunk()?;
        let (&length, body) = body.split_first()?;
        let (owner, payload) = body.split_at_checked(usize::from(length))?;
        let owner = match std::str::from_utf8(owner).ok()? {
            "" => None,
            text => Some(Owner::new(text).ok()?),
        };
        Some(Self {
            id: [&id[..ID / 2], &id[ID / 2..]]
                .map(|part| URL_SAFE_NO_PAD.encode(part))
                .concat()
                .parse()
                .ok()?,
            expires_at: Timestamp::from_millis(i64::from_le_bytes(*expires_at)),
            created_at: Timestamp::from_millis(i64::from_le_bytes(*created_at)),
            owner,
            payload: payload.to_vec(),
        })
    }
}

/// What the protection covers beside the body: a value moved to a cookie of another name is worthless there.
fn bound(name: &str, tag: u8) -> Vec<u8> {
    let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
    [&length.to_le_bytes(), name.as_bytes(), &[tag]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys() -> KeyRing {
        KeyRing::new("a secret of more than thirty-two bytes, for tests").unwrap()
    }

    fn envelope() -> Envelope {
        Envelope {
            id: "AAECAwQFRgeICQoLDA0ODwAAECAwQFBgcICQoLDA0ODw".parse().unwrap(),
            expires_at: Timestamp::from_millis(784_111_777_123),
            created_at: Timestamp::from_millis(784_111_000_000),
            owner: Some("ada".parse().unwrap()),
            payload: b"payload".to_vec(),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let other = Envelope { owner: None, payload: Vec::new(), ..envelope() };
        for envelope in [envelope(), other] {
            for protection in [Protection::Signed, Protection::Sealed] {
                let text = envelope.write(&keys(), protection, "session").unwrap();
                assert_eq!(Envelope::read(&text, &keys(), protection, "session"), Some(envelope.clone()));
            }
        }
    }

    /// Made by Python's hmac and hashlib from the layout above.
    #[test]
    fn the_layout_is_the_one_that_is_documented() {
        let text = envelope().write(&keys(), Protection::Signed, "session").unwrap();
        assert_eq!(text, GOLDEN);
    }

    const GOLDEN: &str = "Aa2wjQ5-Cg5elgVtXOoIzQOEaRvaEpI2I8gYQYD9OgVwAAECAwQFRgeICQoLDA0ODwABAgMEBQYHCAkKCwwNDg9jNbSQtgAAAMBZqJC2AAAAA2FkYXBheWxvYWQ";

    #[test]
    fn a_cookie_of_another_name_protection_or_key_is_not_read() {
        for (written, read) in
            [(Protection::Signed, Protection::Sealed), (Protection::Sealed, Protection::Signed)]
        {
            let text = envelope().write(&keys(), written, "session").unwrap();
            assert!(Envelope::read(&text, &keys(), written, "session").is_some());
            for other in ["sessioM", "sessio", ""] {
                assert_eq!(Envelope::read(&text, &keys(), written, other), None, "the name is not covered");
            }
            assert_eq!(Envelope::read(&text, &keys(), read, "session"), None);
            let other = KeyRing::new("another secret of more than thirty-two bytes").unwrap();
            assert_eq!(Envelope::read(&text, &other, written, "session"), None);
            assert_eq!(Envelope::read(&text, &KeyRing::default(), written, "session"), None);
        }
    }

    #[test]
    fn every_one_character_change_and_every_prefix_is_refused() {
        for protection in [Protection::Signed, Protection::Sealed] {
            let text = envelope().write(&keys(), protection, "session").unwrap();
            for at in 0..text.len() {
                let mut changed = text.clone().into_bytes();
                changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
                let changed = String::from_utf8(changed).unwrap();
                assert_eq!(Envelope::read(&changed, &keys(), protection, "session"), None, "{at}");
                assert_eq!(Envelope::read(&text[..at], &keys(), protection, "session"), None, "{at}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_and_no_body_makes_it_panic(text in "[A-Za-z0-9_-]{0,200}", body in prop::collection::vec(any::<u8>(), 0..100)) {
            for protection in [Protection::Signed, Protection::Sealed] {
                prop_assert_eq!(Envelope::read(&text, &keys(), protection, "session"), None);
            }
            if let Some(read) = Envelope::from_body(&body) {
                prop_assert_eq!(read.body().unwrap(), body);
            }
        }
    }
}
