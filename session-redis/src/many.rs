//! Operations that wait for the server are sent to it together, each with its own answer.
//!
//! A few of a kind may be on their way at once, each by itself; what comes beyond waits for one of these to
//! be answered, and is then sent in one command with all that waited (see `session-together`): loads as
//! `MGET`, saves as one call of a script, bare `SET`s as one pipeline. These do what most operations need, in
//! which no index of owners changes. An operation that needs more is retried by itself, and so is each of a
//! batch that the server refused. When the answers were lost, each load is retried and each write fails: it
//! may have taken effect.
//!
//! Not on a cluster, where one command reaches the keys of one slot.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use redis::{Cmd, Pipeline, Value};
use session_core::{Result, SessionKey};
use session_together::{Carrier, Place, Reply, Timers, Together, Told, Turn};
use tokio::time::Instant;

use crate::error::{self, Fault};
use crate::layout::Layout;
use crate::link::{Link, Live};
use crate::operations::{Inner, Parts};
use crate::router::{Request, Router};
use crate::script;

/// Larger records are sent by themselves: they would keep the others waiting.
const LARGE: usize = 4 * 1024;

/// What the records of one answer take, as far as can be foreseen.
const ROOM: usize = 256 * 1024;

pub(crate) struct Many {
    pub(crate) loads: Arc<Together<Loads>>,
    pub(crate) sets: Arc<Together<Sets>>,
    pub(crate) saves: Arc<Together<Saves>>,
    timers: Timers,
    /// Of the sessions that were read lately, in bytes.
    size: Arc<AtomicUsize>,
}

impl Many {
    pub(crate) fn new(router: &Arc<Router>, layout: &Arc<Layout>, places: usize) -> Self {
        let (way, size) = (|| (Arc::clone(router), Arc::clone(layout)), Arc::new(AtomicUsize::new(0)));
        Self {
            loads: Together::new(Loads { way: way(), size: Arc::clone(&size) }, places),
            sets: Together::new(Sets { router: Arc::clone(router) }, places),
            saves: Together::new(Saves { way: way() }, places),
            timers: Timers::default(),
            size,
        }
    }

    /// Learns how large sessions are.
    pub(crate) fn read(&self, len: usize) {
        learn(&self.size, len);
    }

    /// What came of an operation that waits; `None` when it is to be done by itself.
    async fn told<A>(&self, reply: Reply<A>, deadline: Instant) -> Result<Option<A>> {
        match self.timers.until(|| deadline, pin!(reply.told())).await {
            Some(Told::Answer(answer)) => Ok(Some(answer)),
            Some(Told::Alone) => Ok(None),
            Some(Told::Lost) => Err(error::lost_with_others()),
            None => Err(error::waited_in_vain()),
        }
    }

    /// Whether a record may be sent with others.
    pub(crate) fn carries(record: &[u8]) -> bool {
        record.len() <= LARGE
    }
}

/// A mean in which the latest count most. Two that write at once lose one of both, which does no harm.
fn learn(size: &AtomicUsize, len: usize) {
    let known = size.load(Ordering::Relaxed);
    size.store((known / 8 * 7).saturating_add(len.div_ceil(8)), Ordering::Relaxed);
}

impl Inner {
    /// The bytes under a session's key, read with others if many are.
    pub(crate) async fn bytes(&self, key: SessionKey, deadline: Instant) -> Result<Option<Vec<u8>>> {
        let Some(many) = &self.many else { return self.get((), key, deadline).await };
        match many.loads.join(|| key) {
            Turn::Now(place) => {
                let found = self.get(place, key, deadline).await?;
                many.read(found.as_ref().map_or(0, Vec::len));
                Ok(found)
            }
            Turn::Later(reply) => match many.told(reply, deadline).await? {
                None => self.get((), key, deadline).await,
                found => Ok(found),
            },
        }
    }

