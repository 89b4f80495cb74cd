//! Resident bytes a session, each contender in a process of its own.

use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use dashmap::DashMap;
use serde_json::json;
use session_core::{Codecs, Record, Revision, SessionKey, SessionStore as _, Timestamp};
use session_memory::MemoryStore;
use tower_sessions::SessionStore as _;
use tower_sessions::cookie::time::OffsetDateTime;

use crate::machine::{available_bytes, resident_bytes};
use crate::report::{Report, time};
use crate::rounds::Effort;
use crate::sample;

const CONTENDERS: [&str; 5] = [
    "bare DashMap",
    "session-memory",
    "session-memory, with owners",
    "session-memory, touched",
    "tower-sessions memory",
];

/// What the largest row takes, and some room.
const LARGE: (&str, u64) = ("10000000", 12 << 30);

pub(crate) fn run(effort: Effort, report: &mut Report) -> Result<()> {
    table(effort.pick("100000", "1000000"), &CONTENDERS, report)?;
    if effort == Effort::Full {
        let (sessions, bytes) = LARGE;
        if available_bytes()? < bytes {
            eprintln!("left out, {sessions} sessions: they need {} GiB of memory", bytes >> 30);
            return Ok(());
        }
        // The others would need 45 GB.
        table(sessions, &CONTENDERS[..2], report)?;
    }
    Ok(())
}

fn table(sessions: &str, contenders: &[&str], report: &mut Report) -> Result<()> {
    let title = format!("resident bytes a session, {sessions} sessions of 577 B as JSON");
    if !report.wants(&title) {
        return Ok(());
    }
    let (mut rows, mut raw) = (Vec::new(), Vec::new());
    for name in contenders {
        let child =
            Command::new(std::env::current_exe()?).args(["child", "footprint", name, sessions]).output()?;
        ensure!(child.status.success(), "{name}: {}", String::from_utf8_lossy(&child.stderr));
        let figures = String::from_utf8(child.stdout)?;
        let (bytes, load) = figures.trim().split_once(' ').context("two figures are wanted")?;
        let (bytes, load): (f64, f64) = (bytes.parse()?, load.parse()?);
        rows.push(vec![(*name).to_owned(), format!("{bytes:.0}"), time(load)]);
        raw.push(json!({ "name": name, "bytes_per_session": bytes, "load_ns": load }));
    }
    report.table(&title, &["", "bytes", "a load, one task"], rows, raw);
    Ok(())
}

/// What the child process does: fill the store, and print what it grew by and how long a load of it takes.
pub(crate) fn child(arguments: &[String]) -> Result<()> {
    let [name, sessions] = arguments else { bail!("a contender and a number of sessions are wanted") };
    let sessions: u64 = sessions.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let before = resident_bytes()?;
    let (after, load) = runtime.block_on(fill(name, sessions))?;
    println!("{} {load}", after.saturating_sub(before) as f64 / sessions as f64);
    Ok(())
}

const LOADS: u32 = 200_000;

/// Nanoseconds a load of a session taken at random.
macro_rules! timed {
    ($sessions:ident, |$key:ident| $load:expr) => {{
        let start = Instant::now();
        for n in 0..u64::from(LOADS) {
            let $key = sample::key(sample::mix(n) % $sessions);
            ensure!($load.is_some());
        }
        start.elapsed().as_nanos() as f64 / f64::from(LOADS)
    }};
}

/// The resident bytes while the store is full, and the time of a load.
async fn fill(name: &str, sessions: u64) -> Result<(u64, f64)> {
    let encoded = encoded()?;
    match name {
        "bare DashMap" => {
            let map = DashMap::new();
            for n in 0..sessions {
                map.insert(sample::key(n), Arc::<[u8]>::from(encoded.as_slice()));
            }
            let full = resident_bytes()?;
            Ok((full, timed!(sessions, |key| map.get(&key).map(|bytes| Arc::clone(&bytes)))))
        }
        "session-memory" | "session-memory, with owners" | "session-memory, touched" => {
            let store = MemoryStore::default();
            for n in 0..sessions {
                let record = Record {
                    revision: Revision::from_u64(n),
                    owner: name.ends_with("owners").then(|| format!("user-{}", n / 2).parse()).transpose()?,
                    created_at: Timestamp::EPOCH,
                    // Sessions that live equally long expire in the order in which they began.
                    expires_at: Timestamp::now().saturating_add(std::time::Duration::from_secs(86_400)),
                    payload: encoded.as_slice().into(),
                };
                let _ = store.create(sample::key(n), &record).await?;
            }
            if name.ends_with("touched") {
                // In an order of their own, some of them more than once.
                for n in 0..sessions {
                    let soon = Timestamp::now().saturating_add(std::time::Duration::from_secs(100_000));
                    let n = sample::mix(n) % sessions;
                    let _ = store.touch(sample::key(n), Revision::from_u64(n), soon).await?;
                }
            }
            let full = resident_bytes()?;
            Ok((full, timed!(sessions, |key| store.load(key).await?)))
        }
        "tower-sessions memory" => {
            let store = tower_sessions::MemoryStore::default();
            let expiry_date = OffsetDateTime::now_utc() + std::time::Duration::from_secs(86_400);
            for n in 0..sessions {
                let id = tower_sessions::session::Id(sample::key(n).as_uuid().as_u128() as i128);
                let data = sample::session().into_iter().collect();
                store.create(&mut tower_sessions::session::Record { id, data, expiry_date }).await?;
            }
            let full = resident_bytes()?;
            let id = |key: SessionKey| tower_sessions::session::Id(key.as_uuid().as_u128() as i128);
            Ok((full, timed!(sessions, |key| store.load(&id(key)).await?)))
        }
        _ => Err(anyhow::anyhow!("{name}")).context("an unknown contender"),
    }
}

/// The sample as our default codec writes it.
fn encoded() -> Result<Vec<u8>> {
    Ok(Codecs::default().encode_entries(sample::key(0), &sample::entries()?)?.to_vec())
}
