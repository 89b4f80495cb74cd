//! Removing what expired: it should cost what expired, not what is live.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use session_core::{ManualClock, Record, Revision, SessionStore as _, Timestamp};
use session_memory::{MemoryConfig, MemoryStore};

use crate::report::{Report, median, spread, time};
use crate::rounds::Effort;
use crate::sample;

const EXPIRED: u64 = 10_000;

pub(crate) async fn run(effort: Effort, report: &mut Report) -> Result<()> {
    let title = format!("sweep of {EXPIRED} expired sessions, one task loading meanwhile");
    if !report.wants(&title) {
        return Ok(());
    }
    let sizes = [2 * EXPIRED, effort.pick(200_000, 1_000_000)];
    let (mut sweeps, mut stalls) = ([const { Vec::new() }; 2], [const { Vec::new() }; 2]);
    for _ in 0..effort.pick(3, 9) {
        for (at, size) in sizes.into_iter().enumerate() {
            let (sweep, stall) = measure(size).await?;
            sweeps[at].push(sweep.as_nanos() as f64);
            stalls[at].push(stall.as_nanos() as f64);
        }
    }
    let ratios = crate::report::ratios(&sweeps[1], &sweeps[0]);
    let rows = [0, 1].map(|at| {
        let ratio = if at == 0 { "1".to_owned() } else { spread(&ratios) };
        vec![sizes[at].to_string(), time(median(&sweeps[at])), time(median(&stalls[at])), ratio]
    });
    let raw = [0, 1]
        .map(|at| json!({ "sessions": sizes[at], "sweep_ns": sweeps[at], "slowest_load_ns": stalls[at] }));
    report.table(
        &title,
        &["sessions", "sweep", "slowest load", "time, of the first"],
        rows.into(),
        raw.into(),
    );
    Ok(())
}

/// How long a sweep takes, and the slowest load during it.
async fn measure(sessions: u64) -> Result<(Duration, Duration)> {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1)));
    let store = MemoryStore::new(MemoryConfig::default().with_clock(clock.clone()));
    let encoded = vec![7; 577];
    for n in 0..sessions {
        // One in so many expires soon; the others at many different times.
        let soon = n % (sessions / EXPIRED) == 0;
        let expires_at = if soon { 10 } else { 1_000_000 + sample::mix(n) % 1_000_000_000 };
        let record = Record {
            revision: Revision::from_u64(n),
            owner: None,
            created_at: Timestamp::EPOCH,
            expires_at: Timestamp::from_millis(expires_at as i64),
            payload: encoded.as_slice().into(),
        };
        let _ = store.create(sample::key(n), &record).await?;
    }
    clock.set(Timestamp::from_millis(1_000));
    let done = Arc::new(AtomicBool::new(false));
    let reader = std::thread::spawn({
        let (store, done) = (store.clone(), done.clone());
        move || -> Result<Duration> {
            let runtime = tokio::runtime::Builder::new_current_thread().build()?;
            let mut slowest = Duration::ZERO;
            for n in 0.. {
                let start = Instant::now();
                let loaded = runtime.block_on(store.load(sample::key(sample::mix(n) % sessions)))?;
                slowest = slowest.max(start.elapsed());
                drop(loaded);
                if done.load(Ordering::Relaxed) {
                    break;
                }
            }
            Ok(slowest)
        }
    });
    let start = Instant::now();
    let swept = store.delete_expired(usize::MAX).await?;
    let took = start.elapsed();
    done.store(true, Ordering::Relaxed);
    let slowest = reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
    ensure!(swept == EXPIRED, "swept {swept}");
    Ok((took, slowest))
}