    /// The same by itself, in a place that is given up with the first answer.
    async fn get<P>(&self, place: P, key: SessionKey, deadline: Instant) -> Result<Option<Vec<u8>>> {
        let name = self.layout.session(key);
        let mut get = Cmd::with_capacity(2, 3 + name.len());
        get.arg("GET").arg(name);
        match self.router.run_in(place, self.layout.shard(key), &Request::read(get), deadline).await? {
            Value::Nil => Ok(None),
            Value::BulkString(bytes) => Ok(Some(bytes)),
            _ => Err(error::unexpected_reply()),
        }
    }

    /// Where writes of such a record may be sent with others.
    pub(crate) fn many_for(&self, parts: &Parts) -> Option<&Many> {
        let usual = Many::carries(&parts.record) && !self.router.waits();
        self.many.as_ref().filter(|_| usual)
    }

    /// The answer to a bare `SET`, sent with others if many wait. It is made where it goes, as it may be large.
    pub(crate) async fn set(
        &self,
        many: Option<&Many>,
        key: SessionKey,
        request: impl Fn() -> Request,
        deadline: Instant,
    ) -> Result<Value> {
        let shard = self.layout.shard(key);
        if let Some(many) = many {
            match many.sets.join(|| request().into_command()) {
                Turn::Now(place) => return self.router.run_in(place, shard, &request(), deadline).await,
                Turn::Later(reply) => {
                    if let Some(answer) = many.told(reply, deadline).await? {
                        return Ok(answer);
                    }
                }
            }
        }
        self.router.run(shard, &request(), deadline).await
    }

    /// Saves with others if many wait: `None` when that was done. If not, nothing was: then the save is to be
    /// done by itself, in this place if it has one.
    pub(crate) async fn save_with_others(
        &self,
        key: SessionKey,
        expected: [u8; 8],
        parts: &Parts,
        deadline: Instant,
    ) -> Result<Option<Option<Place<Saves>>>> {
        let Some(many) = self.many_for(parts) else { return Ok(Some(None)) };
        let save =
            || Save { key, record: parts.record.clone(), key_expiry: parts.key_expiry.clone(), expected };
        match many.saves.join(save) {
            Turn::Now(place) => Ok(Some(Some(place))),
            Turn::Later(reply) => match many.told(reply, deadline).await? {
                Some(()) => Ok(None),
                None => Ok(Some(None)),
            },
        }
    }
}

/// One exchange for all, on a connection that it is given.
async fn exchange<T>(
    router: &Router,
    send: impl AsyncFnOnce(&Link, &mut Live, Instant) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let deadline = router.deadline();
    let (link, mut live) = router.here(deadline).await?;
    let sent = send(&link, &mut live, deadline).await;
    if let Err(fault) = &sent {
        router.doubt_after(&link, fault);
    }
    sent
}

/// What to tell all after a fault of a command that may have had an effect.
fn after<A>(fault: &Fault) -> Told<A> {
    match fault {
        Fault::Lost(_) => Told::Lost,
        Fault::NotSent(_) | Fault::Refused(_) => Told::Alone,
    }
}

/// How commands reach the server, and what they call its keys.
type Way = (Arc<Router>, Arc<Layout>);

/// Loads: the keys of sessions, and what was there.
pub(crate) struct Loads {
    way: Way,
    size: Arc<AtomicUsize>,
}

#[async_trait]
impl Carrier for Loads {
    type Operation = SessionKey;
    type Answer = Vec<u8>;

    fn fitting(&self, waiting: usize) -> usize {
        let size = self.size.load(Ordering::Relaxed).max(1);
        waiting.min((ROOM / size).max(1))
    }

    fn clash(_: &SessionKey, _: &SessionKey) -> bool {
        false
    }

    async fn carry(&self, keys: Vec<SessionKey>) -> Vec<Told<Vec<u8>>> {
        let (router, layout) = &self.way;
        let names: Vec<String> = keys.iter().map(|key| layout.session(*key)).collect();
        let mut get =
            Cmd::with_capacity(1 + names.len(), 16 + names.iter().map(|name| name.len() + 16).sum::<usize>());
        get.arg("MGET").arg(&names);
        let got = exchange(router, async |link, live, deadline| link.one_on(live, &get, deadline).await);
        match got.await {
            Ok(Value::Array(values)) if values.len() == names.len() => values
                .into_iter()
                .map(|value| match value {
                    Value::BulkString(bytes) => {
                        learn(&self.size, bytes.len());
                        Told::Answer(bytes)
                    }
                    // Nothing, or something else than a string: a look of its own tells.
                    _ => Told::Alone,
                })
                .collect(),
            // A look can be repeated.
            _ => vec![Told::Alone; names.len()],
        }
    }
}

