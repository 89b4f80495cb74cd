//! Measures our stores beside their peers and beside the bare structures under them.
//!
//! `cargo run --release -- memory [--quick]` prints Markdown and saves it, with the raw figures as JSON, under
//! `results/`. Contenders take turns within each round, so that a machine that slows down slows all of them; ratios
//! are taken within a round, and shown with their spread.

mod machine;
mod memory;
mod report;
mod rounds;
mod sample;

use anyhow::{Result, bail};

use crate::report::Report;
use crate::rounds::Effort;

const USAGE: &str = "usage: session-bench memory [--quick]";

fn main() -> Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some("child") = arguments.first().map(String::as_str) {
        return memory::footprint::child(&arguments[1..]);
    }
    let before = arguments.len();
    arguments.retain(|argument| argument != "--quick");
    let effort = if arguments.len() < before { Effort::Quick } else { Effort::Full };
    let [suite] = arguments.as_slice() else { bail!(USAGE) };

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut report = Report::new(suite, effort);
    match suite.as_str() {
        "memory" => runtime.block_on(memory::run(effort, &mut report))?,
        _ => bail!(USAGE),
    }
    report.save()
}
