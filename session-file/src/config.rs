//! What can be chosen about a [`FileStore`](crate::FileStore).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use session_core::{Clock, SystemClock};

/// How a [`FileStore`](crate::FileStore) behaves.
///
/// The default is the directory `sessions` below the working directory, [`Durability::ProcessDeath`], payloads of
/// at most 1 MiB and a timeout of 5 seconds.
///
/// ```
/// use session_file::{Durability, FileConfig};
///
/// let config = FileConfig::new("/var/lib/shop/sessions").with_durability(Durability::PowerLoss);
/// ```
#[derive(Clone, Debug)]
pub struct FileConfig {
    pub(crate) directory: PathBuf,
    pub(crate) durability: Durability,
    pub(crate) max_payload: usize,
    pub(crate) timeout: Duration,
    pub(crate) clock: Arc<dyn Clock>,
}

impl FileConfig {
    /// The default settings with the given directory. A relative path is resolved when the store is made.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), ..Self::default() }
    }

    /// What a write that was reported as stored survives.
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// The longest payload of one session, in bytes. A longer one is
    /// [`TooLarge`](session_core::ErrorKind::TooLarge) (`[B1]`, `[B4]`). At most 1 GiB.
    #[must_use]
    pub fn with_max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = bytes;
        self
    }

    /// How long an operation on one session may take, and how long any operation waits for a lock (`[F1]`).
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The clock that judges expiry, such as a [`ManualClock`](session_core::ManualClock) in tests.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
}

impl Default for FileConfig {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("sessions"),
            durability: Durability::default(),
            max_payload: 1 << 20,
            timeout: Duration::from_secs(5),
            clock: Arc::new(SystemClock),
        }
    }
}

/// What a write that was reported as stored survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// The death of every process that uses the store, at any instant, `SIGKILL` included. Nothing is forced to
    /// the disk: after a power failure or a crash of the kernel the last seconds of writes may be lost, and a
    /// logout among them undone. A file that lost its content is [`Corrupt`](session_core::ErrorKind::Corrupt).
    #[default]
    ProcessDeath,
    /// A power failure or a crash of the kernel too: file and directory are synchronised (`fsync`) before a write
    /// is reported. Holds as far as the disk keeps its word. Costs a few journal commits a write.
    PowerLoss,
}

impl Durability {
    pub(crate) fn is_power_loss(self) -> bool {
        self == Self::PowerLoss
    }
}
