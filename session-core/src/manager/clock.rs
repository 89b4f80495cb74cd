//! The store's time, told by this process's clock and the difference between both (`[H5]`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;
use tracing::warn;

use crate::{Clock, Result, SessionStore, Timestamp};

/// How long a measurement is good for.
const FRESH: i64 = 60_000;
/// How far this process's clock may run from its monotonic one before it must have been set.
const STEP: i64 = 1_000;
/// From which difference on an operator should hear of it.
const FAR: Duration = Duration::from_secs(5);

/// Both expiry and policy are judged by the store's clock, so that a session lives as long as the policy says although
/// this host's clock is minutes or years off.
#[derive(Clone)]
pub(super) struct StoreClock {
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
}

struct Shared {
    /// Filled once the store was prepared and the first measurement is there.
    ready: OnceCell<()>,
    start: Instant,
    /// What to add to this process's clock, in milliseconds.
    offset: AtomicI64,
    /// By the monotonic clock since `start`, and by the process's clock.
    measured: (AtomicI64, AtomicI64),
    measuring: AtomicBool,
}

impl StoreClock {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let shared = Shared {
            ready: OnceCell::new(),
            start: Instant::now(),
            offset: AtomicI64::new(0),
            measured: Default::default(),
            measuring: AtomicBool::new(false),
        };
        Self { clock, shared: Arc::new(shared) }
    }

    /// The same clock for another store, of which nothing is known yet.
    pub(super) fn restarted(&self) -> Self {
        Self::new(Arc::clone(&self.clock))
    }

    /// Whether the store was prepared and asked for its time.
    pub(super) fn is_ready(&self) -> bool {
        self.shared.ready.initialized()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.corrected(self.clock.now())
    }

    /// The time, if it can be told without asking the store.
    pub(super) fn now_if_fresh(&self) -> Option<Timestamp> {
        let clock = self.clock.now();
        (self.shared.ready.initialized() && self.shared.is_fresh(clock)).then(|| self.corrected(clock))
    }

    fn corrected(&self, clock: Timestamp) -> Timestamp {
        Timestamp::from_millis(clock.as_millis().saturating_add(self.shared.offset.load(Ordering::Relaxed)))
    }

    /// Prepares the store and measures, once; measures again when that is due. Where the store was asked before, one that
    /// does not answer is no reason to fail: the operation that follows will say so.
    pub(super) async fn make_ready(
        &self,
        store: &dyn SessionStore,
        prepare: impl Future<Output = Result<()>>,
    ) -> Result<()> {
        if self.now_if_fresh().is_some() {
            return Ok(());
        }
        let first = async {
            prepare.await?;
            self.measure(store).await
        };
        if !self.shared.ready.initialized() {
            return self.shared.ready.get_or_try_init(|| first).await.copied();
        }
        if !self.shared.measuring.swap(true, Ordering::Relaxed) {
            let _one = Measuring(&self.shared.measuring);
            if let Err(error) = self.measure(store).await {
                warn!(target: "session", error = &error as &dyn std::error::Error, "the store's time is not known");
            }
        }
        Ok(())
    }

    async fn measure(&self, store: &dyn SessionStore) -> Result<()> {
        let before = self.clock.now();
        let theirs = store.now().await?;
        let after = self.clock.now();
        // Within the time that asking took, no difference can be told.
        let offset = if (before..=after).contains(&theirs) {
            0
        } else {
            theirs.as_millis() - (before.as_millis() + after.as_millis()) / 2
        };
        let known = self.shared.offset.swap(offset, Ordering::Relaxed);
        let (monotonic, clock) = &self.shared.measured;
        monotonic.store(self.shared.elapsed(), Ordering::Relaxed);
        clock.store(after.as_millis(), Ordering::Relaxed);
        if far(offset) && !far(known) {
            warn!(
                target: "session",
                milliseconds = offset,
                "the clock of the store is far from this host's; sessions live by the store's"
            );
        }
        Ok(())
    }
}

fn far(offset: i64) -> bool {
    Duration::from_millis(offset.unsigned_abs()) >= FAR
}

impl Shared {
    fn elapsed(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    fn is_fresh(&self, clock: Timestamp) -> bool {
        let (monotonic, at) = &self.measured;
        let passed = self.elapsed() - monotonic.load(Ordering::Relaxed);
        let by_clock = clock.as_millis() - at.load(Ordering::Relaxed);
        passed < FRESH && (by_clock - passed).abs() < STEP
    }
}

/// Lets the next measurement begin, also when this one's future is dropped.
struct Measuring<'a>(&'a AtomicBool);

impl Drop for Measuring<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
