//! Sessions in SQLite, PostgreSQL and MariaDB, beside bare statements of the same driver and two peers.

mod bare;
mod ours;
mod place;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Result, ensure};
use session_core::{Created, Record, Revision, SessionKey, SessionStore as _, Timestamp};
use session_sql::{SqlConfig, SqlStore};
use tokio::task::JoinSet;

use crate::operation::Operation;
use crate::peers::Peer;
use crate::report::Report;
use crate::rounds::{Contender, Contest, Effort, Job};
use crate::sample::key;
pub(crate) use place::Database;
pub(crate) use place::Place;

/// As much as the sample that the peers store takes as JSON.
const PAYLOAD: usize = 577;

pub(crate) async fn run(database: Database, effort: Effort, report: &mut Report) -> Result<()> {
    let place = Arc::new(Place::start(database)?);
    for operation in
        [Operation::Load, Operation::Save, Operation::Create, Operation::ChangeId, Operation::Touch]
    {
        for tasks in [1, 8, 64] {
            contest(&place, effort, report, operation, tasks).await?;
        }
    }
    Ok(())
}

async fn contest(
    place: &Arc<Place>,
    effort: Effort,
    report: &mut Report,
    operation: Operation,
    tasks: usize,
) -> Result<()> {
    let sessions = effort.pick(2_000, 10_000);
    let mut contenders: Vec<Arc<dyn Contender>> = vec![
        Arc::new(bare::Bare::new(place.clone(), operation, sessions, bare::Through::Held)),
        Arc::new(bare::Bare::new(place.clone(), operation, sessions, bare::Through::Pool)),
        Arc::new(ours::Ours::new(place.clone(), operation, sessions)),
    ];
    if operation != Operation::Touch {
        contenders.push(Arc::new(Peer::tower(place.clone(), format!("{operation:?}"), sessions)));
    }
    contenders.push(Arc::new(Peer::pavex(place.clone(), format!("{operation:?}"), sessions)));
    // A quick run has two minutes, on slow disks too.
    let (alone, together) = if place.flushes() { (500, 2_000) } else { (1_000, 4_000) };
    let operations = match tasks {
        1 => effort.pick(alone, 4_000),
        _ => effort.pick(together, 16_000),
    };
    let title = format!("{operation:?} on {}, {sessions} sessions of {PAYLOAD} B", place.name());
    report.contest(Contest { title, contenders, tasks, operations, rounds: effort.pick(3, 7) }).await
}

/// What a contender knows of its sessions. Each is changed by one task only.
struct Sessions {
    known: Vec<Mutex<(SessionKey, u64)>>,
    written: AtomicU64,
}

impl Sessions {
    /// Prepares the database at `url` and fills it.
    async fn store(url: &str, sessions: u64) -> Result<Self> {
        let store = SqlStore::connect(url, SqlConfig::default())?;
        store.prepare().await?;
        let mut fillers = JoinSet::new();
        const FILLERS: u64 = 16;
        for first in 0..FILLERS {
            let store = store.clone();
            fillers.spawn(async move {
                for n in (first..sessions).step_by(FILLERS as usize) {
                    ensure!(store.create(key(n), &record(n)).await? == Created::Stored);
                }
                Ok(())
            });
        }
        while let Some(done) = fillers.join_next().await {
            done??;
        }
        Ok(Self {
            known: (0..sessions).map(|n| Mutex::new((key(n), n))).collect(),
            written: AtomicU64::new(1 << 40),
        })
    }

    fn len(&self) -> u64 {
        self.known.len() as u64
    }

    /// Those that only this task changes.
    fn own(&self, job: Job) -> Vec<usize> {
        (job.task..self.known.len()).step_by(job.tasks).collect()
    }

    /// Key and revision.
    fn at(&self, n: usize) -> MutexGuard<'_, (SessionKey, u64)> {
        self.known[n].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that no session and no revision has.
    fn fresh(&self) -> u64 {
        self.written.fetch_add(1, Ordering::Relaxed)
    }
}

fn record(revision: u64) -> Record {
    Record {
        revision: Revision::from_u64(revision),
        owner: None,
        created_at: Timestamp::from_millis(1_800_000_000_000),
        // Spread as sessions of a fortnight are, and a little later with each save.
        expires_at: Timestamp::from_millis(4_000_000_000_000 + (revision & 0xffff_ffff) as i64 * 1_000),
        payload: vec![7; PAYLOAD].into(),
    }
}
