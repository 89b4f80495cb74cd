//! Whether a hundred times as many sessions cost more.

use std::sync::Arc;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use session_core::{Saved, SessionStore as _};
use session_file::Durability;

use super::ours::{Place, record, work};
use crate::operation::Operation;
use crate::report::Report;
use crate::rounds::{Contender, Contest, Effort, Job, Tally, repeat};
use crate::sample::{key, mix};

/// How its tables begin; to be left out with `--only`, since filling takes minutes.
pub(crate) const TITLE: &str = "Scale";

/// One directory for all rounds: filling it takes minutes.
struct Fixed {
    name: &'static str,
    operation: Option<Operation>,
    sessions: u64,
    place: Place,
    round: std::sync::atomic::AtomicUsize,
}

#[async_trait]
impl Contender for Fixed {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn reset(&self) -> Result<()> {
        self.round.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }

    async fn run(&self, job: Job) -> Result<Tally> {
        let store = &self.place.store;
        // Keys that no earlier round has made.
        let round = self.round.load(std::sync::atomic::Ordering::Relaxed);
        let own = Job { task: job.task + job.tasks * round, tasks: job.tasks * (round + 1), ..job };
        match self.operation {
            // Under the revision that it has, so that each round finds what the first one found.
            Some(Operation::Save) => repeat!(job, |n| {
                let number = mix((job.task as u64) << 32 | n as u64) % self.sessions;
                let record = record(number as usize);
                ensure!(store.save(key(number), record.revision, &record).await? == Saved::Stored);
            }),
            Some(Operation::Create) => work(store, Operation::Create, self.sessions, own).await,
            Some(operation) => work(store, operation, self.sessions, job).await,
            // A sweep that finds nothing.
            None => repeat!(job, |_n| {
                let removed = store.delete_expired(1_000).await?;
                ensure!(removed == 0);
            }),
        }
    }
}

pub(crate) async fn run(effort: Effort, report: &mut Report) -> Result<()> {
    let (few, many) = effort.pick((2_000, 20_000), (10_000, 1_000_000));
    let places = [
        (few, "few", Place::filled(few, Durability::ProcessDeath).await?),
        (many, "many", Place::filled(many, Durability::ProcessDeath).await?),
    ];
    for operation in
        [Some(Operation::Load), Some(Operation::Save), Some(Operation::Touch), Some(Operation::Create), None]
    {
        let contenders = places.iter().map(|(sessions, name, place)| {
            let round = std::sync::atomic::AtomicUsize::new(0);
            Arc::new(Fixed { name, operation, sessions: *sessions, place: place.clone(), round })
                as Arc<dyn Contender>
        });
        let title =
            operation.map_or("A sweep that finds nothing".to_owned(), |operation| format!("{operation:?}"));
        let title = format!("{TITLE}: {title}, {few} sessions (few) and {many} (many)");
        let operations = if operation.is_none() { 64 } else { effort.pick(4_000, 20_000) };
        let tasks = if operation.is_none() { 1 } else { 8 };
        let contenders = contenders.collect();
        report.contest(Contest { title, contenders, tasks, operations, rounds: effort.pick(3, 7) }).await?;
    }
    Ok(())
}
