//! Sessions in Redis and Valkey, beside the bare commands through the same driver and three peers.

mod bare;
mod footprint;
mod ours;
mod peers;
mod ruts;

use std::sync::Arc;

use anyhow::Result;
use session_conformance::servers::redis::{RedisProgram, RedisServer};

use crate::operation::Operation;
use crate::report::Report;
use crate::rounds::{Contender, Contest, Effort};

/// As long as the sample session is as JSON.
const PAYLOAD: usize = 577;
const SESSIONS: u64 = 1_024;
/// It has no expiry for parts of a value.
const REDIS: &str = "Redis 7.0";
const LIFE_SECONDS: u64 = 86_400;

/// Where one contender has its sessions: a database of its own.
#[derive(Clone)]
struct Place {
    server: Arc<RedisServer>,
    database: usize,
}

impl Place {
    fn url(&self) -> String {
        format!("{}/{}", self.server.url(), self.database)
    }

    async fn empty(&self) -> Result<()> {
        let client = ::redis::Client::open(self.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        Ok(::redis::cmd("FLUSHDB").arg("SYNC").exec_async(&mut connection).await?)
    }
}

pub(crate) async fn run(effort: Effort, report: &mut Report) -> Result<()> {
    for (name, program) in [(REDIS, RedisProgram::redis()), ("Valkey 9.1", RedisProgram::valkey())] {
        let program = program.map_err(|missing| anyhow::anyhow!("{missing}"))?;
        let server = Arc::new(RedisServer::start(&program, &[])?);
        footprint::run(name, effort, report, &server).await?;
        for operation in
            [Operation::Load, Operation::Save, Operation::LoadAndSave, Operation::Create, Operation::ChangeId]
        {
            for tasks in [1, 8, 64] {
                contest(effort, report, name, &server, operation, tasks).await?;
            }
        }
    }
    Ok(())
}

async fn contest(
    effort: Effort,
    report: &mut Report,
    name: &str,
    server: &Arc<RedisServer>,
    operation: Operation,
    tasks: usize,
) -> Result<()> {
    let place = |database| Place { server: Arc::clone(server), database };
    let mut contenders: Vec<Arc<dyn Contender>> = vec![
        Arc::new(bare::Bare::new(operation, place(1)).await?),
        Arc::new(ours::Ours::new(operation, place(2))?),
        Arc::new(ours::Ours::owned(operation, place(6))?),
        Arc::new(peers::Tower::new(operation, place(3)).await?),
        Arc::new(peers::Actix::new(operation, place(4)).await?),
    ];
    if name != REDIS && operation != Operation::Create {
        contenders.push(Arc::new(ruts::Ruts::new(operation, place(5)).await?));
    }
    let operations = match tasks {
        1 => effort.pick(2_000, 6_000),
        8 => effort.pick(8_000, 24_000),
        _ => effort.pick(16_000, 48_000),
    };
    let title = format!("{name}: {operation:?}, {SESSIONS} sessions");
    report.contest(Contest { title, contenders, tasks, operations, rounds: effort.pick(3, 11) }).await
}
