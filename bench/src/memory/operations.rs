//! Single operations of a store, beside a bare map of the same bytes and a peer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use anyhow::{Result, bail, ensure};
use async_trait::async_trait;
use dashmap::DashMap;
use session_core::{Created, Record, Revision, Saved, SessionKey, SessionStore, Timestamp};
use session_memory::MemoryStore;

use super::peers;
use crate::operation::{Operation, fresh, share};
use crate::peers::Peer;
use crate::report::Report;
use crate::rounds::{Contender, Contest, Effort, Job, Tally, repeat};
use crate::sample::{key, mix};

pub(crate) async fn run(effort: Effort, report: &mut Report) -> Result<()> {
    let large = effort.pick(100_000, 1_000_000);
    for (operation, sessions) in [
        (Operation::Load, 10_000),
        (Operation::Load, large),
        (Operation::Save, 10_000),
        (Operation::Create, 10_000),
        (Operation::ChangeId, 10_000),
    ] {
        for tasks in [1, 64] {
            report
                .contest(Contest {
                    title: format!("{operation:?}, {sessions} sessions of 1 KB"),
                    contenders: vec![
                        Arc::new(Bare::<Mutexed>::new("Mutex<HashMap>", operation, sessions)),
                        Arc::new(Bare::<DashMap<SessionKey, Arc<[u8]>>>::new("DashMap", operation, sessions)),
                        Arc::new(Ours { operation, sessions, store: RwLock::default() }),
                        Arc::new(peers::memory_store(operation, sessions)),
                        Arc::new(peers::moka_store(operation, sessions)),
                        Arc::new(Peer::pavex_in_memory(format!("{operation:?}"), sessions)),
                    ],
                    tasks,
                    // What is created stays until the contender's next turn.
                    operations: effort
                        .pick(64_000, if operation == Operation::Create { 192_000 } else { 640_000 }),
                    rounds: effort.pick(3, 11),
                })
                .await?;
        }
    }
    Ok(())
}

fn payload() -> Arc<[u8]> {
    static PAYLOAD: OnceLock<Arc<[u8]>> = OnceLock::new();
    PAYLOAD.get_or_init(|| vec![7; 1_024].into()).clone()
}

/// A new allocation, as each stored session has its own.
fn own_payload() -> Arc<[u8]> {
    Arc::from(&*payload())
}

/// A map of bytes and nothing else: what there is to lose.
trait Map: Default + Send + Sync + 'static {
    fn get(&self, key: SessionKey) -> Option<Arc<[u8]>>;
    fn put(&self, key: SessionKey, payload: Arc<[u8]>);
}

#[derive(Default)]
struct Mutexed(Mutex<HashMap<SessionKey, Arc<[u8]>>>);

impl Map for Mutexed {
    fn get(&self, key: SessionKey) -> Option<Arc<[u8]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    fn put(&self, key: SessionKey, payload: Arc<[u8]>) {
        let _old = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, payload);
    }
}

impl Map for DashMap<SessionKey, Arc<[u8]>> {
    fn get(&self, key: SessionKey) -> Option<Arc<[u8]>> {
        DashMap::get(self, &key).map(|payload| payload.clone())
    }

    fn put(&self, key: SessionKey, payload: Arc<[u8]>) {
        self.insert(key, payload);
    }
}

struct Bare<M> {
    name: &'static str,
    operation: Operation,
    sessions: u64,
    map: RwLock<Arc<M>>,
}

impl<M: Map> Bare<M> {
    fn new(name: &'static str, operation: Operation, sessions: u64) -> Self {
        Self { name, operation, sessions, map: RwLock::default() }
    }

    fn map(&self) -> Arc<M> {
        self.map.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl<M: Map> Contender for Bare<M> {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn reset(&self) -> Result<()> {
        if self.operation == Operation::Load && self.map().get(key(0)).is_some() {
            return Ok(());
        }
        let map = M::default();
        (0..self.sessions).for_each(|n| map.put(key(n), own_payload()));
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(map);
        Ok(())
    }

    async fn run(&self, job: Job) -> Result<Tally> {
        let (map, payload) = (self.map(), payload());
        let keys: Vec<_> = share(job, self.sessions).map(key).collect();
        let offset = (job.task as u64) << 32;
        match self.operation {
            Operation::Load => repeat!(job, |n| {
                let found = map.get(key(mix(offset | n as u64) % self.sessions));
                ensure!(found.is_some());
            }),
            Operation::Save | Operation::ChangeId => repeat!(job, |n| map.put(keys[n % keys.len()], payload.clone())),
            Operation::Create => repeat!(job, |n| map.put(fresh(job, n), payload.clone())),
            Operation::LoadAndSave | Operation::Touch => bail!("it is not measured"),
        }
    }
}

struct Ours {
    operation: Operation,
    sessions: u64,
    store: RwLock<Option<Arc<dyn SessionStore>>>,
}

fn record(revision: usize, payload: Arc<[u8]>) -> Record {
    Record {
        revision: Revision::from_u64(revision as u64),
        owner: None,
        created_at: Timestamp::from_millis(1_800_000_000_000),
        // As after each request: a little later than before.
        expires_at: Timestamp::from_millis(4_000_000_000_000 + revision as i64 / 100),
        payload,
    }
}

#[async_trait]
impl Contender for Ours {
    fn name(&self) -> &'static str {
        "session-memory"
    }

    async fn reset(&self) -> Result<()> {
        let filled = self.store.read().unwrap_or_else(PoisonError::into_inner).is_some();
        if self.operation == Operation::Load && filled {
            return Ok(());
        }
        let store = MemoryStore::default();
        for n in 0..self.sessions {
            let _ = store.create(key(n), &record(n as usize, own_payload())).await?;
        }
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(store));
        Ok(())
    }

    async fn run(&self, job: Job) -> Result<Tally> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner).clone();
        // Not the `Arc`, which is a store too and would box each future once more.
        let store = store.as_deref().ok_or_else(|| anyhow::anyhow!("not reset"))?;
        let offset = (job.task as u64) << 32;
        let mut own: Vec<_> = share(job, self.sessions).map(|n| (key(n), n as usize)).collect();
        let (first, payload) = (self.sessions as usize, payload());
        match self.operation {
            Operation::Load => repeat!(job, |n| {
                let found = store.load(key(mix(offset | n as u64) % self.sessions)).await?;
                ensure!(found.is_some());
            }),
            Operation::Save | Operation::ChangeId => repeat!(job, |n| {
                let at = n % own.len();
                let (key, revision) = own[at];
                let record = record(first + n, payload.clone());
                let saved = store.save(key, Revision::from_u64(revision as u64), &record).await?;
                ensure!(saved == Saved::Stored);
                own[at].1 = first + n;
            }),
            Operation::Create => repeat!(job, |n| {
                let created = store.create(fresh(job, n), &record(first + n, payload.clone())).await?;
                ensure!(created == Created::Stored);
            }),
            Operation::LoadAndSave | Operation::Touch => bail!("it is not measured"),
        }
    }
}
