//! The keys of client-side sessions.

use std::fmt;
use std::sync::Arc;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac as _};
use session_core::{Error, ErrorKind, Result};
use sha2::Sha256;
use zeroize::Zeroizing;

const LEAST: usize = 32;
const TAG: usize = 32;
const NONCE: usize = 24;

/// The secret keys of client-side sessions: the first one signs, all of them verify.
///
/// To change the key, put the new one first and keep the old as a fallback until the longest session signed with it is
/// over. What a fallback signed is signed anew when its cookie is next set. `Debug` shows no key, and keys are wiped
/// when the last copy is dropped.
///
/// ```
/// use session_http::KeyRing;
///
/// // From a secret store: `openssl rand -base64 48` makes a good one.
/// let keys = KeyRing::new("k2Jx0Yd5m8c1W7Qp4Rt9Zs6Nf3Lb0Vh2Gu5Ke8Ai1Oq4")?
///     .with_fallback("the key of last year, just as long and random")?;
/// # Ok::<(), session_core::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct KeyRing(Arc<Vec<Keys>>);

/// What is made of one secret: no key serves two purposes.
#[derive(Clone)]
struct Keys {
    sign: Zeroizing<[u8; 32]>,
    seal: Zeroizing<[u8; 32]>,
}

impl KeyRing {
    /// Signs and verifies with `secret`: at least 32 bytes, random, never a password. An empty secret is no key: sessions
    /// can then be read, and are empty, and every write is an error that says so.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] when the secret is too short.
    pub fn new(secret: impl AsRef<[u8]>) -> Result<Self> {
        if secret.as_ref().is_empty() { Ok(Self::default()) } else { Self::default().with_fallback(secret) }
    }

    /// Also verifies what `secret` signed. Give the newest fallback first.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] when the secret is too short.
    pub fn with_fallback(mut self, secret: impl AsRef<[u8]>) -> Result<Self> {
        let keys = Keys::new(secret.as_ref())?;
        Arc::make_mut(&mut self.0).push(keys);
        Ok(self)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `tag ‖ body`, where the tag covers `bound` and the body.
    pub(super) fn sign(&self, bound: &[u8], body: &[u8]) -> Result<Vec<u8>> {
        let tag = self.first()?.mac(bound, body)?.finalize().into_bytes();
        Ok([&tag[..], body].concat())
    }

    pub(super) fn verify(&self, bound: &[u8], signed: &[u8]) -> Option<Vec<u8>> {
        let (tag, body) = signed.split_at_checked(TAG)?;
        // `verify_slice` compares in constant time.
        let fits = |keys: &Keys| keys.mac(bound, body).is_ok_and(|mac| mac.verify_slice(tag).is_ok());
        self.0.iter().any(fits).then(|| body.to_vec())
    }

    /// `nonce ‖ sealed body`, which opens only with the same `bound`.
    pub(super) fn seal(&self, bound: &[u8], body: &[u8]) -> Result<Vec<u8>> {
        let mut nonce = [0_u8; NONCE];
        getrandom::fill(&mut nonce).map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the operating system gave no random bytes").with_source(error)
        })?;
        let payload = Payload { msg: body, aad: bound };
        let sealed = self.first()?.cipher().encrypt(&XNonce::from(nonce), payload).map_err(|_| unusable())?;
        Ok([&nonce[..], &sealed].concat())
    }

    pub(super) fn open(&self, bound: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, body) = sealed.split_first_chunk::<NONCE>()?;
        let nonce = XNonce::from(*nonce);
        self.0.iter().find_map(|keys| keys.cipher().decrypt(&nonce, Payload { msg: body, aad: bound }).ok())
    }

    fn first(&self) -> Result<&Keys> {
        self.0.first().ok_or_else(|| Error::new(ErrorKind::InvalidConfig, super::NO_KEY))
    }
}

impl Keys {
    fn new(secret: &[u8]) -> Result<Self> {
        if secret.len() < LEAST {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                format!(
                    "the secret key has {} bytes: use at least {LEAST} random ones, such as `openssl rand -base64 48` gives",
                    secret.len()
                ),
            ));
        }
        let root = Hkdf::<Sha256>::new(Some(b"session-http client-side 1"), secret);
        let derive = |purpose: &[u8]| {
            let mut key = Zeroizing::new([0_u8; 32]);
            root.expand(purpose, &mut *key).map_err(|_| unusable())?;
            Ok::<_, Error>(key)
        };
        Ok(Self { sign: derive(b"sign")?, seal: derive(b"seal")? })
    }

    fn mac(&self, bound: &[u8], body: &[u8]) -> Result<Hmac<Sha256>> {
        let mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(&*self.sign).map_err(|_| unusable())?;
        Ok(mac.chain_update(bound).chain_update(body))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.seal).into())
    }
}

/// What the primitives give for lengths that do not occur here.
fn unusable() -> Error {
    Error::new(ErrorKind::Other, "the session could not be signed or sealed")
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRing({} keys)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "an old secret of more than thirty-two bytes";
    const NEW: &str = "a new secret that is longer than 32 bytes, too";

    #[test]
    fn the_first_key_signs_and_all_verify() {
        let old = KeyRing::new(OLD).unwrap();
        let both = KeyRing::new(NEW).unwrap().with_fallback(OLD).unwrap();
        let new = KeyRing::new(NEW).unwrap();
        let by_old = old.sign(b"name", b"body").unwrap();
        let by_both = both.sign(b"name", b"body").unwrap();
        assert_eq!(both.verify(b"name", &by_old).as_deref(), Some(&b"body"[..]));
        assert_eq!(new.verify(b"name", &by_both).as_deref(), Some(&b"body"[..]), "a fallback signed");
        assert_eq!(old.verify(b"name", &by_both), None);
        let sealed = old.seal(b"name", b"body").unwrap();
        assert_eq!(both.open(b"name", &sealed).as_deref(), Some(&b"body"[..]));
        assert_eq!(new.open(b"name", &sealed), None);
    }

    #[test]
    fn a_signature_and_a_seal_hold_for_one_name_and_one_purpose() {
        let keys = KeyRing::new(NEW).unwrap();
        let signed = keys.sign(b"name", b"body").unwrap();
        assert_eq!(keys.verify(b"other", &signed), None);
        assert_eq!(keys.open(b"name", &signed), None);
        let sealed = keys.seal(b"name", b"body").unwrap();
        assert_eq!(keys.open(b"other", &sealed), None);
        assert_ne!(keys.seal(b"name", b"body").unwrap(), sealed, "a nonce was used twice");
        assert!(!sealed.windows(4).any(|window| window == b"body"));
    }

    #[test]
    fn short_secrets_are_refused_and_none_is_shown() {
        let error = KeyRing::new("password").unwrap_err().to_string();
        assert!(error.contains("at least 32") && !error.contains("password"), "{error}");
        assert!(KeyRing::new("").unwrap().is_empty());
        assert!(KeyRing::default().with_fallback("").is_err());
        assert_eq!(format!("{:?}", KeyRing::new(NEW).unwrap()), "KeyRing(1 keys)");
        assert!(KeyRing::default().sign(b"", b"").unwrap_err().to_string().contains("secret key"));
    }
}
