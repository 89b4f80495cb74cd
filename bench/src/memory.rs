//! Sessions in memory.

pub(crate) mod footprint;
mod operations;
mod owners;
mod peers;
mod requests;
mod sweep;

use anyhow::Result;

use crate::report::Report;
use crate::rounds::Effort;

pub(crate) async fn run(effort: Effort, report: &mut Report) -> Result<()> {
    operations::run(effort, report).await?;
    requests::run(effort, report).await?;
    owners::run(effort, report).await?;
    sweep::run(effort, report).await?;
    footprint::run(effort, report)
}
