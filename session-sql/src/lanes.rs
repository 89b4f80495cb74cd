//! Connections: a few that are kept, or the ones of a pool that was handed in.
//!
//! A pool of sqlx asks the server whether it is there before and after each use: three exchanges for one statement.
//! Ours asks only when a connection has rested for a while.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, Database, Pool};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::engine::Driver;
use crate::error::Fault;

/// After this rest a connection is asked whether it still works.
const REST: Duration = Duration::from_secs(1);

/// After this time a connection is replaced, so that a server can be moved and gets its memory back.
const LIFETIME: Duration = Duration::from_secs(1800);

type Options<DB> = <<DB as Database>::Connection as sqlx::Connection>::Options;

/// Where connections come from.
pub(crate) enum Source<DB: Database> {
    /// Opened when needed, and kept.
    Own(Box<Options<DB>>),
    /// Somebody else's too: borrowed for one statement at a time.
    Pool(Pool<DB>),
}

pub(crate) struct Lanes<DB: Database> {
    source: Source<DB>,
    permits: Semaphore,
    /// The one that was used last is used next.
    kept: Mutex<Vec<Kept<DB>>>,
}

struct Kept<DB: Database> {
    connection: DB::Connection,
    opened: Instant,
    used: Instant,
}

impl<DB: Driver> Lanes<DB> {
    pub(crate) fn new(source: Source<DB>, lanes: u32) -> Self {
        let lanes = usize::try_from(lanes.max(1)).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { source, permits: Semaphore::new(lanes), kept: Mutex::default() }
    }

    /// A connection for one statement.
    pub(crate) async fn take(&self) -> Result<Lane<'_, DB>, Fault> {
        let permit = match self.permits.try_acquire() {
            Ok(permit) => permit,
            Err(_) => self.permits.acquire().await.map_err(|_| Fault::from(sqlx::Error::PoolClosed))?,
        };
        // What a pool does takes ten times the room of all else, and connecting happens seldom: both are boxed, so that
        // the future of a statement is small.
        let carrier = match &self.source {
            Source::Pool(pool) => Carrier::Pooled(Box::pin(pool.acquire()).await?),
            Source::Own(options) => match self.rested().await {
                Some(kept) => Carrier::Own(kept),
                None => {
                    let connection = Box::pin(DB::Connection::connect_with(options)).await?;
                    let now = Instant::now();
                    Carrier::Own(Kept { connection, opened: now, used: now })
                }
            },
        };
        Ok(Lane { lanes: self, carrier: Some(carrier), _permit: permit })
    }

    /// A kept connection that works.
    async fn rested(&self) -> Option<Kept<DB>> {
        loop {
            let mut kept = self.kept().pop()?;
            if DB::LOCAL || kept.used.elapsed() < REST {
                return Some(kept);
            }
            match kept.connection.ping().await {
                Ok(()) => return Some(kept),
                Err(error) => tracing::debug!(%error, "a connection ended while it rested"),
            }
        }
    }

    /// Forgets the kept connections: one was found dead, the others may well be.
    fn forget(&self) {
        self.kept().clear();
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Kept<DB>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that is in use. Give it back with [`done`](Self::done): dropped in the middle of a statement
/// (`[F3]`), a connection to a server is closed, since what the server will say next is not known.
pub(crate) struct Lane<'l, DB: Driver> {
    lanes: &'l Lanes<DB>,
    carrier: Option<Carrier<DB>>,
    // Last: the next one in line finds the connection that this one gives back.
    _permit: SemaphorePermit<'l>,
}

enum Carrier<DB: Database> {
    Own(Kept<DB>),
    Pooled(PoolConnection<DB>),
}

impl<DB: Driver> Lane<'_, DB> {
    /// The connection, until it is given back.
    pub(crate) fn connection(&mut self) -> Result<&mut DB::Connection, Fault> {
        match &mut self.carrier {
            Some(Carrier::Own(kept)) => Ok(&mut kept.connection),
            Some(Carrier::Pooled(connection)) => Ok(connection),
            None => Err(sqlx::Error::PoolClosed.into()),
        }
    }

    /// Gives the connection back after a statement, if that left it usable.
    pub(crate) fn done<T>(mut self, outcome: Result<T, sqlx::Error>) -> Result<T, Fault> {
        let outcome = outcome.map_err(Fault::from);
        if let Err(Fault::Lost(_)) = outcome {
            self.discard();
            self.lanes.forget();
        } else {
            self.give_back();
        }
        outcome
    }

    fn give_back(&mut self) {
        match self.carrier.take() {
            Some(Carrier::Own(mut kept)) if DB::LOCAL || kept.opened.elapsed() < LIFETIME => {
                if !DB::LOCAL {
                    kept.used = Instant::now();
                }
                self.lanes.kept().push(kept);
            }
            // A pool takes its connections back in a task, for which there must be a runtime.
            Some(Carrier::Pooled(connection)) if Handle::try_current().is_err() => drop(connection.detach()),
            Some(_) | None => {}
        }
    }

    /// Closes the connection without a word to the server. A pool would wait for the server before it lends the
    /// connection again, for ever if need be.
    fn discard(&mut self) {
        if let Some(Carrier::Pooled(connection)) = self.carrier.take() {
            drop(connection.detach());
        }
    }
}

impl<DB: Driver> Drop for Lane<'_, DB> {
    fn drop(&mut self) {
        if DB::LOCAL {
            // The statement runs to its end in the connection's thread, and its answer to nobody.
            self.give_back();
        } else {
            self.discard();
        }
    }
}
