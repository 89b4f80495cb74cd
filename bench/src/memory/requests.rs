//! What a request does with its session: load it and read one entry, or change one and store it again.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use session_core::{SessionId, SessionManager};
use session_memory::MemoryStore;
use tokio::sync::OnceCell;

use crate::report::Report;
use crate::rounds::{Contender, Contest, Effort, Job, Tally, repeat};
use crate::sample::{self, mix};

const SESSIONS: u64 = 10_000;
const READ: &str = "username";
const CHANGED: &str = "last_seen";

pub(crate) async fn run(effort: Effort, report: &mut Report) -> Result<()> {
    for (title, change) in
        [("load, read one of eleven entries", false), ("load, change one entry, store", true)]
    {
        for tasks in [1, 64] {
            report
                .contest(Contest {
                    title: format!("request: {title}"),
                    contenders: vec![
                        Arc::new(Tower { change, ready: OnceCell::new() }),
                        Arc::new(Ours { change, ready: OnceCell::new() }),
                    ],
                    tasks,
                    operations: effort.pick(64_000, 640_000),
                    rounds: effort.pick(3, 11),
                })
                .await?;
        }
    }
    Ok(())
}

/// The session that this task's `n`th request is about: when it changes it, one that no other task has.
fn pick(job: Job, change: bool, n: usize) -> usize {
    if change {
        (job.task + n * job.tasks) % (SESSIONS as usize - SESSIONS as usize % job.tasks)
    } else {
        (mix((job.task as u64) << 32 | n as u64) % SESSIONS) as usize
    }
}

struct Ours {
    change: bool,
    ready: OnceCell<(SessionManager, Vec<SessionId>)>,
}

impl Ours {
    async fn fill() -> Result<(SessionManager, Vec<SessionId>)> {
        let manager = SessionManager::new(MemoryStore::default());
        let mut ids = Vec::new();
        for _ in 0..SESSIONS {
            let session = manager.open(None).await?;
            for (name, value) in sample::session() {
                session.insert(&name, &value)?;
            }
            manager.commit(&session).await?.into_result()?;
            ids.push(session.id().context("a committed session has an id")?);
        }
        Ok((manager, ids))
    }
}

#[async_trait]
impl Contender for Ours {
    fn name(&self) -> &'static str {
        "session-memory"
    }

    async fn reset(&self) -> Result<()> {
        self.ready.get_or_try_init(Self::fill).await?;
        Ok(())
    }

    async fn run(&self, job: Job) -> Result<Tally> {
        let (manager, ids) = self.ready.get().context("not reset")?;
        if self.change {
            return repeat!(job, |n| {
                let session = manager.open(Some(&ids[pick(job, true, n)])).await?;
                ensure!(session.get::<i64>(CHANGED)?.is_some());
                session.insert(CHANGED, &(1_790_000_000_123_i64 + n as i64))?;
                manager.commit(&session).await?.into_result()?;
            });
        }
        repeat!(job, |n| {
            let session = manager.open(Some(&ids[pick(job, false, n)])).await?;
            ensure!(session.get::<String>(READ)?.is_some());
        })
    }
}

struct Tower {
    change: bool,
    ready: OnceCell<(Arc<tower_sessions::MemoryStore>, Vec<tower_sessions::session::Id>)>,
}

impl Tower {
    async fn fill() -> Result<(Arc<tower_sessions::MemoryStore>, Vec<tower_sessions::session::Id>)> {
        let store = Arc::new(tower_sessions::MemoryStore::default());
        let mut ids = Vec::new();
        for _ in 0..SESSIONS {
            let session = tower_sessions::Session::new(None, store.clone(), None);
            for (name, value) in sample::session() {
                session.insert_value(&name, value).await?;
            }
            session.save().await?;
            ids.push(session.id().context("a saved session has an id")?);
        }
        Ok((store, ids))
    }
}

#[async_trait]
impl Contender for Tower {
    fn name(&self) -> &'static str {
        "tower-sessions memory"
    }

    async fn reset(&self) -> Result<()> {
        self.ready.get_or_try_init(Self::fill).await?;
        Ok(())
    }

    async fn run(&self, job: Job) -> Result<Tally> {
        let (store, ids) = self.ready.get().context("not reset")?;
        if self.change {
            return repeat!(job, |n| {
                let id = ids[pick(job, true, n)];
                let session = tower_sessions::Session::new(Some(id), store.clone(), None);
                ensure!(session.get::<i64>(CHANGED).await?.is_some());
                session.insert(CHANGED, 1_790_000_000_123_i64 + n as i64).await?;
                session.save().await?;
            });
        }
        repeat!(job, |n| {
            let id = ids[pick(job, false, n)];
            let session = tower_sessions::Session::new(Some(id), store.clone(), None);
            ensure!(session.get::<String>(READ).await?.is_some());
        })
    }
}
