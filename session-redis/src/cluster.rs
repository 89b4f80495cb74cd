//! The servers of a cluster, and which of them answers for which shard.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{select_ok, try_join_all};
use parking_lot::RwLock;
use redis::{ConnectionAddr, ConnectionInfo, Value, cmd};
use session_core::Error;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::error::{self, Fault};
use crate::layout::Layout;
use crate::link::{Link, Role};

#[derive(Debug)]
pub(crate) struct Cluster {
    /// How to reach a server of the cluster, but for its address.
    like: ConnectionInfo,
    seeds: Vec<Arc<Link>>,
    connect_timeout: Duration,
    /// The slot of each shard.
    slots: Vec<u16>,
    /// Links by address, kept for as long as a server has slots.
    links: RwLock<HashMap<String, Arc<Link>>>,
    /// Who answers for each shard; empty before the cluster was asked.
    owners: RwLock<Vec<Option<Arc<Link>>>>,
    doubted: AtomicBool,
    asking: Mutex<()>,
}

/// A part of the slots and the address of its master.
struct Range {
    slots: std::ops::RangeInclusive<u16>,
    address: String,
}

impl Cluster {
    pub(crate) fn new(
        seeds: Vec<ConnectionInfo>,
        connect_timeout: Duration,
        layout: &Layout,
    ) -> Result<Self, Error> {
        let like = seeds.first().cloned().ok_or_else(|| error::invalid_config("the url names no server"))?;
        let link = |info| Link::new(info, connect_timeout, Role::Any).map(Arc::new);
        let seeds = seeds.into_iter().map(link).collect::<Result<_, _>>()?;
        Ok(Self {
            like,
            seeds,
            connect_timeout,
            slots: (0..layout.shards()).map(|shard| layout.slot(shard)).collect(),
            links: RwLock::default(),
            owners: RwLock::default(),
            doubted: AtomicBool::new(true),
            asking: Mutex::new(()),
        })
    }

    /// The server that answers for a shard, as far as is known.
    pub(crate) async fn owner(&self, shard: usize, deadline: Instant) -> Result<Arc<Link>, Fault> {
        if self.doubted.load(Ordering::Acquire) {
            self.ask(deadline).await?;
        }
        self.noted(shard).ok_or_else(|| {
            self.doubt();
            Fault::NotSent(error::no_owner())
        })
    }

    /// The same, if nothing has to be asked.
    pub(crate) fn known_owner(&self, shard: usize) -> Option<Arc<Link>> {
        if self.doubted.load(Ordering::Acquire) { None } else { self.noted(shard) }
    }

    fn noted(&self, shard: usize) -> Option<Arc<Link>> {
        self.owners.read().get(shard).cloned().flatten()
    }

    /// The map may be wrong: the next caller asks for it.
    pub(crate) fn doubt(&self) {
        self.doubted.store(true, Ordering::Release);
    }

    /// A server said who answers for a shard.
    pub(crate) fn moved(&self, shard: usize, link: Arc<Link>) {
        if let Some(owner) = self.owners.write().get_mut(shard) {
            *owner = Some(link);
        }
        self.doubt();
    }

    /// All masters that have slots, asked for anew.
    pub(crate) async fn masters(&self, deadline: Instant) -> Result<Vec<Arc<Link>>, Fault> {
        self.doubt();
        self.ask(deadline).await?;
        let mut masters: Vec<Arc<Link>> = Vec::new();
        for owner in self.owners.read().iter().flatten() {
            if !masters.iter().any(|known| Arc::ptr_eq(known, owner)) {
                masters.push(Arc::clone(owner));
            }
        }
        Ok(masters)
    }

    /// What each master says about its own slots; `None` when one of them is moving some.
    pub(crate) async fn map(&self, deadline: Instant) -> Result<Option<String>, Fault> {
        let mut nodes = cmd("CLUSTER");
        nodes.arg("NODES");
        let masters = self.masters(deadline).await?;
        let answers = masters.iter().map(|link| link.one(&nodes, deadline));
        let mut lines = Vec::new();
        for answer in try_join_all(answers).await? {
            let text = redis::from_redis_value::<String>(answer);
            let text = text.map_err(|_| Fault::Lost(error::unexpected_reply()))?;
            // id, address, flags, master, ping, pong, epoch, state, slots ..
            let own = text.lines().find(|line| line.contains("myself")).unwrap_or_default();
            let mut fields = own.split(' ');
            let id = fields.next().unwrap_or_default().to_owned();
            let slots: Vec<&str> = fields.skip(7).collect();
            lines.push(format!("{id} {}", slots.join(" ")));
        }
        lines.sort();
        let map = lines.join("\n");
        Ok((!map.contains('[')).then_some(map))
    }

