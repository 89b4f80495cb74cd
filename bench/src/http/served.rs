//! A server under load: 64 connections, each with sixteen sessions of its own, every answer checked.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, OnceCell};
use tokio::task::JoinSet;

use super::client::Connection;
use crate::machine::processor_time;
use crate::rounds::{Contender, Job, Tally, repeat};
use crate::sample;

pub(crate) const CONNECTIONS: usize = 64;
const SESSIONS_EACH: usize = 16;
pub(crate) const SESSIONS: usize = CONNECTIONS * SESSIONS_EACH;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handler {
    /// Never asks for the session.
    Untouched,
    /// Reads one of the entries.
    Read,
    /// Reads one of the entries, and changes it.
    Counter,
    /// The same, of one session for all connections.
    OneCounter,
}

impl Handler {
    pub(crate) const ALL: [Self; 4] = [Self::Untouched, Self::Read, Self::Counter, Self::OneCounter];

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Untouched => "/untouched",
            Self::Read => "/read",
            Self::Counter | Self::OneCounter => "/counter",
        }
    }
}

/// A server, started when it is first needed, and stopped when this is dropped.
pub(crate) struct Server {
    name: &'static str,
    sessions: bool,
    command: std::sync::Mutex<Command>,
    running: OnceCell<Running>,
    pub(crate) contended: Contended,
}

struct Running {
    port: u16,
    visitors: Vec<Arc<Mutex<Visitor>>>,
    /// The one that all connections share.
    shared: Mutex<Visits>,
    child: Child,
}

/// What became of visits to one session from all connections.
#[derive(Default)]
pub(crate) struct Contended {
    pub(crate) answered: AtomicU64,
    pub(crate) refused: AtomicU64,
}

/// One connection and its sessions, which no other connection has.
struct Visitor {
    connection: Connection,
    sessions: Vec<Visits>,
}

struct Visits {
    cookie: String,
    count: u64,
}

impl Server {
    pub(crate) fn new(name: &'static str, command: Command) -> Arc<Self> {
        Self::with(name, true, command)
    }

    /// One whose answers do not depend on the cookie.
    pub(crate) fn without_sessions(name: &'static str, command: Command) -> Arc<Self> {
        Self::with(name, false, command)
    }

    fn with(name: &'static str, sessions: bool, command: Command) -> Arc<Self> {
        let command = std::sync::Mutex::new(command);
        let contended = Contended::default();
        Arc::new(Self { name, sessions, command, running: OnceCell::new(), contended })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// How many visits the shared session holds.
    pub(crate) async fn shared_visits(&self) -> Result<u64> {
        let running = self.running().await?;
        let shared = running.shared.lock().await;
        let mut connection = Connection::open(running.port).await?;
        Ok(connection.get("/visits", &shared.cookie).await?.right()?.body.parse()?)
    }

    /// Its port, and the cookies of all sessions.
    pub(crate) async fn visitors(&self) -> Result<(u16, Vec<String>)> {
        let running = self.running().await?;
        let mut cookies = Vec::new();
        for visitor in &running.visitors {
            cookies.extend(visitor.lock().await.sessions.iter().map(|session| session.cookie.clone()));
        }
        Ok((running.port, cookies))
    }

    pub(crate) fn on(self: &Arc<Self>, handler: Handler) -> Arc<dyn Contender> {
        Arc::new(On { server: self.clone(), handler })
    }

    async fn running(&self) -> Result<&Running> {
        let start = || async { self.start().await.with_context(|| format!("{} did not start", self.name)) };
        self.running.get_or_try_init(start).await
    }

    async fn start(&self) -> Result<Running> {
        let mut child = {
            let mut command = self.command.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?
        };
        let mut lines = BufReader::new(child.stdout.take().context("no pipe")?).lines();
        let ready = lines.next_line().await?.context("it said nothing")?;
        let port = ready.strip_prefix("ready ").with_context(|| format!("it said {ready}"))?.parse()?;
        let mut filling = JoinSet::new();
        for _ in 0..CONNECTIONS {
            filling.spawn(Visitor::new(port, self.sessions));
        }
        let mut visitors = Vec::new();
        while let Some(visitor) = filling.join_next().await {
            visitors.push(Arc::new(Mutex::new(visitor??)));
        }
        let shared = Visitor::new(port, self.sessions).await?.sessions.swap_remove(0);
        Ok(Running { port, visitors, shared: Mutex::new(shared), child })
    }

    /// Whether each session holds as many visits as were answered.
    pub(crate) async fn verify(&self) -> Result<()> {
        let Some(running) = self.running.get().filter(|_| self.sessions) else { return Ok(()) };
        for visitor in &running.visitors {
            let visitor = &mut *visitor.lock().await;
            visitor.connection = Connection::open(running.port).await?;
            for session in &visitor.sessions {
                let answer = visitor.connection.get("/visits", &session.cookie).await?.right()?;
                let (kept, count) = (answer.body, session.count);
                ensure!(kept.parse() == Ok(count), "{}: {count} visits, {kept} kept", self.name);
            }
        }
        Ok(())
    }
}

impl Visitor {
    async fn new(port: u16, sessions: bool) -> Result<Self> {
        let mut visitor = Self { connection: Connection::open(port).await?, sessions: Vec::new() };
        for _ in 0..SESSIONS_EACH {
            let cookie = if sessions {
                let answer = visitor.connection.get("/fill", "nothing=yet").await?.right()?;
                answer.cookie.context("no cookie was set")?.to_owned()
            } else {
                "__Host-session=AAAAAAAAAAAAAAAAAAAAAA".to_owned()
            };
            visitor.sessions.push(Visits { cookie, count: 0 });
        }
        Ok(visitor)
    }

