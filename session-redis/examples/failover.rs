//! Counts the writes that are acknowledged and then lost when Sentinel replaces a master that is well.
//!
//! ```text
//! cargo run -p session-redis --example failover -- 20          # as it is by default
//! cargo run -p session-redis --example failover -- 20 wait     # with one replica confirming each write
//! ```
//!
//! Eight tasks create sessions without a pause. The Sentinels are told to fail over; when all servers follow the new
//! master, every session whose creation was acknowledged is looked up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use session_conformance::servers::redis::{RedisProgram, RedisSentinel};
use session_core::{Created, Record, Result, Revision, SessionKey, SessionStore, Timestamp};
use session_redis::{RedisConfig, RedisStore};

const TASKS: usize = 8;

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let rounds: u32 = arguments.next().as_deref().unwrap_or("20").parse()?;
    let wait = arguments.next().as_deref() == Some("wait");

    let servers = Arc::new(RedisSentinel::start(&RedisProgram::redis()?, 1, Duration::from_secs(2))?);
    let mut config = RedisConfig::new(servers.url());
    if wait {
        config = config.with_wait(1, Duration::from_millis(500));
    }
    let store = RedisStore::new(config)?;
    store.prepare().await?;
    let (mut all, mut failed, mut lost) = (0, 0, 0);
    for round in 1..=rounds {
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> =
            (0..TASKS).map(|_| tokio::spawn(write(store.clone(), Arc::clone(&stop)))).collect();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let watched = Arc::clone(&servers);
        let start = std::time::Instant::now();
        tokio::task::spawn_blocking(move || watched.fail_over()).await??;
        let took = start.elapsed().as_secs_f32();
        stop.store(true, Ordering::Relaxed);
        let mut missing = 0;
        for writer in writers {
            let (stored, errors) = writer.await??;
            all += stored.len();
            failed += errors;
            for key in stored {
                missing += u32::from(store.load(key).await?.is_none());
            }
        }
        println!("failover {round}: {missing} lost, all servers followed after {took:.1} s");
        lost += missing;
    }
    println!(
        "{rounds} failovers, wait {wait}: {all} writes acknowledged, {lost} of them lost, {failed} errors"
    );
    Ok(())
}

/// Creates sessions until it is told to stop: the acknowledged ones, and how many attempts failed.
async fn write(store: RedisStore, stop: Arc<AtomicBool>) -> Result<(Vec<SessionKey>, usize)> {
    let (mut stored, mut errors) = (Vec::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        let key = SessionKey::generate()?;
        let record = Record {
            revision: Revision::generate()?,
            owner: None,
            created_at: Timestamp::now(),
            expires_at: Timestamp::now().saturating_add(Duration::from_secs(3_600)),
            payload: b"payload".as_slice().into(),
        };
        match store.create(key, &record).await {
            Ok(Created::Stored) => stored.push(key),
            Ok(Created::Occupied) | Err(_) => errors += 1,
        }
        // Enough to be in the middle of everything, and little enough to be looked up in time.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok((stored, errors))
}
