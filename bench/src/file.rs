//! Sessions in files, beside bare `std::fs` and two peers.

mod bare;
mod ours;
mod peers;
mod scale;

use std::sync::Arc;

use anyhow::Result;
use session_file::Durability;

use crate::operation::Operation;
use crate::report::Report;
use crate::rounds::{Contender, Contest, Effort};

const PAYLOAD: usize = 1_024;

pub(crate) async fn run(effort: Effort, report: &mut Report) -> Result<()> {
    for operation in
        [Operation::Load, Operation::Save, Operation::Create, Operation::ChangeId, Operation::Touch]
    {
        for tasks in [1, 8, 64] {
            contest(effort, report, operation, tasks).await?;
        }
    }
    for tasks in [1, 64] {
        synchronised(effort, report, tasks).await?;
    }
    if report.wants(scale::TITLE) { scale::run(effort, report).await } else { Ok(()) }
}

async fn contest(effort: Effort, report: &mut Report, operation: Operation, tasks: usize) -> Result<()> {
    let sessions = effort.pick(2_000, 10_000);
    let mut contenders: Vec<Arc<dyn Contender>> = vec![
        Arc::new(bare::Bare::new(operation, sessions, false)),
        Arc::new(ours::Ours::new("session-file", operation, sessions, Durability::ProcessDeath)),
    ];
    // They have no such operation.
    if operation != Operation::Touch {
        contenders.push(Arc::new(peers::file_store(operation, sessions)));
        contenders.push(Arc::new(peers::file_based_store(operation, sessions)));
    }
    // One of the peers loads 3,000 sessions a second.
    let operations = effort.pick(4_000, 20_000);
    let title = format!("{operation:?}, {sessions} sessions of 1 KB");
    report.contest(Contest { title, contenders, tasks, operations, rounds: effort.pick(3, 11) }).await
}

/// What it costs to survive a power failure.
async fn synchronised(effort: Effort, report: &mut Report, tasks: usize) -> Result<()> {
    let (operation, sessions) = (Operation::Save, 1_000);
    let contenders: Vec<Arc<dyn Contender>> = vec![
        Arc::new(bare::Bare::new(operation, sessions, true)),
        Arc::new(ours::Ours::new("session-file, PowerLoss", operation, sessions, Durability::PowerLoss)),
        Arc::new(ours::Ours::new(
            "session-file, ProcessDeath",
            operation,
            sessions,
            Durability::ProcessDeath,
        )),
    ];
    let title = format!("Save with fsync of file and directory, {sessions} sessions of 1 KB");
    let operations = effort.pick(512, 2_560);
    report.contest(Contest { title, contenders, tasks, operations, rounds: effort.pick(3, 11) }).await
}
