//! Contenders that do the same work in turns.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use async_trait::async_trait;
use tokio::task::JoinSet;

/// How long to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Under two minutes for a suite: to see that nothing is broken.
    Quick,
    /// Figures to quote.
    Full,
}

impl Effort {
    pub(crate) fn pick<T>(self, quick: T, full: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}

/// One way to do the work of a [`Contest`].
#[async_trait]
pub(crate) trait Contender: Send + Sync {
    fn name(&self) -> &'static str;

    /// Makes everything ready for a round; not timed.
    async fn reset(&self) -> Result<()>;

    /// One task's share of a round. Write it with [`repeat!`].
    async fn run(&self, job: Job) -> Result<Tally>;

    /// The processor time that it has taken so far, when it is a process of its own.
    fn processor_time(&self) -> Option<Duration> {
        None
    }
}

/// What one of several tasks does in a round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub(crate) task: usize,
    pub(crate) tasks: usize,
    pub(crate) operations: usize,
}

/// How long sampled operations took.
#[derive(Debug, Default)]
pub(crate) struct Tally(Vec<u64>);

impl Tally {
    pub(crate) fn add(&mut self, took: Duration) {
        self.0.push(took.as_nanos() as u64);
    }

    /// For what is measured in another process.
    #[allow(dead_code, reason = "the program in `peers/` has this module, too")]
    pub(crate) fn nanoseconds(&self) -> impl Iterator<Item = u64> {
        self.0.iter().copied()
    }
}

/// One operation of so many is timed by itself: reading the clock costs as much as a fast operation.
pub(crate) const SAMPLE_EVERY: usize = 16;

/// After so many operations a task lets another run, as tasks that wait for requests would. A task that is alone does
/// not: a yield to nobody asks the system for events, which takes as long as ten fast operations.
pub(crate) const YIELD_EVERY: usize = 64;

/// Runs `$body` as often as the job says; `$n` counts. A macro, so that the loop is compiled with the body in it.
macro_rules! repeat {
    ($job:expr, |$n:ident| $body:expr) => {{
        let mut tally = $crate::rounds::Tally::default();
        for $n in 0..$job.operations {
            if $n % $crate::rounds::SAMPLE_EVERY == 0 {
                let start = std::time::Instant::now();
                $body;
                tally.add(start.elapsed());
            } else {
                $body;
            }
            if $job.tasks > 1 && ($n + 1) % $crate::rounds::YIELD_EVERY == 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok(tally)
    }};
}
pub(crate) use repeat;

/// Contenders, the first of which is what the others are compared to.
pub(crate) struct Contest {
    pub(crate) title: String,
    pub(crate) contenders: Vec<Arc<dyn Contender>>,
    pub(crate) tasks: usize,
    /// Of all tasks together, in one round.
    pub(crate) operations: usize,
    pub(crate) rounds: usize,
}

/// What one contender did, a figure for each round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    pub(crate) per_second: Vec<f64>,
    pub(crate) p50_ns: Vec<f64>,
    pub(crate) p99_ns: Vec<f64>,
    /// Processor time of the contender's own process for one operation.
    pub(crate) processor_ns: Vec<f64>,
}

impl Contest {
    /// One round that does not count, then those that do. Who begins changes from round to round.
    pub(crate) async fn run(&self) -> Result<Vec<(&'static str, Series)>> {
        let mut results: Vec<_> = self.contenders.iter().map(|one| (one.name(), Series::default())).collect();
        for round in 0..=self.rounds {
            for turn in 0..self.contenders.len() {
                let at = (turn + round) % self.contenders.len();
                let (per_second, tally, processor) = self.turn(&self.contenders[at]).await?;
                if round > 0 {
                    let series = &mut results[at].1;
                    series.per_second.push(per_second);
                    series.p50_ns.push(tally.quantile(0.50));
                    series.p99_ns.push(tally.quantile(0.99));
                    series.processor_ns.extend(processor);
                }
            }
        }
        Ok(results)
    }

    async fn turn(&self, contender: &Arc<dyn Contender>) -> Result<(f64, Tally, Option<f64>)> {
        contender.reset().await?;
        let operations = self.operations / self.tasks;
        let before = contender.processor_time();
        let start = Instant::now();
        let mut running = JoinSet::new();
        for task in 0..self.tasks {
            let (contender, job) = (contender.clone(), Job { task, tasks: self.tasks, operations });
            running.spawn(async move { contender.run(job).await });
        }
        let mut all = Tally::default();
        while let Some(tally) = running.join_next().await {
            all.0.extend(tally??.0);
        }
        let seconds = start.elapsed().as_secs_f64();
        let all_operations = (operations * self.tasks) as f64;
        let processor = before.zip(contender.processor_time());
        let processor =
            processor.map(|(before, after)| after.saturating_sub(before).as_nanos() as f64 / all_operations);
        all.0.sort_unstable();
        Ok((all_operations / seconds, all, processor))
    }
}

impl Tally {
    /// Of sorted figures.
    fn quantile(&self, share: f64) -> f64 {
        let at = (self.0.len().saturating_sub(1) as f64 * share).round() as usize;
        self.0.get(at).map_or(f64::NAN, |nanos| *nanos as f64)
    }
}
