//! What a client holds: the key of a session, and the secret that opens it.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;
use zeroize::Zeroize as _;

use crate::random;
use crate::{Error, ErrorKind, Result, Timestamp};

const BYTES: usize = 16;
/// 16 bytes as unpadded base64url.
const PART: usize = 22;

/// The value of the cookie: a [`SessionKey`], which names the session for its whole life and is no secret, and 128 bits
/// from the operating system's CSPRNG, which open it and change at sign-in and whenever privileges do (OWASP, ASVS
/// 7.2.3, 7.2.4).
///
/// Whoever knows an id is signed in, so `Debug` and `Display` do not show it: ask for it with
/// [`expose`](Self::expose), where the cookie is written and nowhere else. Stores, logs, errors and spans get the
/// key. The secret is wiped on drop and compared in constant time.
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
#[derive(Clone, PartialEq, Eq)]
pub struct SessionId {
    key: SessionKey,
    secret: Secret,
}

impl SessionId {
    /// How many characters the text of an id has.
    pub const TEXT_LEN: usize = 2 * PART;

    /// A new key and a new secret, both from the operating system.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the operating system gives no random bytes.
    pub fn generate() -> Result<Self> {
        Ok(Self { key: SessionKey::generate()?, secret: Secret::generate()? })
    }

    /// The value of the cookie: 44 characters of unpadded base64url, 22 for the key and 22 for the secret.
    #[must_use]
    pub fn expose(&self) -> String {
        let mut text = String::with_capacity(Self::TEXT_LEN);
        URL_SAFE_NO_PAD.encode_string(self.key.as_bytes(), &mut text);
        URL_SAFE_NO_PAD.encode_string(self.secret.0, &mut text);
        text
    }

    /// The key under which a store keeps this session.
    #[must_use]
    pub fn key(&self) -> SessionKey {
        self.key
    }

    pub(crate) fn new(key: SessionKey, secret: Secret) -> Self {
        Self { key, secret }
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }
}

/// Accepts exactly one text per id: 44 characters of base64url whose unused bits are zero, the first half of which is a
/// session key.
impl FromStr for SessionId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let malformed = || {
            Error::new(
                ErrorKind::InvalidInput,
                "not a session id: expected 44 characters of unpadded base64url",
            )
        };
        if text.len() != Self::TEXT_LEN {
            return Err(malformed());
        }
        let (key, secret) = text.as_bytes().split_at(PART);
        let key = decode(key).and_then(|bytes| SessionKey::try_from(Uuid::from_bytes(bytes)).ok());
        match (key, decode(secret)) {
            (Some(key), Some(secret)) => Ok(Self { key, secret: Secret(secret) }),
            _ => Err(malformed()),
        }
    }
}

fn decode(text: &[u8]) -> Option<[u8; BYTES]> {
    let mut bytes = [0_u8; BYTES];
    let read = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes);
    (read == Ok(BYTES)).then_some(bytes)
}

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

/// The part of an id that opens a session: 128 random bits, wiped on drop.
#[derive(Clone)]
pub(crate) struct Secret([u8; BYTES]);

impl Secret {
    pub(crate) fn generate() -> Result<Self> {
        random::bytes().map(Self)
    }

    /// What a store may know of it: to find a secret for it takes 2^128 attempts.
    pub(crate) fn verifier(&self) -> Verifier {
        Verifier(Sha256::digest(self.0).into())
    }

