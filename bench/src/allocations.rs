//! Counts the allocations of one request. A program of its own, because it takes an allocator that counts.

mod direct;
#[allow(dead_code, reason = "written for the benchmarks")]
mod rounds;
#[allow(dead_code, reason = "written for the benchmarks")]
mod sample;

use anyhow::{Context as _, Result};
use rounds::Job;

/// Enough that each session has been visited, and that what grows now and then does not show.
const CALLS: usize = 8_192;

/// Prints a line for each contender: its allocations for a request, and its name.
fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let job = Job { task: 0, tasks: 1, operations: CALLS };
    for contender in runtime.block_on(direct::contenders())? {
        runtime.block_on(contender.run(job))?;
        let mut done = None;
        let used = allocation_counter::measure(|| done = Some(runtime.block_on(contender.run(job))));
        done.context("it did not run")??;
        println!("{} {}", used.count_total as f64 / CALLS as f64, contender.name());
    }
    Ok(())
}
