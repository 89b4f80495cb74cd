//! tower-sessions-sqlx-store and the stores of pavex. They use an older sqlx, whose SQLite cannot be linked into the
//! program that has ours, and another matcher of paths than axum; so they run in one of their own, `peers/`, and take
//! their turns there.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{Mutex, OnceCell, oneshot};

use crate::programs;
use crate::rounds::{Contender, Job, Tally};
use crate::sql::Place;

pub(crate) struct Peer {
    name: &'static str,
    peer: &'static str,
    at: At,
    operation: String,
    sessions: u64,
    process: OnceCell<Process>,
}

enum At {
    /// In the memory of its process, filled anew for each round.
    Memory,
    /// In a database of its own.
    Place(Arc<Place>),
}

struct Process {
    stdin: Mutex<ChildStdin>,
    waiting: Arc<Waiting>,
    _child: Child,
}

type Waiting = std::sync::Mutex<HashMap<usize, oneshot::Sender<Tally>>>;

/// The operations are those of `peers/`, by name.
impl Peer {
    pub(crate) fn tower(place: Arc<Place>, operation: String, sessions: u64) -> Self {
        Self::new("tower-sessions-sqlx-store", "tower", At::Place(place), operation, sessions)
    }

    pub(crate) fn pavex(place: Arc<Place>, operation: String, sessions: u64) -> Self {
        Self::new("pavex_session_sqlx", "pavex", At::Place(place), operation, sessions)
    }

    pub(crate) fn pavex_in_memory(operation: String, sessions: u64) -> Self {
        Self::new("pavex memory", "pavex", At::Memory, operation, sessions)
    }

    fn new(name: &'static str, peer: &'static str, at: At, operation: String, sessions: u64) -> Self {
        Self { name, peer, at, operation, sessions, process: OnceCell::new() }
    }

    async fn start(&self) -> Result<Process> {
        let url = match &self.at {
            At::Memory => "memory:".to_owned(),
            At::Place(place) => place.database().await?,
        };
        let mut child = Command::new(programs::build("peers", "session-bench-peers", "SESSION_BENCH_PEERS")?)
            .args([&url, self.peer, &self.operation, &self.sessions.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = Mutex::new(child.stdin.take().context("no pipe")?);
        let mut lines = BufReader::new(child.stdout.take().context("no pipe")?).lines();
        let ready = lines.next_line().await?;
        ensure!(ready.as_deref() == Some("ready"), "{} did not start: {ready:?}", self.name);
        let waiting = Arc::new(Waiting::default());
        tokio::spawn(answers(lines, waiting.clone()));
        Ok(Process { stdin, waiting, _child: child })
    }
}

/// What answers "fill", in place of the number of a task.
const FILLED: usize = usize::MAX;

impl Peer {
    async fn ask(&self, process: &Process, who: usize, line: String) -> Result<Tally> {
        let (sender, answer) = oneshot::channel();
        process.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(who, sender);
        process.stdin.lock().await.write_all(format!("{line}\n").as_bytes()).await?;
        answer.await.with_context(|| format!("{} failed", self.name))
    }
}

/// Hands each answer to the task that waits for it. The others learn that there is none when this ends.
async fn answers(mut lines: Lines<BufReader<ChildStdout>>, waiting: Arc<Waiting>) {
    while let Ok(Some(line)) = lines.next_line().await {
        let numbers: Result<Vec<u64>, _> = line.split_ascii_whitespace().map(str::parse).collect();
        let Some((task, times)) = numbers.as_ref().ok().and_then(|numbers| numbers.split_first()) else {
            eprintln!("{line}");
            break;
        };
        let mut tally = Tally::default();
        times.iter().for_each(|time| tally.add(Duration::from_nanos(*time)));
        let one = waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&(*task as usize));
        if let Some(one) = one {
            let _ = one.send(tally);
        }
    }
    waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
}

#[async_trait]
impl Contender for Peer {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn reset(&self) -> Result<()> {
        let running = self.process.initialized();
        let process = self.process.get_or_try_init(|| self.start()).await?;
        if running && matches!(self.at, At::Memory) && self.operation != "Load" {
            self.ask(process, FILLED, "fill".to_owned()).await?;
        }
        Ok(())
    }

    async fn run(&self, job: Job) -> Result<Tally> {
        let process = self.process.get().context("not reset")?;
        self.ask(process, job.task, format!("{} {} {}", job.task, job.tasks, job.operations)).await
    }
}
