//! How much the store may hold, and how much of that is taken.

use parking_lot::Mutex;
use session_core::{Error, Record, Result};

use crate::config::MemoryConfig;
use crate::error;

/// What a session costs besides its payload and its owner's text: the entry, its place in the table and in the
/// index of expiries, and what the allocator rounds up. Measured, see the README.
const OVERHEAD: u64 = 176;

/// What one session counts against `max_bytes`.
pub(crate) fn charge(record: &Record) -> u64 {
    let owner = record.owner.as_ref().map_or(0, |owner| owner.as_str().len());
    OVERHEAD + (record.payload.len() + owner) as u64
}

/// How a write changes what is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    sessions: i64,
    bytes: i64,
}

impl Change {
    pub(crate) fn adding(self, record: &Record) -> Self {
        Self { sessions: self.sessions + 1, bytes: self.bytes + charge(record).cast_signed() }
    }

    pub(crate) fn removing(self, record: Option<&Record>) -> Self {
        match record {
            Some(record) => {
                Self { sessions: self.sessions - 1, bytes: self.bytes - charge(record).cast_signed() }
            }
            None => self,
        }
    }
}

/// The limits, and what is taken of them. One lock for both numbers, so that a write that fits one limit but not
/// the other never makes a third write fail.
#[derive(Debug)]
pub(crate) struct Budget {
    max_sessions: Option<usize>,
    max_bytes: Option<u64>,
    taken: Mutex<(i64, i64)>,
}

impl Budget {
    /// `None` when nothing is limited: then no write touches a counter that all of them share.
    pub(crate) fn new(config: &MemoryConfig) -> Option<Self> {
        let limited = config.max_sessions.is_some() || config.max_bytes.is_some();
        limited.then(|| Self {
            max_sessions: config.max_sessions,
            max_bytes: config.max_bytes,
            taken: Mutex::default(),
        })
    }

    /// Refuses a record that would not fit an empty store.
    pub(crate) fn check(&self, record: &Record) -> Result<()> {
        match self.max_bytes {
            Some(max) if charge(record) > max => Err(error::larger_than_the_store(charge(record), max)),
            _ => Ok(()),
        }
    }

    /// Takes what `change` needs, or says which limit it would break. A change that needs nothing always fits, since
    /// no more is taken than there is.
    pub(crate) fn take(&self, change: Change) -> Result<(), Error> {
        let mut taken = self.taken.lock();
        let (sessions, bytes) = (taken.0 + change.sessions, taken.1 + change.bytes);
        if let Some(max) = self.max_sessions
            && sessions > i64::try_from(max).unwrap_or(i64::MAX)
        {
            return Err(error::full("max_sessions", max as u64));
        }
        if let Some(max) = self.max_bytes
            && bytes > i64::try_from(max).unwrap_or(i64::MAX)
        {
            return Err(error::full("max_bytes", max));
        }
        *taken = (sessions, bytes);
        Ok(())
    }

    /// Gives back what removed sessions had taken.
    pub(crate) fn give_back(&self, change: Change) {
        if change == Change::default() {
            return;
        }
        let mut taken = self.taken.lock();
        taken.0 += change.sessions;
        taken.1 += change.bytes;
    }
}
