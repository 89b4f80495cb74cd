//! Brings a command to the server that answers for its key, and says what became of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::{Cmd, Pipeline, Value, cmd};
use session_core::{Error, Result};
use tokio::time::{Instant, sleep};

use crate::address::Place;
use crate::cluster::Cluster;
use crate::config::RedisConfig;
use crate::error::{self, Fault};
use crate::layout::Layout;
use crate::link::{Link, Live, Role};
use crate::script::{self, Script};
use crate::sentinel::Sentinel;

/// A command, and what must be known to send it again.
pub(crate) struct Request {
    command: Cmd,
    script: Option<&'static Script>,
    effect: Effect,
    /// Whether the server must have a compare-and-set of its own.
    compares: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Changes nothing, so that it can be repeated when the answer was lost.
    Read,
    /// Never repeated once it may have been executed: between the two another write could come, and the second
    /// answer would be a lie about the first.
    Write,
}

impl Request {
    pub(crate) fn into_command(self) -> Cmd {
        self.command
    }

    pub(crate) fn read(command: Cmd) -> Self {
        Self { command, script: None, effect: Effect::Read, compares: false }
    }

    pub(crate) fn write(command: Cmd) -> Self {
        Self { command, script: None, effect: Effect::Write, compares: false }
    }

    /// A `SET .. IFEQ`. A server that does not know it is not sent it; the answer is that of one that found another
    /// value.
    pub(crate) fn compare_and_set(command: Cmd) -> Self {
        Self { compares: true, ..Self::write(command) }
    }

    pub(crate) fn script(script: &'static Script, keys: &[&str], args: &[&[u8]]) -> Self {
        let command = script.call(keys, args);
        Self { command, script: Some(script), effect: Effect::Write, compares: false }
    }
}

#[derive(Debug)]
pub(crate) struct Router {
    servers: Servers,
    timeout: Duration,
    wait: Option<(usize, Duration)>,
    /// Whether a server with a compare-and-set of its own has been met.
    compares: AtomicBool,
}

#[derive(Debug)]
enum Servers {
    One(Arc<Link>),
    Sentinel(Sentinel),
    Cluster(Box<Cluster>),
}

/// What to do after a fault.
enum Next {
    Fail(Error),
    /// Send it again; whoever answers for the key may be somebody else by then.
    Again,
    /// As `Again`, after a pause.
    Later(Error),
    /// Send it to this server, once.
    Ask(Arc<Link>),
}

impl Router {
    /// The router, and how keys are named there.
    pub(crate) fn new(place: Place, config: &RedisConfig) -> Result<(Self, Layout), Error> {
        let (servers, layout) = match place {
            Place::One(info) => {
                let link = Link::new(*info, config.connect_timeout, Role::Any)?;
                (Servers::One(Arc::new(link)), Layout::new(&config.prefix))
            }
            Place::Sentinel(place) => {
                let sentinel = Sentinel::new(*place, config.connect_timeout)?;
                (Servers::Sentinel(sentinel), Layout::new(&config.prefix))
            }
            Place::Cluster(seeds) => {
                let layout = Layout::spread(&config.prefix)?;
                let cluster = Cluster::new(seeds, config.connect_timeout, &layout)?;
                (Servers::Cluster(Box::new(cluster)), layout)
            }
        };
        let compares = AtomicBool::new(false);
        Ok((Self { servers, timeout: config.timeout, wait: config.wait, compares }, layout))
    }

    /// Whether what is read may be worth remembering for [`Request::compare_and_set`].
    pub(crate) fn compares(&self) -> bool {
        self.compares.load(Ordering::Relaxed)
    }

    fn meet(&self, live: &Live) {
        if live.compares() && !self.compares() {
            self.compares.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.servers, Servers::Cluster(_))
    }

    /// Whether writes have to reach replicas, too.
    pub(crate) fn waits(&self) -> bool {
        self.wait.is_some()
    }

