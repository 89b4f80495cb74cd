//! Several things at the same time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::test::Outcome;

/// Work of one of several kinds, to be given to [`all`].
pub(crate) type Work<T = ()> = Pin<Box<dyn Future<Output = Outcome<T>> + Send>>;

/// Runs all of `work` at the same time and gives the results in order. A panic is passed on.
///
/// On a busy machine one thread runs it all, and the work that was started last runs first. So each call starts with
/// another one, or a race that happens in one order only would not be seen.
pub(crate) async fn all<T, F>(work: impl IntoIterator<Item = F>) -> Outcome<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = Outcome<T>> + Send + 'static,
{
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let mut work: Vec<_> = work.into_iter().enumerate().collect();
    let first = CALLS.fetch_add(1, Relaxed) % work.len().max(1);
    work.rotate_left(first);
    let mut tasks: Vec<_> = work.into_iter().map(|(at, work)| (at, tokio::spawn(work))).collect();
    tasks.sort_unstable_by_key(|(at, _)| *at);
    let mut results = Vec::with_capacity(tasks.len());
    for (_, task) in tasks {
        match task.await {
            Ok(result) => results.push(result),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    results.into_iter().collect()
}

/// Rounds of a race of two, in batches. The window of a store in this process is open for less than a microsecond, and
/// is met once in a thousand rounds in which both threads run; a store behind a network or a disk needs a few.
pub(crate) struct Rounds {
    began: Instant,
    done: usize,
    /// In which neither had to go on without the other.
    met: usize,
    /// What a call takes: the mean of the batch that was the least disturbed.
    takes: Duration,
}

impl Rounds {
    const AT_LEAST: usize = 20;
    const ENOUGH: usize = 10_000;
    const LONG: Duration = Duration::from_millis(300);
    /// On a machine that is so busy that two threads seldom run at the same time.
    const LONG_ENOUGH: Duration = Duration::from_secs(1);
    const QUICK: Duration = Duration::from_micros(200);

    pub(crate) fn start() -> Self {
        Self { began: Instant::now(), done: 0, met: 0, takes: Duration::MAX }
    }

    /// How many rounds come next: more if they are quick, since threads take long to start.
    pub(crate) fn next_batch(&mut self) -> Option<usize> {
        let quick = self.takes < Self::QUICK;
        let limit = if quick { Self::LONG_ENOUGH } else { Self::LONG };
        if self.done >= Self::AT_LEAST && (self.met >= Self::ENOUGH || self.began.elapsed() >= limit) {
            return None;
        }
        let batch = if quick { 256 } else { 5 };
        self.done += batch;
        Some(batch)
    }

    /// Makes the two calls of each pair on two threads that wait for each other, so that they begin within a fraction
    /// of a microsecond. Tasks that are spawned one after the other begin too far apart for most races in memory.
    ///
    /// The calls go to the store without a log: two threads that write a log wait for each other there.
    pub(crate) async fn at_once<A, B>(
        &mut self,
        pairs: Vec<(Call<A>, Call<B>)>,
    ) -> Vec<(Answer<A>, Answer<B>)>
    where
        A: Send + 'static,
        B: Send + 'static,
    {
        let gate = Arc::new(AtomicUsize::new(0));
        let (first, second) = pairs.into_iter().unzip();
        match tokio::join!(on_a_thread(&gate, first), on_a_thread(&gate, second)) {
            (Ok((a, met, took)), Ok((b, ..))) => {
                self.met += met;
                self.takes = self.takes.min(took / u32::try_from(a.len().max(1)).unwrap_or(u32::MAX));
                a.into_iter().zip(b).collect()
            }
            (Err(error), _) | (_, Err(error)) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

type Answer<T> = session_core::Result<T>;
type Call<T> = Pin<Box<dyn Future<Output = Answer<T>> + Send>>;

/// A call to be given to [`Rounds::at_once`].
pub(crate) fn call<T>(future: impl Future<Output = Answer<T>> + Send + 'static) -> Call<T> {
    Box::pin(future)
}

/// The answers, in how many rounds the other thread was there, and how long the calls took together.
fn on_a_thread<T: Send + 'static>(
    gate: &Arc<AtomicUsize>,
    calls: Vec<Call<T>>,
) -> JoinHandle<(Vec<Answer<T>>, usize, Duration)> {
    let gate = Arc::clone(gate);
    tokio::task::spawn_blocking(move || {
        Handle::current().block_on(async {
            let (mut answers, mut met, mut took) = (Vec::with_capacity(calls.len()), 0, Duration::ZERO);
            for (round, call) in calls.into_iter().enumerate() {
                let both = 2 * (round + 1);
                let arrived = gate.fetch_add(1, SeqCst) + 1;
                let began = Instant::now();
                // On one processor the other thread cannot arrive meanwhile.
                while gate.load(SeqCst) < both && began.elapsed() < Duration::from_millis(1) {
                    std::hint::spin_loop();
                }
                met += usize::from(arrived <= both && gate.load(SeqCst) >= both);
                // The first one needs a moment to see that the other is there: by how long is tried out.
                if arrived == both {
                    (0..round % 16).for_each(|_| std::hint::spin_loop());
                }
                let called = Instant::now();
                answers.push(call.await);
                took += called.elapsed();
            }
            (answers, met, took)
        })
    })
}