    /// The secret that follows this one at a renewal (`[I3]`): the same for everybody who holds this one and `nonce`, and
    /// for nobody else.
    pub(crate) fn successor(&self, nonce: &Nonce) -> Self {
        let mut digest: [u8; 32] = Sha256::new()
            .chain_update(b"session-core renewal\0")
            .chain_update(nonce)
            .chain_update(self.0)
            .finalize()
            .into();
        let mut secret = [0; BYTES];
        secret.copy_from_slice(&digest[..BYTES]);
        digest.zeroize();
        Self(secret)
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Random bytes that make the successor of a secret another one at each renewal.
pub(crate) type Nonce = [u8; BYTES];

/// SHA-256 of a secret: what a record holds in its place, so that who reads the storage cannot sign in. Compared in
/// constant time.
#[derive(Clone, Copy)]
pub(crate) struct Verifier([u8; Self::LEN]);

impl Verifier {
    pub(crate) const LEN: usize = 32;

    pub(crate) const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl PartialEq for Verifier {
    fn eq(&self, other: &Self) -> bool {
        // Each request comes here: by words, which takes an eighth of the time.
        let words = |it: &Self| {
            let (words, _) = it.0.as_chunks::<8>();
            [0, 1, 2, 3].map(|at| u64::from_ne_bytes(words[at]))
        };
        words(self).ct_eq(&words(other)).into()
    }
}

impl Eq for Verifier {}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(..)")
    }
}

/// What a store sees of a session: a UUID that names it for its whole life.
///
/// It is no secret: safe to log and to show ("revoke device 0193..") and to link to, since only the secret of a
/// [`SessionId`] opens a session. The last seven bytes are random in every key, so a store may use them as a hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey(Uuid);

impl SessionKey {
    /// A new key: a UUIDv7 (RFC 9562), which begins with the time of this process and has 74 random bits. Keys that were
    /// made one after the other lie together in a database's index, which makes creating and sweeping sessions cheaper.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the operating system gives no random bytes.
    pub fn generate() -> Result<Self> {
        let millis = u64::try_from(Timestamp::now().as_millis()).unwrap_or(0);
        random::bytes()
            .map(|bytes| Self(uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid()))
    }

