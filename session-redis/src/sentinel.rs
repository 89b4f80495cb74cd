//! The master that a set of Sentinels agree on.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_ok;
use parking_lot::RwLock;
use redis::{ConnectionAddr, Value, cmd};
use session_core::Error;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::address::SentinelPlace;
use crate::error::{self, Fault};
use crate::link::{Link, Role};

/// How old the Sentinels' word may be. After a failover the old master may take writes for ten seconds more, which are
/// then lost: its own answers do not tell.
const CURRENT: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(crate) struct Sentinel(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    place: SentinelPlace,
    sentinels: Vec<Arc<Link>>,
    connect_timeout: Duration,
    known: RwLock<Option<Known>>,
    asking: Mutex<()>,
}

#[derive(Clone, Debug)]
struct Known {
    master: Arc<Link>,
    since: Instant,
}

impl Sentinel {
    pub(crate) fn new(place: SentinelPlace, connect_timeout: Duration) -> Result<Self, Error> {
        let link =
            |info: &redis::ConnectionInfo| Link::new(info.clone(), connect_timeout, Role::Any).map(Arc::new);
        let sentinels = place.sentinels.iter().map(link).collect::<Result<_, _>>()?;
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
        let answers = self.sentinels.iter().map(|sentinel| Box::pin(self.ask_one(sentinel, deadline)));
        let (host, port) =
            select_ok(answers).await.map_err(|fault| Fault::NotSent(fault.into_error("the sentinels")))?.0;
        let name = format!("{host}:{port}");
        let master = match before {
            Some(known) if known.master.name() == name => known.master,
            _ => self.link(host, port).map_err(Fault::NotSent)?,
        };
        *self.known.write() = Some(Known { master: Arc::clone(&master), since: asked });
        Ok(master)
    }

    async fn ask_one(&self, sentinel: &Link, deadline: Instant) -> Result<(String, u16), Fault> {
        let mut question = cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.place.name);
        match sentinel.one(&question, deadline).await? {
            Value::Nil => Err(Fault::NotSent(error::no_master(&self.place.name))),
            answer => {
                let (host, port): (String, String) =
                    redis::from_redis_value(answer).map_err(|_| Fault::NotSent(error::unexpected_reply()))?;
                let port = port.parse().map_err(|_| Fault::NotSent(error::unexpected_reply()))?;
                Ok((host, port))
            }
        }
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
