//! The stores of tower-sessions, of whichever version they are for. They keep a map of values, so what they store is a
//! session of the same size as JSON.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use async_trait::async_trait;
use serde_json::{Map, Value};
use session_core::SessionKey;
use tower_sessions::cookie::time::OffsetDateTime;

use crate::operation::{Operation, fresh, share};
use crate::rounds::{Contender, Job, Tally, repeat};
use crate::sample::{key, mix};

/// The same text for two versions of one interface.
macro_rules! tower {
    ($module:ident, $interface:ident) => {
        pub(crate) mod $module {
            use $interface::SessionStore;
            use $interface::session::{Id, Record};

            use super::*;

            /// One that is opened anew for each round, unless that only loads, with what has to live as long.
            pub(crate) struct Tower<S, P> {
                pub(crate) name: &'static str,
                pub(crate) operation: Operation,
                pub(crate) sessions: u64,
                pub(crate) data: Map<String, Value>,
                pub(crate) open: fn() -> Result<(S, P)>,
                pub(crate) filled: RwLock<Option<(S, Arc<P>)>>,
            }

            impl<S: Clone, P> Tower<S, P> {
                fn store(&self) -> Option<S> {
                    let filled = self.filled.read().unwrap_or_else(PoisonError::into_inner);
                    filled.as_ref().map(|(store, _)| store.clone())
                }
            }

            #[async_trait]
            impl<S: SessionStore + Clone, P: Send + Sync> Contender for Tower<S, P> {
                fn name(&self) -> &'static str {
                    self.name
                }

                async fn reset(&self) -> Result<()> {
                    if self.operation == Operation::Load && self.store().is_some() {
                        return Ok(());
                    }
                    // Before the new one, so that there is one of them at a time.
                    drop(self.filled.write().unwrap_or_else(PoisonError::into_inner).take());
                    let (store, place) = (self.open)()?;
                    fill(&store, self.sessions, &self.data).await?;
                    let filled = Some((store, Arc::new(place)));
                    *self.filled.write().unwrap_or_else(PoisonError::into_inner) = filled;
                    Ok(())
                }

                async fn run(&self, job: Job) -> Result<Tally> {
                    let store = self.store().context("not reset")?;
                    work(&store, self.operation, self.sessions, &self.data, job).await
                }
            }

            pub(crate) async fn fill(
                store: &impl SessionStore,
                sessions: u64,
                data: &Map<String, Value>,
            ) -> Result<()> {
                for n in 0..sessions {
                    store.create(&mut record(key(n), data)).await?;
                }
                Ok(())
            }

            /// One task's operations on a store that was filled as above.
            pub(crate) async fn work(
                store: &impl SessionStore,
                operation: Operation,
                sessions: u64,
                data: &Map<String, Value>,
                job: Job,
            ) -> Result<Tally> {
                let offset = (job.task as u64) << 32;
                let mut keys: Vec<SessionKey> = share(job, sessions).map(key).collect();
                let mut record = record(key(0), data);
                match operation {
                    Operation::Load => repeat!(job, |n| {
                        let found = store.load(&id(key(mix(offset | n as u64) % sessions))).await?;
                        ensure!(found.is_some());
                    }),
                    Operation::Save => repeat!(job, |n| {
                        record.id = id(keys[n % keys.len()]);
                        store.save(&record).await?;
                    }),
                    Operation::LoadAndSave => repeat!(job, |n| {
                        let found = store.load(&id(keys[n % keys.len()])).await?;
                        store.save(&found.context("not there")?).await?;
                    }),
                    Operation::Create => repeat!(job, |n| {
                        record.id = id(fresh(job, n));
                        store.create(&mut record).await?;
                    }),
                    // What its sessions do to change their id.
                    Operation::ChangeId => repeat!(job, |n| {
                        let (at, to) = (n % keys.len(), fresh(job, n));
                        store.delete(&id(keys[at])).await?;
                        record.id = id(to);
                        store.create(&mut record).await?;
                        keys[at] = to;
                    }),
                    Operation::Touch => bail!("tower-sessions has no touch"),
                }
            }

            fn record(key: SessionKey, data: &Map<String, Value>) -> Record {
                Record {
                    id: id(key),
                    data: data.clone().into_iter().collect(),
                    expiry_date: OffsetDateTime::now_utc() + Duration::from_secs(86_400),
                }
            }

            fn id(key: SessionKey) -> Id {
                Id(key.as_uuid().as_u128() as i128)
            }
        }
    };
}

tower!(of_today, tower_sessions);
tower!(of_before, tower_sessions_older_core);
