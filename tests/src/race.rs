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

/// Rounds of a race of two, in batches: by time, since the window of a store in this process is open for less than a
/// microsecond and is met once in a thousand rounds, and at least as many as a store behind a network or a disk needs.
pub(crate) struct Rounds {
    began: Instant,
    batch_began: Instant,
    batch: usize,
    done: usize,
}

impl Rounds {
    const LONG: Duration = Duration::from_millis(300);
    const AT_LEAST: usize = 20;

    pub(crate) fn start() -> Self {
        let now = Instant::now();
        Self { began: now, batch_began: now, batch: 2, done: 0 }
    }

    /// How many rounds come next: more as long as they are quick.
    pub(crate) fn next_batch(&mut self) -> Option<usize> {
        if self.done >= Self::AT_LEAST && self.began.elapsed() >= Self::LONG {
            return None;
        }
        let quick = self.batch_began.elapsed() < Self::LONG / 20;
        self.batch = if quick { (self.batch * 2).min(256) } else { (self.batch / 2).max(1) };
        self.batch_began = Instant::now();
        self.done += self.batch;
        Some(self.batch)
    }
}

type Answer<T> = session_core::Result<T>;
type Call<T> = Pin<Box<dyn Future<Output = Answer<T>> + Send>>;

/// A call to be given to [`at_once`].
pub(crate) fn call<T>(future: impl Future<Output = Answer<T>> + Send + 'static) -> Call<T> {
    Box::pin(future)
}

/// Makes the two calls of each pair on two threads that wait for each other, so that they begin within a fraction of a
/// microsecond. Tasks that are spawned one after the other begin too far apart for most races in memory.
///
/// The calls go to the store without a log: two threads that write a log wait for each other there.
pub(crate) async fn at_once<A, B>(pairs: Vec<(Call<A>, Call<B>)>) -> Vec<(Answer<A>, Answer<B>)>
where
    A: Send + 'static,
    B: Send + 'static,
{
    let gate = Arc::new(AtomicUsize::new(0));
    let (first, second) = pairs.into_iter().unzip();
    match tokio::join!(on_a_thread(&gate, first), on_a_thread(&gate, second)) {
        (Ok(a), Ok(b)) => a.into_iter().zip(b).collect(),
        (Err(error), _) | (_, Err(error)) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn on_a_thread<T: Send + 'static>(
    gate: &Arc<AtomicUsize>,
    calls: Vec<Call<T>>,
) -> JoinHandle<Vec<Answer<T>>> {
    let gate = Arc::clone(gate);
    tokio::task::spawn_blocking(move || {
        Handle::current().block_on(async {
            let mut answers = Vec::with_capacity(calls.len());
            for (round, call) in calls.into_iter().enumerate() {
                gate.fetch_add(1, SeqCst);
                let began = Instant::now();
                // On one processor the other thread cannot arrive meanwhile.
                while gate.load(SeqCst) < 2 * (round + 1) && began.elapsed() < Duration::from_millis(2) {
                    std::hint::spin_loop();
                }
                answers.push(call.await);
            }
            answers
        })
    })
}