    /// When an exchange that begins now must be over.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout + self.wait.map_or(Duration::ZERO, |(_, within)| within)
    }

    /// The servers that hold sessions.
    pub(crate) async fn masters(&self, deadline: Instant) -> Result<Vec<Arc<Link>>> {
        let failed = |fault: Fault| fault.into_error("the cluster");
        match &self.servers {
            Servers::One(link) => Ok(vec![Arc::clone(link)]),
            Servers::Sentinel(sentinel) => Ok(vec![sentinel.master(deadline).await.map_err(failed)?]),
            Servers::Cluster(cluster) => cluster.masters(deadline).await.map_err(failed),
        }
    }

    /// Which server has which slots, to compare with later; `None` while slots are being moved.
    pub(crate) async fn map(&self, deadline: Instant) -> Result<Option<String>> {
        match &self.servers {
            Servers::Cluster(cluster) => {
                cluster.map(deadline).await.map_err(|fault| fault.into_error("the cluster"))
            }
            Servers::One(_) | Servers::Sentinel(_) => Ok(Some(String::new())),
        }
    }

    /// Sends a request to the server that answers for `shard`, again where that is safe, until `deadline`.
    pub(crate) async fn run(&self, shard: usize, request: &Request, deadline: Instant) -> Result<Value> {
        self.run_in((), shard, request, deadline).await
    }

    /// The same in a place, which is given up with the first answer, or when there is something to wait for.
    pub(crate) async fn run_in<P>(
        &self,
        place: P,
        shard: usize,
        request: &Request,
        deadline: Instant,
    ) -> Result<Value> {
        let Some((link, mut live)) = self.at_hand(shard, request) else {
            drop(place);
            return Box::pin(self.insist(shard, request, deadline, None)).await;
        };
        let sent = link.one_on(&mut live, &request.command, deadline).await;
        drop(place);
        match sent {
            Ok(value) => Ok(value),
            Err(fault) => Box::pin(self.insist(shard, request, deadline, Some((link, fault)))).await,
        }
    }

    /// The connection for a request that is a single command, if there is nothing to wait for.
    fn at_hand(&self, shard: usize, request: &Request) -> Option<(Arc<Link>, Live)> {
        if self.wait.is_some() && request.effect == Effect::Write {
            return None;
        }
        let link = match &self.servers {
            Servers::One(link) => Arc::clone(link),
            Servers::Sentinel(sentinel) => sentinel.known_master()?,
            Servers::Cluster(cluster) => cluster.known_owner(shard)?,
        };
        let live = link.current()?;
        self.meet(&live);
        (live.compares() || !request.compares).then_some((link, live))
    }

    /// The one server and its connection, for who does not come again.
    pub(crate) async fn here(&self, deadline: Instant) -> Result<(Arc<Link>, Live), Fault> {
        let link = self.link(0, deadline).await?;
        let live = link.live(deadline).await?;
        self.meet(&live);
        Ok((link, live))
    }

    /// The same as often as it takes. The first time may be over, and have ended in a fault.
    async fn insist(
        &self,
        shard: usize,
        request: &Request,
        deadline: Instant,
        mut first: Option<(Arc<Link>, Fault)>,
    ) -> Result<Value> {
        let mut asked = None;
        let mut tries = 0_u32;
        loop {
            let (link, sent) = match first.take() {
                Some((link, fault)) => (Some(link), Err(fault)),
                None => self.attempt(shard, request, asked.take(), deadline).await,
            };
            let fault = match sent {
                Ok(value) => return Ok(value),
                Err(fault) => fault,
            };
            tries += 1;
            match self.next(link.as_ref(), shard, fault, request, tries, deadline).await {
                Next::Fail(error) => return Err(error),
                Next::Again => {}
                Next::Ask(link) => asked = Some(link),
                Next::Later(error) => {
                    let pause = Duration::from_millis(u64::from(tries.min(10)) * 5);
                    if Instant::now() + pause >= deadline {
                        return Err(error);
                    }
                    sleep(pause).await;
                }
            }
        }
    }

    async fn attempt(
        &self,
        shard: usize,
        request: &Request,
        asked: Option<Arc<Link>>,
        deadline: Instant,
    ) -> (Option<Arc<Link>>, Result<Value, Fault>) {
        let ask = asked.is_some();
        let link = match asked {
            Some(link) => Ok(link),
            None => self.link(shard, deadline).await,
        };
        match link {
            Ok(link) => {
                let sent = self.send(&link, ask, request, deadline).await;
                (Some(link), sent)
            }
            Err(fault) => (None, Err(fault)),
        }
    }

    async fn link(&self, shard: usize, deadline: Instant) -> Result<Arc<Link>, Fault> {
        match &self.servers {
            Servers::One(link) => Ok(Arc::clone(link)),
            Servers::Sentinel(sentinel) => sentinel.master(deadline).await,
            Servers::Cluster(cluster) => cluster.owner(shard, deadline).await,
        }
    }

    async fn next(
        &self,
        link: Option<&Arc<Link>>,
        shard: usize,
        fault: Fault,
        request: &Request,
        tries: u32,
        deadline: Instant,
    ) -> Next {
        let server = link.map_or("the servers", |link| link.name());
        if let (Some(script), Some(link)) = (request.script, link)
            && script::is_unknown(&fault)
        {
            return match link.one(&script.load(), deadline).await {
                Ok(_) if tries < 10 => Next::Again,
                Ok(_) => Next::Fail(fault.into_error(server)),
                Err(fault) => Next::Fail(fault.into_error(server)),
            };
        }
        if let (Servers::Cluster(cluster), Fault::Refused(source)) = (&self.servers, &fault)
            && let Some((address, _)) = source.redirect_node()
        {
            let target = cluster.link_to(address, server);
            return match (target, source.code()) {
                (Err(error), _) => Next::Fail(error),
                (Ok(link), Some("ASK")) => Next::Ask(link),
                (Ok(link), _) => {
                    cluster.moved(shard, link);
                    Next::Again
                }
            };
        }
        let several = !matches!(self.servers, Servers::One(_));
        let elsewhere = is_elsewhere(&fault);
        if several && elsewhere {
            self.doubt(link);
        }
        match fault {
            Fault::Lost(error) if request.effect == Effect::Write || Instant::now() >= deadline => {
                Next::Fail(error)
            }
            Fault::Lost(_) if tries == 1 => Next::Again,
            Fault::Lost(error) | Fault::NotSent(error) if several => Next::Later(error),
            fault if several && elsewhere => Next::Later(fault.into_error(server)),
            fault => Next::Fail(fault.into_error(server)),
        }
    }

    /// What is to be made of a fault by who does not come again.
    pub(crate) fn doubt_after(&self, link: &Arc<Link>, fault: &Fault) {
        if is_elsewhere(fault) {
            self.doubt(Some(link));
        }
    }

    /// The server may not be the right one any more.
    fn doubt(&self, link: Option<&Arc<Link>>) {
        match &self.servers {
            Servers::One(_) => {}
            Servers::Sentinel(sentinel) => sentinel.doubt(link),
            Servers::Cluster(cluster) => cluster.doubt(),
        }
    }

    async fn send(
        &self,
        link: &Link,
        ask: bool,
        request: &Request,
        deadline: Instant,
    ) -> Result<Value, Fault> {
        let wait = self.wait.filter(|_| request.effect == Effect::Write);
        let mut live = link.live(deadline).await?;
        self.meet(&live);
        if request.compares && !live.compares() {
            return Ok(Value::Nil);
        }
        if wait.is_none() && !ask {
            return link.one_on(&mut live, &request.command, deadline).await;
        }
        let mut commands = Pipeline::new();
        if ask {
            commands.add_command(cmd("ASKING"));
        }
        commands.add_command(request.command.clone());
        if let Some((replicas, within)) = wait {
            let mut wait = cmd("WAIT");
            wait.arg(replicas).arg(within.as_millis().max(1).to_string());
            commands.add_command(wait);
        }
        let mut replies =
            link.many_on(&mut live, &commands, deadline).await?.into_iter().skip(usize::from(ask));
        let reply = replies.next().unwrap_or(Value::Nil).extract_error().map_err(Fault::Refused)?;
        let Some((replicas, _)) = wait else { return Ok(reply) };
        match replies.next().unwrap_or(Value::Nil) {
            Value::Int(got) if usize::try_from(got).is_ok_and(|got| got >= replicas) => Ok(reply),
            Value::Int(got) => Err(Fault::Lost(error::not_replicated(replicas, got))),
            _ => Err(Fault::Lost(error::unexpected_reply())),
        }
    }
}

/// Whether another server may do better.
fn is_elsewhere(fault: &Fault) -> bool {
    match fault {
        Fault::Refused(source) => is_passing(source.code()),
        Fault::NotSent(_) | Fault::Lost(_) => true,
    }
}

/// Errors of servers that did nothing and will be able to, or know of one that is.
fn is_passing(code: Option<&str>) -> bool {
    matches!(code, Some("READONLY" | "MASTERDOWN" | "LOADING" | "CLUSTERDOWN" | "TRYAGAIN"))
}
