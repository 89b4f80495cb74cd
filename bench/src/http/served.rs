//! A server under load: 64 connections, each with sixteen sessions of its own, every answer checked.

use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, OnceCell};
use tokio::task::JoinSet;

use super::client::Connection;
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
}

impl Handler {
    pub(crate) const ALL: [Self; 3] = [Self::Untouched, Self::Read, Self::Counter];

    fn path(self) -> &'static str {
        match self {
            Self::Untouched => "/untouched",
            Self::Read => "/read",
            Self::Counter => "/counter",
        }
    }
}

/// A server, started when it is first needed, and stopped when this is dropped.
pub(crate) struct Server {
    name: &'static str,
    sessions: bool,
    command: std::sync::Mutex<Command>,
    running: OnceCell<Running>,
}

struct Running {
    port: u16,
    visitors: Vec<Arc<Mutex<Visitor>>>,
    _child: Child,
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
        let command = std::sync::Mutex::new(command);
        Arc::new(Self { name, sessions: true, command, running: OnceCell::new() })
    }

    /// One whose answers do not depend on the cookie.
    pub(crate) fn without_sessions(name: &'static str, command: Command) -> Arc<Self> {
        let command = std::sync::Mutex::new(command);
        Arc::new(Self { name, sessions: false, command, running: OnceCell::new() })
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
        Ok(Running { port, visitors, _child: child })
    }

    /// Whether each session holds as many visits as were answered.
    pub(crate) async fn verify(&self) -> Result<()> {
        let Some(running) = self.running.get().filter(|_| self.sessions) else { return Ok(()) };
        for visitor in &running.visitors {
            let visitor = &mut *visitor.lock().await;
            visitor.connection = Connection::open(running.port).await?;
            for session in &visitor.sessions {
                let answer = visitor.connection.get("/visits", &session.cookie).await?;
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
                let answer = visitor.connection.get("/fill", "nothing=yet").await?;
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
        let answer = self.connection.get(handler.path(), &session.cookie).await?;
        match handler {
            Handler::Untouched => ensure!(answer.body == "hello", "answered {}", answer.body),
            Handler::Read => ensure!(answer.body == sample::READ_VALUE, "answered {}", answer.body),
            Handler::Counter => {
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
        let done: Result<Tally> =
            async { repeat!(job, |n| visitor.visit(self.handler, n, checked).await?) }.await;
        done.with_context(|| format!("{} on {}", self.handler.path(), self.server.name))
    }
}
