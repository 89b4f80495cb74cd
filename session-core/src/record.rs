//! What a store keeps under a key.

use std::fmt;
use std::sync::Arc;

use crate::random;
use crate::{Error, ErrorKind, Result, Timestamp};

/// What a store keeps under a [`SessionKey`](crate::SessionKey).
///
/// A store gives back every field exactly as it was given (`[C1]`). The payload is opaque to it: a codec wrote it.
/// The fields are public and the struct is exhaustive on purpose: should a field be added, the compiler shows
/// every store that does not keep it yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Names this version of the record; every write brings a new one.
    pub revision: Revision,
    /// The principal the session belongs to.
    pub owner: Option<Owner>,
    /// When the session began; the absolute lifetime counts from here.
    pub created_at: Timestamp,
    /// From this millisecond on the record is not live.
    pub expires_at: Timestamp,
    /// The encoded session.
    pub payload: Arc<[u8]>,
}

/// Shows the payload's length instead of its content.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("revision", &self.revision)
            .field("owner", &self.owner)
            .field("created_at", &self.created_at)
            .field("expires_at", &self.expires_at)
            .field("payload", &format_args!("{} bytes", self.payload.len()))
            .finish()
    }
}

/// Names one version of a record: 64 random bits, chosen anew by the writer for each write.
///
/// It is the token of compare-and-set, and what makes a retry after a lost answer safe (`[S5]`): a writer that
/// finds its own revision stored knows that its write took effect. A counter could not tell that.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Revision(u64);

impl Revision {
    /// A new random revision.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the operating system gives no random bytes.
    pub fn generate() -> Result<Self> {
        random::bytes::<8>().map(|bytes| Self(u64::from_le_bytes(bytes)))
    }

    /// The revision that a store kept as a number.
    #[must_use]
    pub const fn from_u64(bits: u64) -> Self {
        Self(bits)
    }

    /// The number that a store keeps. All 64 bits count: cast to `i64` where a database has no unsigned type.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Revision({self})")
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The principal a session belongs to, such as a user's id: 1 to 255 bytes of text without NUL.
///
/// Two owners are the same only if their bytes are: case, accents and trailing spaces count (`[B3]`).
///
/// ```
/// use session_core::Owner;
///
/// let owner: Owner = "user-42".parse()?;
/// assert_eq!(owner.as_str(), "user-42");
/// assert!("".parse::<Owner>().is_err());
/// # Ok::<(), session_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(Arc<str>);

impl Owner {
    /// The longest owner, in bytes.
    pub const MAX_LEN: usize = 255;

    /// An owner from its text.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when the text is empty, longer than 255 bytes or holds a NUL.
    pub fn new(text: impl AsRef<str>) -> Result<Self> {
        let text = text.as_ref();
        let problem = match text.len() {
            0 => "it is empty",
            len if len > Self::MAX_LEN => "it is longer than 255 bytes",
            _ if text.contains('\0') => "it contains a NUL",
            _ => return Ok(Self(text.into())),
        };
        Err(Error::new(ErrorKind::InvalidInput, format!("not an owner: {problem}")))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Owner {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_one_to_255_bytes_without_nul() {
        for good in ["a".to_owned(), "x".repeat(255), "\u{1f600}".repeat(63), "o'brien %_*?[]{} ".to_owned()]
        {
            assert_eq!(Owner::new(&good).unwrap().as_str(), good);
        }
        for bad in [String::new(), "x".repeat(256), "\u{1f600}".repeat(64), "a\0b".to_owned()] {
            assert_eq!(Owner::new(&bad).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn a_record_prints_without_its_payload() {
        let record = Record {
            revision: Revision::from_u64(0xab),
            owner: None,
            created_at: Timestamp::EPOCH,
            expires_at: Timestamp::MAX,
            payload: Arc::from(&b"secret"[..]),
        };
        let shown = format!("{record:?}");
        assert!(shown.contains("6 bytes") && shown.contains("00000000000000ab"), "{shown}");
        assert!(!shown.contains("secret") && !shown.contains("115"), "{shown}");
    }
}
