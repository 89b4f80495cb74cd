//! Where the commits of this process that are after one session wait for each other.
//!
//! Only those that met a conflict come here at first. While one is here, others that come for the same session line up
//! behind it: they would meet a conflict too, and those who have to load again would lose to those who come fresh.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::{Mutex, MutexGuard};

use crate::SessionKey;

const QUEUES: usize = 64;

#[derive(Clone)]
pub(super) struct Queues(Arc<[Queue; QUEUES]>);

/// For many sessions, of which seldom more than one is in demand.
struct Queue {
    turn: Mutex<()>,
    /// How many wait here or have their turn.
    inside: AtomicUsize,
    /// Whom the last of them came for.
    session: AtomicU64,
}

/// One commit after the other, in the order in which they came.
pub(super) struct Turn<'q> {
    _turn: MutexGuard<'q, ()>,
    _place: Place<'q>,
}

struct Place<'q>(&'q Queue);

impl Queues {
    /// Whether commits of this session wait for each other now.
    pub(super) fn is_busy(&self, key: SessionKey) -> bool {
        let queue = self.of(key);
        queue.inside.load(Ordering::Relaxed) > 0 && queue.session.load(Ordering::Relaxed) == mark(key)
    }

    pub(super) async fn turn(&self, key: SessionKey) -> Turn<'_> {
        let queue = self.of(key);
        queue.inside.fetch_add(1, Ordering::Relaxed);
        queue.session.store(mark(key), Ordering::Relaxed);
        let place = Place(queue);
        Turn { _turn: queue.turn.lock().await, _place: place }
    }

    fn of(&self, key: SessionKey) -> &Queue {
        &self.0[usize::from(key.as_bytes()[15]) % QUEUES]
    }
}

/// The last bits of a key are random: they name it well enough for a guess.
fn mark(key: SessionKey) -> u64 {
    key.as_uuid().as_u64_pair().1
}

impl Default for Queues {
    fn default() -> Self {
        Self(Arc::new(std::array::from_fn(|_| Queue {
            turn: Mutex::new(()),
            inside: AtomicUsize::new(0),
            session: AtomicU64::new(0),
        })))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::Relaxed);
    }
}
