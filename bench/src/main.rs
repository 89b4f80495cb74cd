//! Measures our stores beside their peers and beside the bare structures under them.
//!
//! `cargo run --release -- SUITE [--quick] [--only TITLE]` prints Markdown and saves it, with the raw figures as JSON,
//! under `results/`. `--only` takes the tables whose titles contain the text, and saves nothing. Contenders take turns
//! within each round, so that a machine that slows down slows all of them; ratios are taken within a round, and shown
//! with their spread.

mod codec;
mod file;
mod machine;
mod memory;
mod redis;
mod report;
mod rounds;
mod sample;
mod sql;

use anyhow::{Context as _, Result, bail};

use crate::report::Report;
use crate::rounds::Effort;

const USAGE: &str = "usage: session-bench SUITE [--quick] [--only TITLE]
suites: memory, codec, file, redis, sqlite, postgres, postgres-fsync, mysql";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some("child") = arguments.first().map(String::as_str) {
        return memory::footprint::child(&arguments[1..]);
    }
    let (mut suite, mut effort, mut only) = (None, Effort::Full, None);
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => effort = Effort::Quick,
            "--only" => only = Some(arguments.next().context(USAGE)?),
            _ if suite.is_none() => suite = Some(argument),
            _ => bail!(USAGE),
        }
    }
    let suite = suite.context(USAGE)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut report = Report::new(&suite, effort, only);
    match suite.as_str() {
        "memory" => runtime.block_on(memory::run(effort, &mut report))?,
        "file" => runtime.block_on(file::run(effort, &mut report))?,
        "redis" => runtime.block_on(redis::run(effort, &mut report))?,
        "codec" => runtime.block_on(codec::run(effort, &mut report))?,
        "sqlite" => runtime.block_on(sql::run(sql::Database::Sqlite, effort, &mut report))?,
        "postgres" => runtime.block_on(sql::run(sql::Database::Postgres, effort, &mut report))?,
        "postgres-fsync" => runtime.block_on(sql::run(sql::Database::PostgresFsync, effort, &mut report))?,
        "mysql" => runtime.block_on(sql::run(sql::Database::MySql, effort, &mut report))?,
        _ => bail!(USAGE),
    }
    report.save()
}
