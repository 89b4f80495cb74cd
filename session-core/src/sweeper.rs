//! Deletes expired records in the background.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use crate::{Result, SessionStore, random};

/// Deletes expired records, in batches, again and again.
///
/// Sessions end at their expiry with or without it: a sweep only frees space. Several processes may sweep one
/// storage; the pauses vary by a tenth so that they do not fall into step.
///
/// ```
/// # use std::{sync::Arc, time::Duration};
/// # use session_core::{SessionStore, Sweeper};
/// # async fn example(store: Arc<dyn SessionStore>) {
/// let sweep = Sweeper::new(store).with_interval(Duration::from_secs(60)).spawn();
/// // serve requests ...
/// sweep.stop().await;
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Sweeper {
    store: Arc<dyn SessionStore>,
    interval: Duration,
    batch: usize,
}

impl Sweeper {
    /// A sweeper of `store`: every five minutes, 1,000 records a batch.
    pub fn new(store: impl SessionStore) -> Self {
        Self { store: Arc::new(store), interval: Duration::from_secs(300), batch: 1_000 }
    }

    /// How long to wait between two sweeps, give or take a tenth; at least one millisecond.
    #[must_use]
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Duration::from_millis(1));
        self
    }

    /// How many records one statement deletes at most; at least one.
    #[must_use]
    pub fn with_batch(mut self, records: usize) -> Self {
        self.batch = records.max(1);
        self
    }

    /// Deletes everything that has expired, batch by batch. How many records.
    ///
    /// # Errors
    /// The store's errors; what was deleted before stays deleted.
    ///
    /// # Cancellation
    /// At any point; a later sweep deletes the rest.
    pub async fn sweep(&self) -> Result<u64> {
        self.sweep_until(|| false).await
    }

    /// Sweeps in a task of the current tokio runtime until the handle is stopped or dropped. A failed sweep is
    /// logged, and tried again after the next pause.
    ///
    /// # Panics
    /// Outside a tokio runtime, as [`tokio::spawn`] does.
    #[must_use = "dropping the handle stops the sweeper"]
    pub fn spawn(self) -> SweeperHandle {
        let (stop, stopped) = watch::channel(());
        SweeperHandle { stop, task: tokio::spawn(self.run(stopped)) }
    }

    async fn run(self, mut stop: watch::Receiver<()>) {
        // The channel carries no value: it changes when its sender is dropped.
        while tokio::time::timeout(vary(self.interval), stop.changed()).await.is_err() {
            match self.sweep_until(|| stop.has_changed().is_err()).await {
                Ok(0) => {}
                Ok(deleted) => debug!(target: "session", deleted, "expired sessions deleted"),
                Err(error) => warn!(target: "session", %error, "expired sessions could not be deleted"),
            }
        }
    }

    async fn sweep_until(&self, stopped: impl Fn() -> bool + Send) -> Result<u64> {
        let mut total = 0;
        loop {
            let deleted = self.store.delete_expired(self.batch).await?;
            total += deleted;
            if stopped() || usize::try_from(deleted).is_ok_and(|deleted| deleted < self.batch) {
                return Ok(total);
            }
            tokio::task::yield_now().await;
        }
    }
}

/// A running sweeper.
pub struct SweeperHandle {
    stop: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl SweeperHandle {
    /// Stops the sweeper, and returns when it has stopped: after the batch that is under way.
    pub async fn stop(self) {
        drop(self.stop);
        // The task ends by itself; should it have panicked, it has stopped all the same.
        let _ = self.task.await;
    }
}

impl fmt::Debug for SweeperHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SweeperHandle").field("finished", &self.task.is_finished()).finish()
    }
}

/// The pause, give or take a tenth.
fn vary(interval: Duration) -> Duration {
    let [byte] = random::bytes::<1>().unwrap_or([128]);
    interval.mul_f64(0.9 + 0.2 * f64::from(byte) / 255.0)
}