/// Commands that need nobody: each is answered as if it were alone.
pub(crate) struct Sets {
    router: Arc<Router>,
}

#[async_trait]
impl Carrier for Sets {
    type Operation = Cmd;
    type Answer = Value;

    fn fitting(&self, waiting: usize) -> usize {
        waiting
    }

    /// One is carried out after the other.
    fn clash(_: &Cmd, _: &Cmd) -> bool {
        false
    }

    async fn carry(&self, commands: Vec<Cmd>) -> Vec<Told<Value>> {
        let sent = commands.len();
        let mut all = Pipeline::with_capacity(sent);
        for command in commands {
            all.add_command(command);
        }
        let answers =
            exchange(&self.router, async |link, live, deadline| link.many_on(live, &all, deadline).await);
        match answers.await {
            Ok(values) if values.len() == sent => values
                .into_iter()
                .map(|value| match value {
                    // It did nothing; by itself, it is known what to do about it.
                    Value::ServerError(_) => Told::Alone,
                    value => Told::Answer(value),
                })
                .collect(),
            Ok(_) => vec![Told::Lost; sent],
            Err(fault) => vec![after(&fault); sent],
        }
    }
}

/// What the script for many saves is told about one.
pub(crate) struct Save {
    key: SessionKey,
    record: Vec<u8>,
    key_expiry: String,
    expected: [u8; 8],
}

/// Saves, in one call of a script that answers for each whether it was done. If not, nothing was.
pub(crate) struct Saves {
    way: Way,
}

#[async_trait]
impl Carrier for Saves {
    type Operation = Save;
    type Answer = ();

    fn fitting(&self, waiting: usize) -> usize {
        waiting
    }

    /// One is carried out after the other.
    fn clash(_: &Save, _: &Save) -> bool {
        false
    }

    async fn carry(&self, saves: Vec<Save>) -> Vec<Told<()>> {
        let (router, layout) = &self.way;
        let names: Vec<String> = saves.iter().map(|save| layout.session(save.key)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let args: Vec<&[u8]> = saves
            .iter()
            .flat_map(|save| [&save.record[..], save.key_expiry.as_bytes(), &save.expected])
            .collect();
        let command = script::SAVE_MANY.call(&names, &args);
        let called = exchange(router, async |link, live, deadline| {
            match link.one_on(live, &command, deadline).await {
                Err(fault) if script::is_unknown(&fault) => {
                    link.one_on(live, &script::SAVE_MANY.load(), deadline).await?;
                    link.one_on(live, &command, deadline).await
                }
                answer => answer,
            }
        });
        match called.await {
            Ok(Value::BulkString(told)) if told.len() == saves.len() => told
                .into_iter()
                .map(|done| if done == b'1' { Told::Answer(()) } else { Told::Alone })
                .collect(),
            Ok(_) => vec![Told::Lost; saves.len()],
            Err(fault) => vec![after(&fault); saves.len()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address;
    use crate::config::RedisConfig;

    #[test]
    fn the_larger_the_sessions_are_the_fewer_are_loaded_together() {
        let config = RedisConfig::default();
        let (router, layout) = Router::new(address::place(&config).unwrap(), &config).unwrap();
        let size = Arc::new(AtomicUsize::new(0));
        let loads = Loads { way: (Arc::new(router), Arc::new(layout)), size: Arc::clone(&size) };
        assert_eq!(loads.fitting(64), 64);
        for (len, fitting) in [(500, 64), (64 * 1024, 4), (1024 * 1024, 1), (500, 64)] {
            for _ in 0..100 {
                learn(&size, len);
            }
            assert_eq!(loads.fitting(64), fitting, "{len} bytes");
        }
    }
}
