//! tower-sessions-sqlx-store and pavex_session_sqlx. They use an older sqlx, whose SQLite cannot be linked into the
//! program that has ours; so they run in one of their own, `peers/`, and take their turns there.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::{Mutex, OnceCell, oneshot};

use super::{Operation, Place};
use crate::rounds::{Contender, Job, Tally};

pub(crate) struct Peer {
    name: &'static str,
    peer: &'static str,
    place: Arc<Place>,
    operation: Operation,
    sessions: u64,
    process: OnceCell<Process>,
}

struct Process {
    stdin: Mutex<ChildStdin>,
    waiting: Arc<Waiting>,
    _child: Child,
}

type Waiting = std::sync::Mutex<HashMap<usize, oneshot::Sender<Tally>>>;

impl Peer {
    pub(crate) fn tower(place: Arc<Place>, operation: Operation, sessions: u64) -> Self {
        Self::new("tower-sessions-sqlx-store", "tower", place, operation, sessions)
    }

    pub(crate) fn pavex(place: Arc<Place>, operation: Operation, sessions: u64) -> Self {
        Self::new("pavex_session_sqlx", "pavex", place, operation, sessions)
    }

    fn new(
        name: &'static str,
        peer: &'static str,
        place: Arc<Place>,
        operation: Operation,
        sessions: u64,
    ) -> Self {
        Self { name, peer, place, operation, sessions, process: OnceCell::new() }
    }

    async fn start(&self) -> Result<Process> {
        let url = self.place.database().await?;
        let mut child = tokio::process::Command::new(program()?)
            .args([&url, self.peer, &format!("{:?}", self.operation), &self.sessions.to_string()])
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

/// Builds the program of the peers, which has a lock file of its own; or takes the one that `SESSION_BENCH_PEERS` names.
fn program() -> Result<PathBuf> {
    if let Some(built) = std::env::var_os("SESSION_BENCH_PEERS") {
        return Ok(built.into());
    }
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--locked", "--message-format=json", "--manifest-path"])
        .arg(manifest)
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        bail!("the peers cannot be built");
    }
    String::from_utf8(output.stdout)?
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)))
        .context("cargo did not say where the peers' program is")
}

#[async_trait]
impl Contender for Peer {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn reset(&self) -> Result<()> {
        self.process.get_or_try_init(|| self.start()).await?;
        Ok(())
    }

    async fn run(&self, job: Job) -> Result<Tally> {
        let process = self.process.get().context("not reset")?;
        let (sender, answer) = oneshot::channel();
        process.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(job.task, sender);
        let line = format!("{} {} {}\n", job.task, job.tasks, job.operations);
        process.stdin.lock().await.write_all(line.as_bytes()).await?;
        answer.await.with_context(|| format!("{} failed", self.name))
    }
}
