//! The master that a set of Sentinels agree on.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use redis::{ConnectionAddr, Pipeline, Value};
use session_core::Error;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, timeout_at};

use crate::address::SentinelPlace;
use crate::error::{self, Fault};
use crate::link::{Link, Role};

/// How old the Sentinels' word may be. After a failover the old master may take writes for ten seconds more, which are
/// then lost: its own answers do not tell.
const CURRENT: Duration = Duration::from_millis(250);

/// How long the first answer waits for those of other Sentinels: they may know of a later election. Who has not answered
/// is not waited for again before it has.
const GRACE: Duration = Duration::from_millis(300);

#[derive(Debug)]
pub(crate) struct Sentinel(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    place: SentinelPlace,
    sentinels: Vec<Arc<Witness>>,
    connect_timeout: Duration,
    known: RwLock<Option<Known>>,
    asking: Mutex<()>,
}

#[derive(Debug)]
struct Witness {
    link: Link,
    /// It owes an answer, or gave none the last time.
    silent: AtomicBool,
}

/// What a Sentinel says about the master.
struct Word {
    /// Counts elections.
    epoch: u64,
    host: String,
    port: u16,
}

#[derive(Clone, Debug)]
struct Known {
    master: Arc<Link>,
    since: Instant,
}

impl Sentinel {
    pub(crate) fn new(place: SentinelPlace, connect_timeout: Duration) -> Result<Self, Error> {
        let witness = |info: &redis::ConnectionInfo| {
            let link = Link::new(info.clone(), connect_timeout, Role::Any)?;
            Ok(Arc::new(Witness { link, silent: AtomicBool::new(false) }))
        };
        let sentinels = place.sentinels.iter().map(witness).collect::<Result<_, Error>>()?;
        let (known, asking) = (RwLock::new(None), Mutex::new(()));
        Ok(Self(Arc::new(Inner { place, sentinels, connect_timeout, known, asking })))
    }

    /// The master. While it is known, and a word of the Sentinels is on its way, nobody waits.
    pub(crate) async fn master(&self, deadline: Instant) -> Result<Arc<Link>, Fault> {
        match self.known_master() {
            Some(master) => Ok(master),
            None => self.0.ask(deadline).await,
        }
    }

    /// The master, if a word of the Sentinels about it is recent.
    pub(crate) fn known_master(&self) -> Option<Arc<Link>> {
        let known = self.0.known.read();
        let known = known.as_ref().filter(|known| known.since.elapsed() < CURRENT)?;
        Some(Arc::clone(&known.master))
    }

    /// The master may be another one: the next caller asks.
    pub(crate) fn doubt(&self, link: Option<&Arc<Link>>) {
        let mut known = self.0.known.write();
        if link.is_none_or(|link| known.as_ref().is_some_and(|known| Arc::ptr_eq(&known.master, link))) {
            *known = None;
        }
    }
}

impl Inner {
    async fn ask(&self, deadline: Instant) -> Result<Arc<Link>, Fault> {
        let Ok(_guard) = timeout_at(deadline, self.asking.lock()).await else {
            return Err(Fault::NotSent(error::no_master(&self.place.name)));
        };
        let before = self.known.read().clone();
        if let Some(known) = before.as_ref().filter(|known| known.since.elapsed() < CURRENT) {
            return Ok(Arc::clone(&known.master));
        }
        let asked = Instant::now();
        let Word { host, port, .. } = self.last_elected(deadline).await?;
        let name = format!("{host}:{port}");
        let master = match before {
            Some(known) if known.master.name() == name => known.master,
            _ => self.link(host, port).map_err(Fault::NotSent)?,
        };
        *self.known.write() = Some(Known { master: Arc::clone(&master), since: asked });
        Ok(master)
    }

    /// The word of the Sentinel that knows of the latest election.
    async fn last_elected(&self, deadline: Instant) -> Result<Word, Fault> {
        let (say, mut said) = mpsc::unbounded_channel();
        let mut awaited = Vec::new();
        for (at, sentinel) in self.sentinels.iter().enumerate() {
            if !sentinel.silent.swap(true, Ordering::Relaxed) {
                awaited.push(at);
            }
            let (sentinel, name, say) = (Arc::clone(sentinel), self.place.name.clone(), say.clone());
            // Each in a task of its own: one that is slow is heard the next time.
            tokio::spawn(async move {
                let word = sentinel.ask(&name, deadline).await;
                sentinel.silent.store(word.is_err(), Ordering::Relaxed);
                // Nobody listens any more.
                let _ = say.send((at, word));
            });
        }
        drop(say);
        let (mut best, mut fault, mut until) = (None::<Word>, None, deadline);
        while best.is_none() || !awaited.is_empty() {
            // No more answers, or not in time.
            let Ok(Some((at, word))) = timeout_at(until, said.recv()).await else { break };
            awaited.retain(|awaited| *awaited != at);
            match word {
                Ok(word) => {
                    until = until.min(Instant::now() + GRACE);
                    if best.as_ref().is_none_or(|best| best.epoch < word.epoch) {
                        best = Some(word);
                    }
                }
                Err(failed) => fault = Some(failed),
            }
        }
        best.ok_or_else(|| match fault {
            Some(fault) => Fault::NotSent(fault.into_error("the sentinels")),
            None => Fault::NotSent(error::no_master(&self.place.name)),
        })
    }

    fn link(&self, host: String, port: u16) -> Result<Arc<Link>, Error> {
        let address = match self.place.server.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        let info = self.place.server.clone().set_addr(address);
        Link::new(info, self.connect_timeout, Role::Master).map(Arc::new)
    }
}

impl Witness {
    /// The address as it is at once after an election, and the number of that election.
    async fn ask(&self, name: &str, deadline: Instant) -> Result<Word, Fault> {
        let mut live = self.link.live(deadline).await?;
        let mut questions = Pipeline::new();
        questions.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name);
        questions.cmd("SENTINEL").arg("MASTER").arg(name);
        let answers = self.link.many_on(&mut live, &questions, deadline).await?;
        let unexpected = || Fault::NotSent(error::unexpected_reply());
        let Ok([address, master]) = <[Value; 2]>::try_from(answers) else { return Err(unexpected()) };
        let address = address.extract_error().map_err(Fault::Refused)?;
        if address == Value::Nil {
            return Err(Fault::NotSent(error::no_master(name)));
        }
        let master = master.extract_error().map_err(Fault::Refused)?;
        let (host, port): (String, String) = redis::from_redis_value(address).map_err(|_| unexpected())?;
        let master: HashMap<String, String> = redis::from_redis_value(master).map_err(|_| unexpected())?;
        let epoch = master.get("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
        Ok(Word { epoch, host, port: port.parse().map_err(|_| unexpected())? })
    }
}
