//! The Redis stores of tower-sessions and actix-session, with one connection each. They store maps of values, so what
//! they store is a session of the same size as JSON.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use actix_session::storage::{RedisSessionStore, SessionKey as ActixKey, SessionStore as _};
use actix_web::cookie::time::Duration as ActixDuration;
use anyhow::{Result, ensure};
use async_trait::async_trait;
use fred::prelude::{Builder, Client, ClientLike as _, Config};
use fred::types::config::ConnectionConfig;
use session_core::SessionKey;
use tower_sessions::cookie::time::OffsetDateTime;
use tower_sessions_older_core::SessionStore as _;
use tower_sessions_older_core::session::{Id, Record};
use tower_sessions_redis_store::{RedisStore, fred};

use super::{LIFE_SECONDS, Operation, Place, SESSIONS, fresh, share};
use crate::rounds::{Contender, Job, Tally, repeat};
use crate::sample::{self, key, mix};

pub(crate) struct Tower {
    operation: Operation,
    place: Place,
    store: RedisStore<Client>,
}

impl Tower {
    pub(crate) async fn new(operation: Operation, place: Place) -> Result<Self> {
        let mut builder = Builder::from_config(Config::from_url(&place.url())?);
        builder.with_connection_config(|config: &mut ConnectionConfig| config.tcp.nodelay = Some(true));
        let client = builder.build()?;
        client.init().await?;
        Ok(Self { operation, place, store: RedisStore::new(client) })
    }
}

impl Tower {
    pub(crate) async fn fill(&self, sessions: u64) -> Result<()> {
        for n in 0..sessions {
            self.store.create(&mut record(key(n))).await?;
        }
        Ok(())
    }
}

fn record(key: SessionKey) -> Record {
    Record {
        id: id(key),
        data: sample::session().into_iter().collect(),
        expiry_date: OffsetDateTime::now_utc() + Duration::from_secs(LIFE_SECONDS),
    }
}

fn id(key: SessionKey) -> Id {
    Id(key.as_uuid().as_u128() as i128)
}

#[async_trait]
impl Contender for Tower {
    fn name(&self) -> &'static str {
        "tower-sessions-redis-store"
    }

    async fn reset(&self) -> Result<()> {
        self.place.empty().await?;
        self.fill(SESSIONS).await
    }

    async fn run(&self, job: Job) -> Result<Tally> {
        let store = &self.store;
        let offset = (job.task as u64) << 32;
        let mut keys: Vec<_> = share(job).into_iter().map(key).collect();
        let mut record = record(key(0));
        match self.operation {
            Operation::Load => repeat!(job, |n| {
                ensure!(store.load(&id(key(mix(offset | n as u64) % SESSIONS))).await?.is_some());
            }),
            Operation::Save => repeat!(job, |n| {
                record.id = id(keys[n % keys.len()]);
                store.save(&record).await?;
            }),
            Operation::LoadAndSave => repeat!(job, |n| {
                let found = store.load(&id(keys[n % keys.len()])).await?;
                store.save(&found.ok_or_else(|| anyhow::anyhow!("not there"))?).await?;
            }),
            Operation::Create => repeat!(job, |n| {
                record.id = id(fresh(job, n));
                store.create(&mut record).await?;
            }),
            // What its sessions do to change their id.
            Operation::Rename => repeat!(job, |n| {
                let (at, to) = (n % keys.len(), fresh(job, n));
                store.delete(&id(keys[at])).await?;
                record.id = id(to);
                store.create(&mut record).await?;
                keys[at] = to;
            }),
        }
    }
}

pub(crate) struct Actix {
    operation: Operation,
    place: Place,
    store: RedisSessionStore,
    keys: Mutex<Vec<String>>,
}

impl Actix {
    pub(crate) async fn new(operation: Operation, place: Place) -> Result<Self> {
        let store = RedisSessionStore::new(place.url()).await?;
        Ok(Self { operation, place, store, keys: Mutex::default() })
    }
}

impl Actix {
    pub(crate) async fn fill(&self, sessions: u64) -> Result<()> {
        let mut keys = Vec::new();
        for _ in 0..sessions {
            keys.push(self.store.save(state(), &LIFE).await?.as_ref().to_owned());
        }
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }
}

/// Its sessions hold text: JSON, entry by entry.
fn state() -> HashMap<String, String> {
    sample::session().into_iter().map(|(name, value)| (name, value.to_string())).collect()
}

const LIFE: ActixDuration = ActixDuration::seconds(LIFE_SECONDS as i64);

fn actix(text: &str) -> Result<ActixKey> {
    ActixKey::try_from(text.to_owned()).map_err(|_| anyhow::anyhow!("not a key"))
}

#[async_trait]
impl Contender for Actix {
    fn name(&self) -> &'static str {
        "actix-session"
    }

    async fn reset(&self) -> Result<()> {
        self.place.empty().await?;
        self.fill(SESSIONS).await
    }

    async fn run(&self, job: Job) -> Result<Tally> {
        let store = &self.store;
        let offset = (job.task as u64) << 32;
        let all = self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut keys: Vec<_> = share(job).into_iter().map(|n| all[n as usize].clone()).collect();
        let state = state();
        match self.operation {
            Operation::Load => repeat!(job, |n| {
                let at = mix(offset | n as u64) % SESSIONS;
                ensure!(store.load(&actix(&all[at as usize])?).await?.is_some());
            }),
            Operation::Save => repeat!(job, |n| {
                let _ = store.update(actix(&keys[n % keys.len()])?, state.clone(), &LIFE).await?;
            }),
            Operation::LoadAndSave => repeat!(job, |n| {
                let name = &keys[n % keys.len()];
                let found = store.load(&actix(name)?).await?;
                let found = found.ok_or_else(|| anyhow::anyhow!("not there"))?;
                let _ = store.update(actix(name)?, found, &LIFE).await?;
            }),
            Operation::Create => repeat!(job, |_n| {
                let _ = store.save(state.clone(), &LIFE).await?;
            }),
            // What its sessions do to renew their key.
            Operation::Rename => repeat!(job, |n| {
                let at = n % keys.len();
                store.delete(&actix(&keys[at])?).await?;
                keys[at] = store.save(state.clone(), &LIFE).await?.as_ref().to_owned();
            }),
        }
    }
}
