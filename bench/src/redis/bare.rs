//! The bare commands: no compare-and-set, no answer to a lost race, no owner.

use anyhow::{Result, bail, ensure};
use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, Value, cmd};
use session_core::SessionKey;

use super::{LIFE_SECONDS, PAYLOAD, Place, SESSIONS};
use crate::operation::{Operation, fresh, share};
use crate::rounds::{Contender, Job, Tally, repeat};
use crate::sample::{key, mix};

pub(crate) struct Bare {
    operation: Operation,
    place: Place,
    connection: MultiplexedConnection,
}

impl Bare {
    pub(crate) async fn new(operation: Operation, place: Place) -> Result<Self> {
        let connection = redis::Client::open(place.url())?.get_multiplexed_async_connection().await?;
        Ok(Self { operation, place, connection })
    }
}

fn name(key: SessionKey) -> String {
    format!("session:{key}")
}

fn set(name: &str) -> redis::Cmd {
    let mut set = cmd("SET");
    set.arg(name).arg(&[7_u8; PAYLOAD][..]).arg("EX").arg(LIFE_SECONDS);
    set
}

#[async_trait]
impl Contender for Bare {
    fn name(&self) -> &'static str {
        "bare commands"
    }

    async fn reset(&self) -> Result<()> {
        self.place.empty().await?;
        let mut connection = self.connection.clone();
        let mut fill = Pipeline::new();
        for n in 0..SESSIONS {
            fill.add_command(set(&name(key(n)))).ignore();
        }
        Ok(fill.exec_async(&mut connection).await?)
    }

    async fn run(&self, job: Job) -> Result<Tally> {
        let mut connection = self.connection.clone();
        let offset = (job.task as u64) << 32;
        let keys: Vec<_> = share(job, SESSIONS).map(key).collect();
        match self.operation {
            Operation::Load => repeat!(job, |n| {
                let name = name(key(mix(offset | n as u64) % SESSIONS));
                let found: Vec<u8> = cmd("GET").arg(name).query_async(&mut connection).await?;
                ensure!(found.len() == PAYLOAD);
            }),
            Operation::Save | Operation::ChangeId => repeat!(job, |n| {
                set(&name(keys[n % keys.len()])).exec_async(&mut connection).await?;
            }),
            Operation::LoadAndSave => repeat!(job, |n| {
                let name = name(keys[n % keys.len()]);
                let found: Vec<u8> = cmd("GET").arg(&name).query_async(&mut connection).await?;
                ensure!(found.len() == PAYLOAD);
                set(&name).exec_async(&mut connection).await?;
            }),
            Operation::Create => repeat!(job, |n| {
                let mut set = set(&name(fresh(job, n)));
                let created: Value = set.arg("NX").query_async(&mut connection).await?;
                ensure!(created == Value::Okay);
            }),
            Operation::Touch => bail!("it is not measured"),
        }
    }
}
