//! A limit on how long something takes, without a new timer for each.
//!
//! Registering a timer takes the lock of the runtime's timers, and when it is the next one to be due it wakes the thread
//! that waits for events: with one task on SQLite that was a fifth of a load. So timers are kept, still registered,
//! and given a later end, which takes neither. What is ready at once takes none.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::{Handle, Id};
use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// The most timers that are kept. Each also keeps what is left of the task that it last served until it is due.
const KEPT: usize = 64;

/// As good as never: a clock cannot tell every time.
const FAR: Duration = Duration::from_secs(86_400 * 365);

/// Limits how long things take.
#[derive(Debug, Default)]
pub struct Timers(Mutex<Vec<Timer>>);

/// A timer belongs to the runtime in which it was made.
#[derive(Debug)]
struct Timer {
    runtime: Id,
    sleep: Pin<Box<Sleep>>,
}

impl Timers {
    /// What comes of the future, or `None` when it takes longer: it can then be waited for further. The time runs
    /// from when there is something to wait for.
    pub fn within<T>(
        &self,
        limit: Duration,
        future: Pin<&mut impl Future<Output = T>>,
    ) -> impl Future<Output = Option<T>> {
        self.until(move || Instant::now() + limit.min(FAR), future)
    }

    /// The same with a time when it has to be over, which is asked for when there is something to wait for.
    pub async fn until<T>(
        &self,
        end: impl Fn() -> Instant,
        mut future: Pin<&mut impl Future<Output = T>>,
    ) -> Option<T> {
        let mut running = None;
        poll_fn(|context| {
            if let Poll::Ready(done) = future.as_mut().poll(context) {
                return Poll::Ready(Some(done));
            }
            running.get_or_insert_with(|| self.start(end())).poll(context).map(|()| None)
        })
        .await
    }

    fn start(&self, end: Instant) -> Running<'_> {
        let runtime = Handle::current().id();
        // Those of another runtime are of no use: it may have ended.
        let kept = self.kept().pop().filter(|timer| timer.runtime == runtime);
        let timer = match kept {
            Some(mut timer) => {
                timer.sleep.as_mut().reset(end);
                timer
            }
            None => Timer { runtime, sleep: Box::pin(sleep_until(end)) },
        };
        Running { timers: self, timer: Some(timer) }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Timer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A timer that runs, and is kept for the next when this one is over.
struct Running<'t> {
    timers: &'t Timers,
    timer: Option<Timer>,
}

impl Running<'_> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.timer {
            // A future that used up its task's turn must not keep the limit from being seen.
            Some(timer) => pin!(unconstrained(timer.sleep.as_mut())).poll(context),
            None => Poll::Pending,
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut kept = self.timers.kept();
        if kept.len() < KEPT {
            kept.extend(self.timer.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::runtime::{Builder, Runtime};
    use tokio::task::yield_now;
    use tokio::time::{advance, sleep, timeout};

    use super::*;

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
    }

    const LIMIT: Duration = Duration::from_secs(5);

    #[test]
    fn what_takes_longer_is_given_up_and_what_does_not_is_not() {
        let timers = Timers::default();
        runtime().block_on(async {
            for _ in 0..3 {
                let start = Instant::now();
                assert_eq!(timers.within(LIMIT, pin!(ready(1))).await, Some(1));
                assert_eq!(timers.within(LIMIT, pin!(pending::<()>())).await, None);
                let took = start.elapsed();
                assert!(took >= LIMIT && took < LIMIT * 2, "{took:?}");

                let mut late = pin!(sleep(LIMIT + Duration::from_secs(1)));
                assert_eq!(timers.within(LIMIT, late.as_mut()).await, None);
                assert_eq!(timers.within(LIMIT, late).await, Some(()));
            }
            assert_eq!(timers.kept().len(), 1);
        });
    }

    #[test]
    fn a_timer_that_is_used_again_runs_from_then() {
        let timers = Timers::default();
        runtime().block_on(async {
            // Given up on, and so kept while it is still running.
            assert!(
                timeout(Duration::from_secs(1), timers.within(LIMIT, pin!(pending::<()>()))).await.is_err()
            );
            assert_eq!(timers.kept().len(), 1);
            advance(LIMIT - Duration::from_secs(2)).await;
            assert_eq!(timers.within(LIMIT, pin!(sleep(LIMIT - Duration::from_secs(1)))).await, Some(()));
        });
    }

    #[test]
    fn each_runtime_has_timers_of_its_own() {
        let timers = Timers::default();
        let (first, second) = (runtime(), runtime());
        for runtime in [first, second] {
            runtime.block_on(async {
                assert_eq!(timers.within(LIMIT, pin!(yield_now())).await, Some(()));
                assert_eq!(timers.within(LIMIT, pin!(pending::<()>())).await, None);
            });
        }
    }

    #[test]
    fn a_future_that_uses_up_its_turn_is_given_up_all_the_same() {
        let timers = Timers::default();
        runtime().block_on(async {
            let greedy = pin!(async {
                loop {
                    tokio::task::consume_budget().await;
                    advance(Duration::from_millis(10)).await;
                }
            });
            assert_eq!(timers.within(LIMIT, greedy).await, None::<()>);
        });
    }
}
