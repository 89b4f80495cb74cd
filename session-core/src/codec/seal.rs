//! Sealed payloads: XChaCha20-Poly1305 around what another codec wrote.

use std::fmt;
use std::sync::Arc;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::Damaged;
use crate::{Error, ErrorKind, Result, SessionKey, random};

pub(super) const TAG: u8 = super::format::SEALED;

const KEY_ID: usize = 4;
const NONCE: usize = 24;
const HEADER: usize = 1 + KEY_ID;

/// The keys of [`Codec::sealed`](crate::Codec::sealed): the first seals, all open.
///
/// A key is 32 bytes from a random source (`openssl rand 32`), not a password. To change it, deploy the new key as
/// an older one everywhere, then as the first; drop the old key when the longest session sealed with it is over.
/// Keys are wiped from memory when the last copy is dropped, and `Debug` does not show them.
#[derive(Clone)]
pub struct SealKeys(Arc<Vec<SealKey>>);

impl SealKeys {
    /// Seals and opens with `key`.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self(Arc::new(vec![SealKey::new(key)]))
    }

    /// Also opens what `key` sealed.
    #[must_use]
    pub fn with_older(mut self, key: [u8; 32]) -> Self {
        Arc::make_mut(&mut self.0).push(SealKey::new(key));
        self
    }

    pub(super) fn seal(&self, session: SessionKey, plain: &[u8]) -> Result<Vec<u8>> {
        self.seal_with(random::bytes()?, session, plain)
    }

    fn seal_with(&self, nonce: [u8; NONCE], session: SessionKey, plain: &[u8]) -> Result<Vec<u8>> {
        let failed = || Error::new(ErrorKind::Codec, "the session could not be sealed");
        let key = self.0.first().ok_or_else(failed)?;
        let mut sealed = Vec::with_capacity(HEADER + NONCE + plain.len() + 16);
        sealed.push(TAG);
        sealed.extend_from_slice(&key.id);
        let aad = bound(&sealed, session);
        sealed.extend_from_slice(&nonce);
        let payload = Payload { msg: plain, aad: &aad };
        let boxed = key.cipher().encrypt(&XNonce::from(nonce), payload).map_err(|_| failed())?;
        sealed.extend_from_slice(&boxed);
        Ok(sealed)
    }

    /// What was sealed; `None` when no key here has the id that it names.
    pub(super) fn open(&self, session: SessionKey, sealed: &[u8]) -> Result<Option<Arc<[u8]>>> {
        let damaged = || Damaged("its seal is cut off, broken, or of another session").payload();
        let (header, rest) = sealed.split_at_checked(HEADER).ok_or_else(damaged)?;
        let (nonce, boxed) = rest.split_first_chunk::<NONCE>().ok_or_else(damaged)?;
        let aad = bound(header, session);
        let mut named = self.0.iter().filter(|key| header.get(1..) == Some(&key.id[..])).peekable();
        if named.peek().is_none() {
            return Ok(None);
        }
        // Two keys may have one id, though it is unlikely.
        let opened = named.find_map(|key| {
            let payload = Payload { msg: boxed, aad: &aad };
            key.cipher().decrypt(&XNonce::from(*nonce), payload).ok()
        });
        opened.map(|plain| Some(Arc::from(plain))).ok_or_else(damaged)
    }
}

/// The header and the session's key: what the seal covers beside the content.
fn bound(header: &[u8], session: SessionKey) -> Vec<u8> {
    [header, session.as_bytes()].concat()
}

/// Shows the ids of the keys.
impl fmt::Debug for SealKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.0.iter().map(|key| format!("{:08x}", u32::from_be_bytes(key.id)));
        write!(f, "SealKeys({})", ids.collect::<Vec<_>>().join(", "))
    }
}

#[derive(Clone)]
struct SealKey {
    /// Names the key in what it sealed, so that a missing key and a broken seal are different errors. A hash of 256
    /// random bits tells nothing about them.
    id: [u8; KEY_ID],
    secret: Zeroizing<[u8; 32]>,
}

impl SealKey {
    fn new(key: [u8; 32]) -> Self {
        let secret = Zeroizing::new(key);
        let hash = Sha256::new().chain_update(b"session-core seal key id\0").chain_update(*secret).finalize();
        let mut id = [0; KEY_ID];
        id.copy_from_slice(&hash[..KEY_ID]);
        Self { id, secret }
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.secret).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of a golden vector: hexadecimal digits, white space and comments after `#`.
    fn hex(text: &str) -> Vec<u8> {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
        let digits: Vec<u32> = lines.flat_map(str::chars).filter_map(|c| c.to_digit(16)).collect();
        digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap()).collect()
    }

    fn session() -> SessionKey {
        "be45cb26-05bf-86be-bde6-84841a28f0fd".parse().unwrap()
    }

    /// The committed vector, whose seal `tests/golden.rs` opens; here the writer, with the vector's own nonce.
    #[test]
    fn a_seal_has_the_committed_bytes() {
        let inner = hex(include_str!("../../tests/golden/bincode.hex"));
        let sealed = SealKeys::new([0x5e; 32]).seal_with([0x24; NONCE], session(), &inner).unwrap();
        assert_eq!(sealed, hex(include_str!("../../tests/golden/sealed.hex")));
    }

    #[test]
    fn each_seal_has_its_own_nonce() {
        let keys = SealKeys::new([1; 32]);
        let nonces: std::collections::HashSet<Vec<u8>> = (0..100)
            .map(|_| keys.seal(session(), b"same").unwrap()[HEADER..HEADER + NONCE].to_vec())
            .collect();
        assert_eq!(nonces.len(), 100);
    }

    /// Two keys out of four thousand million have one id: of those, each is tried.
    #[test]
    fn keys_that_share_their_id_are_told_apart_by_the_seal() {
        let key = |secret: u8| SealKey { id: *b"same", secret: Zeroizing::new([secret; 32]) };
        let keys = SealKeys(Arc::new(vec![key(1), key(2)]));
        for secret in [1, 2] {
            let sealed = SealKeys(Arc::new(vec![key(secret)])).seal(session(), b"content").unwrap();
            assert_eq!(keys.open(session(), &sealed).unwrap().as_deref(), Some(&b"content"[..]));
        }
        let sealed = SealKeys(Arc::new(vec![key(3)])).seal(session(), b"content").unwrap();
        assert_eq!(keys.open(session(), &sealed).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn neither_keys_nor_codecs_print_a_key() {
        let codec =
            crate::Codec::sealed(crate::Codec::bincode(), SealKeys::new([0xab; 32]).with_older([0xcd; 32]));
        let shown = format!("{codec:?} {:?}", crate::Codecs::new(codec.clone()));
        assert!(shown.starts_with("sealed(bincode, SealKeys("), "{shown}");
        assert!(!shown.contains("abab") && !shown.contains("171") && !shown.contains("cdcd"), "{shown}");
    }
}
