//! What can be chosen about a [`MemoryStore`](crate::MemoryStore).

use std::sync::Arc;

use session_core::{Clock, SystemClock};

/// How a [`MemoryStore`](crate::MemoryStore) behaves. The default has no capacity limit and a payload limit of 1 MiB.
///
/// ```
/// use session_memory::{MemoryConfig, MemoryStore, WhenFull};
///
/// let config = MemoryConfig::default()
///     .with_max_sessions(100_000)
///     .with_max_bytes(256 * 1024 * 1024)
///     .with_when_full(WhenFull::EvictSoonest);
/// let store = MemoryStore::new(config);
/// ```
#[derive(Clone, Debug)]
pub struct MemoryConfig {
    pub(crate) max_payload: usize,
    pub(crate) max_sessions: Option<usize>,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) when_full: WhenFull,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            max_payload: 1024 * 1024,
            max_sessions: None,
            max_bytes: None,
            when_full: WhenFull::default(),
            clock: Arc::new(SystemClock),
        }
    }
}

impl MemoryConfig {
    /// The longest payload of one session, in bytes. A longer one is
    /// [`TooLarge`](session_core::ErrorKind::TooLarge) (`[B1]`, `[B4]`).
    #[must_use]
    pub fn with_max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = bytes;
        self
    }

    /// How many sessions the store holds at most. Expired ones are removed before the limit bites.
    #[must_use]
    pub fn with_max_sessions(mut self, sessions: usize) -> Self {
        self.max_sessions = Some(sessions);
        self
    }

    /// How many bytes the sessions take at most, as [`Usage::bytes`](crate::Usage::bytes) counts them. Expired
    /// ones are removed before the limit bites. A session that is larger than this by itself is
    /// [`TooLarge`](session_core::ErrorKind::TooLarge).
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// What happens at those two limits.
    #[must_use]
    pub fn with_when_full(mut self, policy: WhenFull) -> Self {
        self.when_full = policy;
        self
    }

    /// The clock that judges expiry, such as a [`ManualClock`](session_core::ManualClock) in tests.
    ///
    /// It is read while a part of the store is locked: it must be quick, and must not call the store.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
}

/// What a full store does with a write that needs room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenFull {
    /// It refuses with [`Unavailable`](session_core::ErrorKind::Unavailable) and changes nothing: nobody who is
    /// logged in is thrown out.
    #[default]
    Refuse,
    /// It removes live sessions, the soonest to expire first, until the write fits. The sessions being written are
    /// never the ones removed.
    EvictSoonest,
}
