//! What a session takes of the server's memory.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use serde_json::json;
use session_conformance::servers::redis::RedisServer;
use session_core::{Codec, Codecs};
use session_core::{Owner, Record, Revision, SessionStore as _, Timestamp};
use session_redis::{RedisConfig, RedisStore};

use super::{LIFE_SECONDS, Place, peers};
use crate::operation::Operation;
use crate::report::Report;
use crate::rounds::{Contender as _, Effort};
use crate::sample::{self, key};

pub(crate) async fn run(
    name: &str,
    effort: Effort,
    report: &mut Report,
    server: &Arc<RedisServer>,
) -> Result<()> {
    let title = format!("{name}: bytes of the server's memory for a session of 577 B as JSON");
    if !report.wants(&title) {
        return Ok(());
    }
    let sessions = effort.pick(10_000, 100_000);
    let place = |database| Place { server: Arc::clone(server), database };
    let payload: Arc<[u8]> =
        Codecs::new(Codec::bincode()).encode_entries(key(0), &sample::entries()?)?.to_vec().into();
    let mut taken = Vec::new();
    for (what, owned) in [
        ("session-redis", None),
        ("session-redis, an owner each", Some(1)),
        ("session-redis, an owner of 5", Some(5)),
    ] {
        let place = place(2);
        let before = used(server)?;
        fill(&place, sessions, owned, &payload).await?;
        taken.push((what, used(server)?.saturating_sub(before) / sessions));
        place.empty().await?;
    }
    let tower = peers::Tower::new(Operation::Create, place(3)).await?;
    let before = used(server)?;
    tower.fill(sessions).await?;
    taken.push((tower.name(), used(server)?.saturating_sub(before) / sessions));
    place(3).empty().await?;
    let actix = peers::Actix::new(Operation::Create, place(4)).await?;
    let before = used(server)?;
    actix.fill(sessions).await?;
    taken.push((actix.name(), used(server)?.saturating_sub(before) / sessions));
    place(4).empty().await?;
    let rows = taken.iter().map(|(what, bytes)| vec![(*what).to_owned(), bytes.to_string()]);
    let raw = taken.iter().map(|(what, bytes)| json!({ "name": what, "bytes": bytes }));
    report.table(&title, &["", "bytes"], rows.collect(), raw.collect());
    Ok(())
}

/// The memory that the server has given out.
fn used(server: &RedisServer) -> Result<u64> {
    let info = server.command(&[b"INFO", b"memory"])?.text();
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    Ok(line.context("no used_memory")?.trim().parse()?)
}

async fn fill(place: &Place, sessions: u64, each: Option<u64>, payload: &Arc<[u8]>) -> Result<()> {
    let store = RedisStore::new(RedisConfig::new(place.url()))?;
    let owner = |n: u64| each.map(|each| Owner::new(format!("{}", 8_675_309 + n / each))).transpose();
    for n in 0..sessions {
        let record = Record {
            revision: Revision::from_u64(n),
            owner: owner(n)?,
            created_at: Timestamp::now(),
            expires_at: Timestamp::now().saturating_add(std::time::Duration::from_secs(LIFE_SECONDS)),
            payload: Arc::clone(payload),
        };
        let _ = store.create(key(n), &record).await?;
    }
    Ok(())
}