    /// The key of a session whose id is another system's, in one part: a UUIDv8 made of the SHA-256 of that id, so that
    /// who reads the storage cannot get back to it.
    #[must_use]
    pub fn hashed(id: &[u8]) -> Self {
        let digest = Sha256::digest(id);
        let mut bytes = [0_u8; BYTES];
        bytes.copy_from_slice(&digest[..BYTES]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
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
/// [`ErrorKind::Corrupt`] when the UUID is none of the RFC's variant and of version 4, 7 or 8: no store was given such a
/// key.
impl TryFrom<Uuid> for SessionKey {
    type Error = Error;

    fn try_from(uuid: Uuid) -> Result<Self> {
        if matches!(uuid.get_version_num(), 4 | 7 | 8) && uuid.get_variant() == uuid::Variant::RFC4122 {
            Ok(Self(uuid))
        } else {
            Err(Error::new(ErrorKind::Corrupt, "not a session key: expected a uuid of version 4, 7 or 8"))
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

    const GOOD: &str = "AAECAwQFRgeICQoLDA0ODwABAgMEBQYHCAkKCwwNDg8";

    fn good() -> String {
        // The second half is encoded on its own, so the texts of two ids differ where the ids do.
        format!("{}{}", "AAECAwQFRgeICQoLDA0ODw", "AAECAwQFBgcICQoLDA0ODw")
    }

    #[test]
    fn text_key_and_verifier_of_a_known_id() {
        let id: SessionId = good().parse().unwrap();
        assert_eq!(id.expose(), good());
        assert_eq!(id.key().to_string(), "00010203-0405-4607-8809-0a0b0c0d0e0f");
        // sha256sum over the bytes 0 to 15.
        let digest = "be45cb2605bf36bebde684841a28f0fd43c69850a3dce5fedba69928ee3a8991";
        let shown: String =
            id.secret().verifier().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(shown, digest);
    }

    #[test]
    fn only_the_canonical_text_is_accepted() {
        assert!(good().parse::<SessionId>().is_ok());
        let (key, secret) = ("AAECAwQFRgeICQoLDA0ODw", "AAECAwQFBgcICQoLDA0ODw");
        let bad = [
            String::new(),
            GOOD.to_owned(),                           // 32 bytes encoded as one
            key.to_owned(),                            // a key alone
            format!("{key}AAECAwQFBgcICQoLDA0ODx"),    // unused bits set: a second text for the same bytes
            format!("AAECAwQFRgeICQoLDA0ODx{secret}"), // the same in the key
            format!("{secret}{key}"),                  // the first half is no uuid of ours
            format!("{key}.{secret}"),
            format!("{key}{secret}=="),            // padded
            format!("{key}AAECAwQFBgcICQoLDA0OD"), // short
            format!("{key}{secret}A"),             // long
            format!("{key} AECAwQFBgcICQoLDA0ODw"),
            format!("{key}AAECAwQFBgcICQoLDA0OD\n"),
            format!("{key}+AECAwQFBgcICQoLDA0ODw"), // the other alphabet
            format!("{key}/AECAwQFBgcICQoLDA0ODw"),
            format!("{key}\u{e9}AECAwQFBgcICQoLDA0Ow"),
            "00010203-0405-4607-8809-0a0b0c0d0e0f".to_owned(),
        ];
        for text in bad {
            let error = text.parse::<SessionId>().expect_err(&text);
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text:?}");
            assert!(text.len() < 5 || !error.to_string().contains(&text), "the text is in the error");
        }
    }

    #[test]
    fn every_one_character_change_is_another_id_or_refused() {
        let good = good();
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

    /// Half of them are set, give or take 7 standard deviations (158 each): a fixed bit, such as a version number, is
    /// 50,000 away; chance fails this once in about 10^9 runs.
    fn assert_even(values: impl Iterator<Item = u128>, fixed: &[usize]) {
        const VALUES: u32 = 100_000;
        let mut ones = [0_u32; 128];
        let mut seen = std::collections::HashSet::new();
        for bits in values.take(VALUES as usize) {
            assert!(seen.insert(bits), "one was issued twice");
            for (at, count) in ones.iter_mut().enumerate() {
                *count += u32::try_from(bits >> at & 1).unwrap();
            }
        }
        for (at, count) in ones.iter().enumerate().filter(|(at, _)| !fixed.contains(at)) {
            assert!(count.abs_diff(VALUES / 2) < 7 * 158, "bit {at} is set in {count} of {VALUES}");
        }
    }

    #[test]
    fn a_hundred_thousand_secrets_have_128_even_bits_and_no_repeat() {
        assert_even(std::iter::repeat_with(|| u128::from_be_bytes(Secret::generate().unwrap().0)), &[]);
    }

    #[test]
    fn a_hundred_thousand_keys_have_74_even_bits_and_no_repeat() {
        let keys = std::iter::repeat_with(|| SessionKey::generate().unwrap().as_uuid().as_u128());
        let fixed: Vec<usize> = (62..64).chain(76..128).collect(); // the variant, the version, the time
        assert_even(keys, &fixed);
    }

    #[test]
    fn a_successor_follows_from_the_secret_and_the_nonce_and_from_nothing_else() {
        let (one, other) = (Secret::generate().unwrap(), Secret::generate().unwrap());
        assert_eq!(one.successor(&[1; 16]), one.successor(&[1; 16]));
        assert_ne!(one.successor(&[1; 16]), one.successor(&[2; 16]));
        assert_ne!(one.successor(&[1; 16]), other.successor(&[1; 16]));
        assert_ne!(one.successor(&[1; 16]), one);
    }

    #[test]
    fn a_key_of_a_foreign_id_is_made_of_its_hash() {
        // The first 16 bytes of sha256sum over the bytes 0 to 15, with version and variant set.
        let id: [u8; 16] = std::array::from_fn(|at| u8::try_from(at).unwrap());
        assert_eq!(SessionKey::hashed(&id).to_string(), "be45cb26-05bf-86be-bde6-84841a28f0fd");
    }

    #[test]
    fn a_key_is_parsed_back_from_its_one_text() {
        let key = SessionKey::generate().unwrap();
        assert_eq!(key.to_string().parse::<SessionKey>().unwrap(), key);
        assert_eq!(SessionKey::try_from(*key.as_uuid()).unwrap(), key);
        let upper = key.to_string().to_uppercase();
        let simple = key.as_uuid().simple().to_string();
        for text in [upper.as_str(), &simple, "", "00000000-0000-1000-8000-000000000000"] {
            assert_eq!(text.parse::<SessionKey>().unwrap_err().kind(), ErrorKind::InvalidInput, "{text}");
        }
    }

    #[test]
    fn no_form_of_printing_shows_the_secret() {
        let id = SessionId::generate().unwrap();
        let shown = format!("{id:?} {id} {id:#?} {:?} {} {:?}", id.key(), id.key(), id.secret());
        assert!(!shown.contains(&id.expose()) && !shown.contains(&id.expose()[PART..]));
        let hex: String = id.secret.0.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(!shown.contains(&hex));
    }
}
