//! Our store.

use anyhow::{Context as _, Result, bail, ensure};
use async_trait::async_trait;
use session_core::{Created, Owner, Record, Revision, Saved, SessionStore, Timestamp};
use session_redis::{RedisConfig, RedisStore};
use tokio::task::JoinSet;

use super::{LIFE_SECONDS, PAYLOAD, Place, SESSIONS};
use crate::operation::{Operation, fresh, share};
use crate::rounds::{Contender, Job, Tally, repeat};
use crate::sample::{key, mix};

pub(crate) struct Ours {
    operation: Operation,
    place: Place,
    store: RedisStore,
    owned: bool,
    /// The manager leaves it where it is for most saves.
    expires_at: Timestamp,
}

impl Ours {
    pub(crate) fn new(operation: Operation, place: Place) -> Result<Self> {
        let store = RedisStore::new(RedisConfig::new(place.url()))?;
        let expires_at = Timestamp::now().saturating_add(std::time::Duration::from_secs(LIFE_SECONDS));
        Ok(Self { operation, place, store, owned: false, expires_at })
    }

    /// Each session with an owner of its own.
    pub(crate) fn owned(operation: Operation, place: Place) -> Result<Self> {
        Ok(Self { owned: true, ..Self::new(operation, place)? })
    }

    fn owner(&self, n: u64) -> Result<Option<Owner>> {
        Ok(self.owned.then(|| Owner::new(format!("user {n}"))).transpose()?)
    }

    fn record(&self, revision: u64, owner: Option<&Owner>) -> Record {
        Record {
            revision: Revision::from_u64(revision),
            owner: owner.cloned(),
            created_at: Timestamp::EPOCH,
            expires_at: self.expires_at,
            payload: [7; PAYLOAD].into(),
        }
    }
}

#[async_trait]
impl Contender for Ours {
    fn name(&self) -> &'static str {
        if self.owned { "session-redis, owned" } else { "session-redis" }
    }

    async fn reset(&self) -> Result<()> {
        self.place.empty().await?;
        let mut fillers = JoinSet::new();
        for n in 0..SESSIONS {
            let (store, record) = (self.store.clone(), self.record(n, self.owner(n)?.as_ref()));
            fillers.spawn(async move { store.create(key(n), &record).await });
        }
        while let Some(created) = fillers.join_next().await {
            ensure!(created?? == Created::Stored);
        }
        // A save of a session that was never loaded here is not what is measured.
        for n in 0..SESSIONS {
            self.store.load(key(n)).await?.context("not there")?;
        }
        Ok(())
    }

    async fn run(&self, job: Job) -> Result<Tally> {
        let store = &self.store;
        let offset = (job.task as u64) << 32;
        let mut own: Vec<_> = share(job, SESSIONS).map(|n| (key(n), Revision::from_u64(n))).collect();
        let owners: Vec<_> = share(job, SESSIONS).map(|n| self.owner(n)).collect::<Result<_>>()?;
        let next = |n: usize| self.record(1 << 40 | offset | n as u64, owners[n % owners.len()].as_ref());
        match self.operation {
            Operation::Load => repeat!(job, |n| {
                let found = store.load(key(mix(offset | n as u64) % SESSIONS)).await?;
                ensure!(found.is_some_and(|record| record.payload.len() == PAYLOAD));
            }),
            Operation::Save | Operation::ChangeId => repeat!(job, |n| {
                let at = n % own.len();
                let ((key, revision), record) = (own[at], next(n));
                ensure!(store.save(key, revision, &record).await? == Saved::Stored);
                own[at].1 = record.revision;
            }),
            Operation::LoadAndSave => repeat!(job, |n| {
                let (key, _) = own[n % own.len()];
                let found = store.load(key).await?.context("not there")?;
                ensure!(store.save(key, found.revision, &next(n)).await? == Saved::Stored);
            }),
            Operation::Create => repeat!(job, |n| {
                ensure!(store.create(fresh(job, n), &next(n)).await? == Created::Stored);
            }),
            Operation::Touch => bail!("it is not measured"),
        }
    }
}
