//! Peers on a version of sqlx whose SQLite cannot be linked beside ours, and pavex. The benchmarks start this program for
//! each contest, with `URL PEER OPERATION SESSIONS`; it fills its table, says `ready`, and then answers each line
//! `TASK TASKS OPERATIONS` with `TASK` and the sampled times in nanoseconds, so that it takes its turns as others do.
//! `fill` makes it begin with a new, filled store.

mod pavex;
#[path = "../../src/rounds.rs"]
#[allow(dead_code, reason = "written for the benchmarks")]
mod rounds;
#[path = "../../src/sample.rs"]
#[allow(dead_code, reason = "written for the benchmarks")]
mod sample;
mod tower;

use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use rounds::{Contender, Job};
use sqlx::mysql::MySqlPoolOptions;
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tokio::io::{AsyncBufReadExt as _, BufReader};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Load,
    Save,
    Create,
    ChangeId,
    Touch,
}

/// A pool with sqlx's defaults: ten connections.
#[derive(Clone)]
pub(crate) enum Pool {
    /// None: the sessions are in this process.
    Memory,
    Sqlite(sqlx::SqlitePool),
    Postgres(sqlx::PgPool),
    MySql(sqlx::MySqlPool),
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, name, operation, sessions] = arguments.as_slice() else {
        bail!("usage: session-bench-peers URL PEER OPERATION SESSIONS");
    };
    let (pool, sessions) = (open(url).await?, sessions.parse()?);
    let operation = match operation.as_str() {
        "Load" => Operation::Load,
        "Save" => Operation::Save,
        "Create" => Operation::Create,
        "ChangeId" => Operation::ChangeId,
        "Touch" => Operation::Touch,
        other => bail!("no operation is called {other}"),
    };
    let mut peer = filled(name, &pool, operation, sessions).await?;
    println!("ready");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        if line == "fill" {
            // Before the new one, so that memory holds one of them.
            drop(peer);
            peer = filled(name, &pool, operation, sessions).await?;
            println!("{}", usize::MAX);
            continue;
        }
        let (job, peer) = (parse(&line)?, peer.clone());
        tokio::spawn(async move {
            match peer.run(job).await {
                Ok(tally) => {
                    let times: Vec<_> = tally.nanoseconds().map(|time| time.to_string()).collect();
                    println!("{} {}", job.task, times.join(" "));
                }
                Err(error) => println!("error {error:?}"),
            }
        });
    }
    Ok(())
}

async fn filled(peer: &str, pool: &Pool, operation: Operation, sessions: u64) -> Result<Arc<dyn Contender>> {
    match peer {
        "tower" => tower::filled(pool.clone(), operation, sessions).await,
        "pavex" => Ok(Arc::new(pavex::Pavex::filled(pool.clone(), operation, sessions).await?)),
        other => bail!("no peer is called {other}"),
    }
}

fn parse(line: &str) -> Result<Job> {
    let numbers: Vec<usize> = line.split(' ').map(usize::from_str).collect::<Result<_, _>>()?;
    let [task, tasks, operations] = numbers[..] else { bail!("not a job: {line}") };
    Ok(Job { task, tasks, operations })
}

async fn open(url: &str) -> Result<Pool> {
    match url.split(':').next().context("no scheme")? {
        "memory" => Ok(Pool::Memory),
        "sqlite" => {
            let options = SqliteConnectOptions::from_str(url)?.create_if_missing(true);
            let options = options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Normal);
            Ok(Pool::Sqlite(SqlitePoolOptions::new().connect_with(options).await?))
        }
        "postgres" => Ok(Pool::Postgres(PgPoolOptions::new().connect(url).await?)),
        _ => Ok(Pool::MySql(MySqlPoolOptions::new().connect(url).await?)),
    }
}