    async fn visit(&mut self, handler: Handler, n: usize, checked: bool) -> Result<()> {
        let session = &mut self.sessions[n % SESSIONS_EACH];
        let answer = self.connection.get(handler.path(), &session.cookie).await?.right()?;
        match handler {
            Handler::Untouched => ensure!(answer.body == "hello", "answered {}", answer.body),
            Handler::Read => ensure!(answer.body == sample::READ_VALUE, "answered {}", answer.body),
            Handler::Counter | Handler::OneCounter => {
                session.count += 1;
                let right = !checked || answer.body.parse() == Ok(session.count);
                ensure!(right, "visit {} was answered {}", session.count, answer.body);
            }
        }
        // As a browser does.
        if let Some(cookie) = answer.cookie.filter(|cookie| *cookie != session.cookie) {
            session.cookie = cookie.to_owned();
        }
        Ok(())
    }
}

struct On {
    server: Arc<Server>,
    handler: Handler,
}

#[async_trait]
impl Contender for On {
    fn name(&self) -> &'static str {
        self.server.name
    }

    /// Connections that were idle while others had their turns may have been closed.
    async fn reset(&self) -> Result<()> {
        let running = self.server.running().await?;
        for visitor in &running.visitors {
            visitor.lock().await.connection = Connection::open(running.port).await?;
        }
        Ok(())
    }

    async fn run(&self, job: Job) -> Result<Tally> {
        let running = self.server.running().await?;
        let visitor = &mut *running.visitors[job.task].lock().await;
        let checked = self.server.sessions;
        let done: Result<Tally> = if self.handler == Handler::OneCounter {
            let cookie = running.shared.lock().await.cookie.clone();
            let (path, contended) = (self.handler.path(), &self.server.contended);
            async {
                repeat!(job, |_n| {
                    let status = visitor.connection.get(path, &cookie).await?.status;
                    ensure!(status == 200 || status == 503, "status {status}");
                    let count = if status == 200 { &contended.answered } else { &contended.refused };
                    count.fetch_add(1, Ordering::Relaxed);
                })
            }
            .await
        } else {
            async { repeat!(job, |n| visitor.visit(self.handler, n, checked).await?) }.await
        };
        done.with_context(|| format!("{} on {}", self.handler.path(), self.server.name))
    }

    fn processor_time(&self) -> Option<Duration> {
        processor_time(self.server.running.get()?.child.id()?)
    }
}
