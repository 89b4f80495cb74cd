//! The secret that a client holds, and the key that a store sees.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;
use zeroize::Zeroize as _;

use crate::random;
use crate::{Error, ErrorKind, Result};

const BYTES: usize = 16;
const TEXT_LEN: usize = 22;

/// The secret in the cookie: 128 bits from the operating system's CSPRNG (OWASP, ASVS 7.2.3).
///
/// Whoever knows it is logged in, so `Debug` and `Display` do not show it: ask for it with
/// [`expose`](Self::expose), where the cookie is written and nowhere else. Stores, logs, errors and spans get the
/// [`SessionKey`]. The bytes are wiped on drop and compared in constant time.
///
/// ```
/// use session_core::SessionId;
///
/// let id = SessionId::generate()?;
/// assert_eq!(format!("{id:?} {id}"), "SessionId(..) [session id]");
/// let cookie_value = id.expose();
/// assert_eq!(cookie_value.parse::<SessionId>()?, id);
/// # Ok::<(), session_core::Error>(())
/// ```
#[derive(Clone)]
pub struct SessionId(Uuid);

impl SessionId {
    /// How many characters the text of an id has.
    pub const TEXT_LEN: usize = TEXT_LEN;

    /// A new id from the operating system.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the operating system gives no random bytes.
    pub fn generate() -> Result<Self> {
        random::bytes::<BYTES>().map(|bytes| Self(Uuid::from_bytes(bytes)))
    }

    /// The secret as 22 characters of unpadded base64url: the value of the cookie.
    #[must_use]
    pub fn expose(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.as_bytes())
    }

    /// The key under which a store keeps this session.
    #[must_use]
    pub fn key(&self) -> SessionKey {
        SessionKey::of(self)
    }
}

/// Accepts exactly one text per id: 22 characters of base64url whose unused last bits are zero.
impl FromStr for SessionId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut bytes = [0_u8; BYTES];
        let read =
            if text.len() == TEXT_LEN { URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok() } else { None };
        let id = Self(Uuid::from_bytes(bytes));
        bytes.zeroize();
        match read {
            Some(BYTES) => Ok(id),
            _ => Err(Error::new(
                ErrorKind::InvalidInput,
                "not a session id: expected 22 characters of unpadded base64url",
            )),
        }
    }
}

impl PartialEq for SessionId {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for SessionId {}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(..)")
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[session id]")
    }
}

impl Drop for SessionId {
    fn drop(&mut self) {
        self.0 = Uuid::nil();
        // Keeps the compiler from dropping the line above as a write that nobody reads.
        std::hint::black_box(&self.0);
    }
}

/// What a store sees of a session: a UUIDv8 (RFC 9562) made of the SHA-256 of its [`SessionId`].
///
/// It is safe to log and to show ("revoke device 0193.."): nobody can get from it to the id. Its bits are as good
/// as random, so a store may use them as a hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey(Uuid);

impl SessionKey {
    fn of(id: &SessionId) -> Self {
        let digest = Sha256::digest(id.0.as_bytes());
        let mut bytes = [0_u8; BYTES];
        bytes.copy_from_slice(&digest[..BYTES]);
        bytes[6] = (bytes[6] & 0x0f) | 0x80;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(Uuid::from_bytes(bytes))
    }

    /// The key as a UUID: 16 bytes for a store that has a column type for it.
    #[must_use]
    pub const fn as_uuid(&self) -> &Uuid {
        &self.0
    }

    /// The key as 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

/// For stores, which read keys back from rows, file names and indexes.
///
/// # Errors
/// [`ErrorKind::Corrupt`] when the UUID is not a UUIDv8 of the RFC's variant: no store was given such a key.
impl TryFrom<Uuid> for SessionKey {
    type Error = Error;