    /// The link to an address that a server named; an empty host is that server's own.
    pub(crate) fn link_to(&self, address: &str, named_by: &str) -> Result<Arc<Link>, Error> {
        let (host, port) = split(address).ok_or_else(error::unexpected_reply)?;
        let host = if host.is_empty() { split(named_by).map_or("", |(host, _)| host) } else { host };
        let name = format!("{host}:{port}");
        if let Some(link) = self.links.read().get(&name) {
            return Ok(Arc::clone(link));
        }
        let address = match self.like.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
                host: host.to_owned(),
                port,
                insecure: *insecure,
                tls_params: tls_params.clone(),
            },
            _ => ConnectionAddr::Tcp(host.to_owned(), port),
        };
        let info = self.like.clone().set_addr(address);
        let link = Arc::new(Link::new(info, self.connect_timeout, Role::Any)?);
        Ok(Arc::clone(self.links.write().entry(name).or_insert(link)))
    }

    /// Asks all known servers for the map, and believes the first answer.
    async fn ask(&self, deadline: Instant) -> Result<(), Fault> {
        let Ok(_guard) = timeout_at(deadline, self.asking.lock()).await else {
            return Err(Fault::NotSent(error::no_owner()));
        };
        if !self.doubted.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let known: Vec<_> = self.links.read().values().cloned().chain(self.seeds.iter().cloned()).collect();
        let answers = known.into_iter().map(|link| Box::pin(ranges(link, deadline)));
        let (ranges, link) = match select_ok(answers).await {
            Ok((answer, _)) => answer,
            Err(fault) => {
                self.doubt();
                return Err(unsent(fault));
            }
        };
        let mut owners = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            let range = ranges.iter().find(|range| range.slots.contains(slot));
            owners.push(match range {
                Some(range) => Some(self.link_to(&range.address, link.name()).map_err(Fault::NotSent)?),
                None => None,
            });
        }
        self.links.write().retain(|_, link| owners.iter().flatten().any(|owner| Arc::ptr_eq(owner, link)));
        *self.owners.write() = owners;
        Ok(())
    }
}

/// Asking for the map did nothing to a session, whatever became of the question.
fn unsent(fault: Fault) -> Fault {
    Fault::NotSent(fault.into_error("the cluster"))
}

async fn ranges(link: Arc<Link>, deadline: Instant) -> Result<(Vec<Range>, Arc<Link>), Fault> {
    let mut slots = cmd("CLUSTER");
    slots.arg("SLOTS");
    let answer = link.one(&slots, deadline).await?;
    let ranges = read_ranges(answer).filter(|ranges| !ranges.is_empty());
    ranges.map(|ranges| (ranges, link)).ok_or_else(|| Fault::NotSent(error::not_a_cluster()))
}

fn read_ranges(answer: Value) -> Option<Vec<Range>> {
    let Value::Array(ranges) = answer else { return None };
    let range = |range: Value| {
        let Value::Array(parts) = range else { return None };
        let mut parts = parts.into_iter();
        let (Value::Int(first), Value::Int(last), Value::Array(master)) =
            (parts.next()?, parts.next()?, parts.next()?)
        else {
            return None;
        };
        let mut master = master.into_iter();
        let host = match master.next()? {
            Value::BulkString(host) => String::from_utf8(host).ok()?,
            Value::SimpleString(host) => host,
            // The server does not know by which name it is reached.
            Value::Nil => String::new(),
            _ => return None,
        };
        let Value::Int(port) = master.next()? else { return None };
        let slots = u16::try_from(first).ok()?..=u16::try_from(last).ok()?;
        Some(Range { slots, address: format!("{host}:{port}") })
    };
    ranges.into_iter().map(range).collect()
}

fn split(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    // Some versions add the port of the cluster's bus.
    let port = port.split_once('@').map_or(port, |(port, _)| port);
    Some((host, port.parse().ok()?))
}
