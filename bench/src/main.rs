//! Measures our stores beside their peers and beside the bare structures under them.
//!
//! `cargo run --release -- SUITE [--quick] [--only TITLE]` prints Markdown and saves it, with the raw figures as JSON
//! and plots as SVG, under `results/`. `--only` takes the tables whose titles contain the text, and saves nothing. Contenders take turns
//! within each round, so that a machine that slows down slows all of them; ratios are taken within a round, and shown
//! with their spread.

mod codec;
mod direct;
mod file;
mod http;
mod machine;
mod memory;
mod operation;
mod peers;
mod plot;
mod programs;
mod redis;
mod report;
mod rounds;
mod sample;
mod sql;
mod tower;

use anyhow::{Context as _, Result, bail};
use tokio::runtime::{Builder, Runtime};

use crate::report::Report;
use crate::rounds::Effort;

const USAGE: &str = "usage: session-bench SUITE [--quick] [--only TITLE]
suites: all, or one of memory, codec, file, redis, sqlite, postgres, postgres-fsync, mysql, http";

const SUITES: [&str; 9] =
    ["memory", "codec", "file", "redis", "sqlite", "postgres", "postgres-fsync", "mysql", "http"];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let texts: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match texts[..] {
        ["child", "footprint", ..] => return memory::footprint::child(&arguments[2..]),
        ["child", "serve", ..] => return http::serve::child(&arguments[2..]),
        _ => {}
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
    if suite != "all" {
        return runtime(&suite)?.block_on(run(&suite, effort, only));
    }
    // One that cannot run, for want of a server, must not cost the figures of the others.
    let mut failed = Vec::new();
    for suite in SUITES {
        if let Err(error) = runtime(suite)?.block_on(run(suite, effort, only.clone())) {
            eprintln!("{suite}: {error:?}");
            failed.push(suite);
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("not run to the end: {}", failed.join(", ")) }
}

/// Clients of a web server share one thread, so that they leave the others to the server.
fn runtime(suite: &str) -> std::io::Result<Runtime> {
    let mut builder =
        if suite == "http" { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder.enable_all().build()
}

async fn run(suite: &str, effort: Effort, only: Option<String>) -> Result<()> {
    if !SUITES.contains(&suite) {
        bail!(USAGE);
    }
    let mut report = Report::new(suite, effort, only);
    match suite {
        "memory" => memory::run(effort, &mut report).await?,
        "codec" => codec::run(effort, &mut report).await?,
        "file" => file::run(effort, &mut report).await?,
        "redis" => redis::run(effort, &mut report).await?,
        "sqlite" => sql::run(sql::Database::Sqlite, effort, &mut report).await?,
        "postgres" => sql::run(sql::Database::Postgres, effort, &mut report).await?,
        "postgres-fsync" => sql::run(sql::Database::PostgresFsync, effort, &mut report).await?,
        "mysql" => sql::run(sql::Database::MySql, effort, &mut report).await?,
        _ => http::run(effort, &mut report).await?,
    }
    report.save()
}
