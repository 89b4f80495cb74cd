//! Statements that load or write one record, and those that do so for many at once.

use std::collections::{HashMap, HashSet};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use session_core::{ErrorKind, Record, Result, SessionKey};
use session_together::{Carrier, Place, Timers, Together, Told, Turn};
use sqlx::types::Uuid;

use crate::engine::Engine;
use crate::error::Fault;
use crate::layout::{self, Arg, Args};
use crate::statements::{Many, Sql, Write};

/// How many statements of one kind are with the database before others wait. One leaves it idle while answers are
/// told, and four make smaller statements of the same work (docs/decisions.md has the figures).
const PLACES: usize = 2;

/// How long a statement keeps its place.
const PATIENCE: Duration = Duration::from_millis(50);

/// Larger payloads are sent by themselves: they would keep the others waiting.
const LARGE: usize = 32 * 1024;

/// How statements reach the database.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) timeout: Duration,
    pub(crate) timers: Arc<Timers>,
    pub(crate) waits: [bool; 2],
}

impl Way {
    /// What a statement for many gave, or what to tell all who were in it.
    async fn take<T, A>(
        &self,
        statement: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<T, Told<A>> {
        let fault = match self.timers.within(self.timeout, pin!(statement)).await {
            Some(Ok(done)) => return Ok(done),
            Some(Err(fault)) => fault,
            None => return Err(Told::Lost),
        };
        let told = if matches!(fault, Fault::Lost(_)) { Told::Lost } else { Told::Alone };
        tracing::debug!(error = %fault.into_error(), "a statement for many failed: each is sent by itself");
        Err(told)
    }
}

/// Loads one record.
pub(crate) struct Loading {
    way: Way,
    one: Sql,
    many: Arc<Together<Loads>>,
    patience: Option<Timers>,
}

impl Loading {
    pub(crate) fn new(way: &Way, one: Sql, many: Many) -> Self {
        let many = Together::new(Loads { way: way.clone(), many }, PLACES);
        Self { way: way.clone(), one, many, patience: patience(way.waits[0]) }
    }

    /// The record, if it is live. A damaged one is an error of its own.
    pub(crate) async fn run(&self, key: SessionKey, lost: bool) -> Result<Result<Option<Record>>, Fault> {
        let place = match self.many.join(|| key) {
            Turn::Now(place) => Some(place),
            Turn::Later(reply) => match reply.told().await {
                Told::Answer(record) => return Ok(Ok(record)),
                Told::Lost if !lost => return Err(in_doubt()),
                Told::Alone | Told::Lost => None,
            },
        };
        let args = [layout::key(key)];
        let record = self.way.engine.record(&self.one, &args);
        Ok(during(place, self.patience.as_ref(), record).await?.transpose())
    }
}

/// Runs a statement in its place. One that takes long, since its row is locked, gives the place up: it must not keep
/// others waiting for their own rows.
async fn during<C: Carrier, T>(
    place: Option<Place<C>>,
    patience: Option<&Timers>,
    mut statement: impl Future<Output = T> + Unpin,
) -> T {
    let done = match patience {
        Some(patience) if place.is_some() => patience.within(PATIENCE, Pin::new(&mut statement)).await,
        _ => Some((&mut statement).await),
    };
    drop(place);
    match done {
        Some(done) => done,
        None => statement.await,
    }
}

fn patience(waits: bool) -> Option<Timers> {
    waits.then(Timers::default)
}

struct Loads {
    way: Way,
    many: Many,
}

#[async_trait]
impl Carrier for Loads {
    type Operation = SessionKey;
    type Answer = Option<Record>;

    fn fitting(&self, waiting: usize) -> usize {
        self.many.fitting(waiting)
    }

    fn clash(_: &SessionKey, _: &SessionKey) -> bool {
        false
    }

    async fn carry(&self, keys: Vec<SessionKey>) -> Vec<Told<Option<Record>>> {
        let args: Vec<Arg<'_>> = keys.iter().map(|key| layout::key(*key)).collect();
        let Some(sql) = self.many.of(keys.len()) else { return vec![Told::Alone; keys.len()] };
        let rows = match self.way.take(self.way.engine.records(sql, &args)).await {
            Ok(rows) => rows,
            Err(told) => return vec![told; keys.len()],
        };
        // Whose the damaged one is shows when each loads its own.
        let damaged = rows.iter().any(|row| row.session.is_err());
        let found: HashMap<SessionKey, Record> = rows.into_iter().flat_map(|row| row.session).collect();
        let told = |key| match found.get(key) {
            Some(record) => Told::Answer(Some(record.clone())),
            None if damaged => Told::Alone,
            None => Told::Answer(None),
        };
        keys.iter().map(told).collect()
    }
}

/// Writes one record.
pub(crate) struct Writing {
    way: Way,
    one: Sql,
    /// Where the database can say which of many rows it met.
    many: Option<Arc<Together<Writes>>>,
    patience: Option<Timers>,
}

impl Writing {
    pub(crate) fn new(way: &Way, write: Write) -> Self {
        let carrier = |many| Together::new(Writes { way: way.clone(), many }, PLACES);
        let many = write.many.map(carrier);
        Self { way: way.clone(), one: write.one, many, patience: patience(way.waits[1]) }
    }

    /// Whether it met its row. Sent with others, an update leaves out a row that somebody has locked: sent `alone`, it
    /// waits for that row.
    pub(crate) async fn run(&self, args: &[Arg<'_>], alone: bool) -> Result<bool, Fault> {
        let large = args.iter().any(|arg| matches!(arg, Arg::Payload(payload) if payload.len() > LARGE));
        let place = match &self.many {
            Some(many) if !large && !alone => match many.join(|| Args::keep(args)) {
                Turn::Now(place) => Some(place),
                Turn::Later(reply) => match reply.told().await {
                    Told::Answer(met) => return Ok(met),
                    Told::Alone => None,
                    Told::Lost => return Err(in_doubt()),
                },
            },
            _ => None,
        };
        let change = self.way.engine.change(&self.one, args);
        Ok(during(place, self.patience.as_ref(), change).await? > 0)
    }
}

/// What was sent with others when the connection ended.
fn in_doubt() -> Fault {
    Fault::Lost(session_core::Error::new(
        ErrorKind::Unavailable,
        "the connection to the database failed while several operations were on it",
    ))
}

struct Writes {
    way: Way,
    many: Many,
}

#[async_trait]
impl Carrier for Writes {
    type Operation = Args;
    type Answer = bool;

    fn fitting(&self, waiting: usize) -> usize {
        self.many.fitting(waiting)
    }

    /// A statement writes a row once.
    fn clash(one: &Args, other: &Args) -> bool {
        one.key() == other.key()
    }

    async fn carry(&self, rows: Vec<Args>) -> Vec<Told<bool>> {
        let mut args: Vec<Arg<'_>> = Vec::with_capacity(rows.iter().map(|row| row.iter().len()).sum());
        args.extend(rows.iter().flat_map(Args::iter));
        let Some(sql) = self.many.of(rows.len()) else { return vec![Told::Alone; rows.len()] };
        match self.way.take(self.way.engine.changed(sql, &args)).await {
            Ok(met) => {
                let met: HashSet<Uuid> = met.into_iter().collect();
                rows.iter().map(|row| Told::Answer(row.key().is_some_and(|key| met.contains(&key)))).collect()
            }
            Err(told) => vec![told; rows.len()],
        }
    }
}
