//! The Redis store of ruts: a hash of entries each of which has an expiry of its own, which takes Valkey 9 or Redis 7.4.
//!
//! A save is what its sessions do when one entry changes: they write that entry, and compare nothing. They are created by
//! their first entry, so there is no create to measure.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, bail, ensure};
use async_trait::async_trait;
use fred::prelude::Client;
use ruts::Id;
use ruts::store::redis::RedisStore;
use ruts::store::{SessionStore as _, Ttl};
use tower_sessions_redis_store::fred;

use super::{LIFE_SECONDS, Place, SESSIONS, peers};
use crate::operation::{Operation, share};
use crate::rounds::{Contender, Job, Tally, repeat};
use crate::sample::{self, mix};

pub(crate) struct Ruts {
    operation: Operation,
    place: Place,
    store: RedisStore<Client>,
    ids: Mutex<Vec<Id>>,
}

impl Ruts {
    pub(crate) async fn new(operation: Operation, place: Place) -> Result<Self> {
        let store = RedisStore::new(Arc::new(peers::client(&place).await?)).await?;
        Ok(Self { operation, place, store, ids: Mutex::default() })
    }
}

#[async_trait]
impl Contender for Ruts {
    fn name(&self) -> &'static str {
        "ruts"
    }

    async fn reset(&self) -> Result<()> {
        self.place.empty().await?;
        let life = Ttl::new(LIFE_SECONDS as i64)?;
        let ids: Vec<Id> = (0..SESSIONS).map(|_| Id::default()).collect();
        for id in &ids {
            for (name, value) in sample::session() {
                self.store.set(id, &name, &value, life, None).await?;
            }
        }
        *self.ids.lock().unwrap_or_else(PoisonError::into_inner) = ids;
        Ok(())
    }

    async fn run(&self, job: Job) -> Result<Tally> {
        let store = &self.store;
        let offset = (job.task as u64) << 32;
        let life = Ttl::new(LIFE_SECONDS as i64)?;
        let all = self.ids.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut ids: Vec<Id> = share(job, SESSIONS).map(|n| all[n as usize].clone()).collect();
        match self.operation {
            Operation::Load => repeat!(job, |n| {
                let at = mix(offset | n as u64) % SESSIONS;
                ensure!(store.get_all(&all[at as usize]).await?.is_some());
            }),
            Operation::Save => repeat!(job, |n| {
                store.set(&ids[n % ids.len()], sample::READ, &sample::READ_VALUE, life, None).await?;
            }),
            Operation::LoadAndSave => repeat!(job, |n| {
                let id = &ids[n % ids.len()];
                store.get_all(id).await?.context("not there")?;
                store.set(id, sample::READ, &sample::READ_VALUE, life, None).await?;
            }),
            Operation::ChangeId => repeat!(job, |n| {
                let (at, to) = (n % ids.len(), Id::default());
                ensure!(store.rename_session_id(&ids[at], &to).await?);
                ids[at] = to;
            }),
            Operation::Create | Operation::Touch => bail!("it is not measured"),
        }
    }
}