    fn try_from(uuid: Uuid) -> Result<Self> {
        if uuid.get_version_num() == 8 && uuid.get_variant() == uuid::Variant::RFC4122 {
            Ok(Self(uuid))
        } else {
            Err(Error::new(ErrorKind::Corrupt, "not a session key: expected a version 8 uuid"))
        }
    }
}

/// Accepts the one text that `Display` writes: 36 lower-case characters with hyphens.
impl FromStr for SessionKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let malformed = || {
            Error::new(ErrorKind::InvalidInput, "not a session key: expected a lower-case, hyphenated uuid")
        };
        let key = Uuid::try_parse(text).map_err(|_| malformed())?.try_into().map_err(|_| malformed())?;
        let mut buffer = Uuid::encode_buffer();
        let Self(uuid) = key;
        if uuid.hyphenated().encode_lower(&mut buffer) == text { Ok(key) } else { Err(malformed()) }
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionKey({})", self.0)
    }
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(bytes: [u8; 16]) -> SessionId {
        SessionId(Uuid::from_bytes(bytes))
    }

    #[test]
    fn text_and_key_of_a_known_id() {
        let id = id([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        assert_eq!(id.expose(), "AAECAwQFBgcICQoLDA0ODw");
        // The first 16 bytes of sha256sum over those bytes, with version and variant set.
        assert_eq!(id.key().to_string(), "be45cb26-05bf-86be-bde6-84841a28f0fd");
    }

    #[test]
    fn only_the_canonical_text_is_accepted() {
        let good = "AAECAwQFBgcICQoLDA0ODw";
        assert!(good.parse::<SessionId>().is_ok());
        let bad = [
            "",
            "AAECAwQFBgcICQoLDA0ODx", // unused bits set: a second text for the same bytes
            "AAECAwQFBgcICQoLDA0ODw==", // padded
            "AAECAwQFBgcICQoLDA0OD",  // short
            "AAECAwQFBgcICQoLDA0ODwA", // long
            " AECAwQFBgcICQoLDA0ODw",
            "AAECAwQFBgcICQoLDA0OD\n",
            "+AECAwQFBgcICQoLDA0ODw", // the other alphabet
            "/AECAwQFBgcICQoLDA0ODw",
            "\u{e9}AECAwQFBgcICQoLDA0Ow",
            "00010203-0405-0607-0809-0a0b0c0d0e0f",
        ];
        for text in bad {
            let error = text.parse::<SessionId>().expect_err(text);
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text:?}");
            assert!(text.len() < 5 || !error.to_string().contains(text), "the text is in the error");
        }
    }

    #[test]
    fn every_one_character_change_is_another_id_or_refused() {
        let good = "AAECAwQFBgcICQoLDA0ODw";
        let original: SessionId = good.parse().unwrap();
        for at in 0..good.len() {
            for other in 0..=127_u8 {
                let mut changed = good.as_bytes().to_vec();
                changed[at] = other;
                let changed = String::from_utf8(changed).unwrap();
                if changed == good {
                    continue;
                }
                if let Ok(id) = changed.parse::<SessionId>() {
                    assert_ne!(id, original, "{changed:?}");
                    assert_eq!(id.expose(), changed);
                }
            }
        }
    }

    #[test]
    fn a_hundred_thousand_ids_have_128_even_bits_and_no_repeat() {
        const IDS: u32 = 100_000;
        let mut ones = [0_u32; 128];
        let mut seen = std::collections::HashSet::new();
        for _ in 0..IDS {
            let id = SessionId::generate().unwrap();
            let bits = id.0.as_u128();
            assert!(seen.insert(bits), "an id was issued twice");
            for (at, count) in ones.iter_mut().enumerate() {
                *count += u32::try_from(bits >> at & 1).unwrap();
            }
        }
        // Half of them, give or take 7 standard deviations (158 each): a fixed bit, such as a version
        // number, is 50,000 away; chance fails this once in about 10^9 runs.
        for (at, count) in ones.iter().enumerate() {
            assert!(count.abs_diff(IDS / 2) < 7 * 158, "bit {at} is set in {count} of {IDS} ids");
        }
    }

    #[test]
    fn a_key_is_parsed_back_from_its_one_text() {
        let key = SessionId::generate().unwrap().key();
        assert_eq!(key.to_string().parse::<SessionKey>().unwrap(), key);
        assert_eq!(SessionKey::try_from(*key.as_uuid()).unwrap(), key);
        let upper = key.to_string().to_uppercase();
        let simple = key.as_uuid().simple().to_string();
        for text in [upper.as_str(), &simple, "", "00000000-0000-4000-8000-000000000000"] {
            assert_eq!(text.parse::<SessionKey>().unwrap_err().kind(), ErrorKind::InvalidInput, "{text}");
        }
    }

    #[test]
    fn neither_form_of_printing_shows_the_id() {
        let id = SessionId::generate().unwrap();
        let shown = format!("{id:?} {id} {id:#?} {:?} {}", id.key(), id.key());
        assert!(!shown.contains(&id.expose()));
        assert!(!shown.contains(&id.0.to_string()) && !shown.contains(&id.0.simple().to_string()));
    }
}
