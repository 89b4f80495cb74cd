//! The Redis stores of tower-sessions and actix-session, with one connection each. They store maps of values, so what
//! they store is a session of the same size as JSON.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use actix_session::storage::{RedisSessionStore, SessionKey as ActixKey, SessionStore as _};
use actix_web::cookie::time::Duration as ActixDuration;
use anyhow::{Result, bail, ensure};
use async_trait::async_trait;
use fred::prelude::{Builder, Client, ClientLike as _, Config};
use fred::types::config::ConnectionConfig;
use tower_sessions_redis_store::{RedisStore, fred};

use super::{LIFE_SECONDS, Place, SESSIONS};
use crate::operation::{Operation, share};
use crate::rounds::{Contender, Job, Tally, repeat};
use crate::sample::{self, mix};
use crate::tower::of_before;

/// One connection of the driver that peers use.
pub(crate) async fn client(place: &Place) -> Result<Client> {
    let mut builder = Builder::from_config(Config::from_url(&place.url())?);
    builder.with_connection_config(|config: &mut ConnectionConfig| config.tcp.nodelay = Some(true));
    let client = builder.build()?;
    client.init().await?;
    Ok(client)
}

pub(crate) struct Tower {
    operation: Operation,
    place: Place,
    store: RedisStore<Client>,
}

impl Tower {
    pub(crate) async fn new(operation: Operation, place: Place) -> Result<Self> {
        let store = RedisStore::new(client(&place).await?);
        Ok(Self { operation, place, store })
    }

    pub(crate) async fn fill(&self, sessions: u64) -> Result<()> {
        of_before::fill(&self.store, sessions, &sample::session()).await
    }
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
        of_before::work(&self.store, self.operation, SESSIONS, &sample::session(), job).await
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
        let mut keys: Vec<_> = share(job, SESSIONS).map(|n| all[n as usize].clone()).collect();
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
            Operation::ChangeId => repeat!(job, |n| {
                let at = n % keys.len();
                store.delete(&actix(&keys[at])?).await?;
                keys[at] = store.save(state.clone(), &LIFE).await?.as_ref().to_owned();
            }),
            Operation::Touch => bail!("it is not measured"),
        }
    }
}
