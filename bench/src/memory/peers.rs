//! tower-sessions' store in memory, and the one on moka, which is for an older tower-sessions. They keep a map of
//! values, so what they store is a session of the same size as JSON.

use std::sync::{PoisonError, RwLock};

use anyhow::{Result, ensure};
use async_trait::async_trait;
use session_core::SessionKey;
use tower_sessions::cookie::time::OffsetDateTime;

use super::operations::{Operation, fresh, share};
use crate::rounds::{Contender, Job, Tally, repeat};
use crate::sample::{self, key, mix};

pub(crate) fn memory_store(operation: Operation, sessions: u64) -> impl Contender {
    of_today::Tower::new("tower-sessions memory", operation, sessions, tower_sessions::MemoryStore::default)
}

pub(crate) fn moka_store(operation: Operation, sessions: u64) -> impl Contender {
    let open = || tower_sessions_moka_store::MokaStore::new(None);
    of_before::Tower::new("tower-sessions moka", operation, sessions, open)
}

/// The same text for two versions of one interface.
macro_rules! tower {
    ($module:ident, $interface:ident) => {
        mod $module {
            use $interface::SessionStore;
            use $interface::session::{Id, Record};

            use super::*;

            pub(super) struct Tower<S> {
                name: &'static str,
                operation: Operation,
                sessions: u64,
                open: fn() -> S,
                store: RwLock<Option<S>>,
            }

            fn record(key: SessionKey) -> Record {
                Record {
                    id: id(key),
                    data: sample::session_of_1_kb().into_iter().collect(),
                    expiry_date: OffsetDateTime::now_utc() + std::time::Duration::from_secs(86_400),
                }
            }

            fn id(key: SessionKey) -> Id {
                Id(key.as_uuid().as_u128() as i128)
            }

            impl<S: Clone> Tower<S> {
                pub(super) fn new(
                    name: &'static str,
                    operation: Operation,
                    sessions: u64,
                    open: fn() -> S,
                ) -> Self {
                    Self { name, operation, sessions, open, store: RwLock::new(None) }
                }

                fn store(&self) -> Option<S> {
                    self.store.read().unwrap_or_else(PoisonError::into_inner).clone()
                }
            }

            #[async_trait]
            impl<S: SessionStore + Clone> Contender for Tower<S> {
                fn name(&self) -> &'static str {
                    self.name
                }

                async fn reset(&self) -> Result<()> {
                    if self.operation == Operation::Load && self.store().is_some() {
                        return Ok(());
                    }
                    // Before the new one, so that memory holds one of them.
                    drop(self.store.write().unwrap_or_else(PoisonError::into_inner).take());
                    let store = (self.open)();
                    for n in 0..self.sessions {
                        store.create(&mut record(key(n))).await?;
                    }
                    *self.store.write().unwrap_or_else(PoisonError::into_inner) = Some(store);
                    Ok(())
                }

                async fn run(&self, job: Job) -> Result<Tally> {
                    let store = self.store().ok_or_else(|| anyhow::anyhow!("not reset"))?;
                    let offset = (job.task as u64) << 32;
                    let mut keys = share(job, self.sessions);
                    let mut record = record(key(0));
                    match self.operation {
                        Operation::Load => repeat!(job, |n| {
                            let found = store.load(&id(key(mix(offset | n as u64) % self.sessions))).await?;
                            ensure!(found.is_some());
                        }),
                        Operation::Save => repeat!(job, |n| {
                            record.id = id(keys[n % keys.len()]);
                            store.save(&record).await?;
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
        }
    };
}

tower!(of_today, tower_sessions);
tower!(of_before, tower_sessions_older_core);
