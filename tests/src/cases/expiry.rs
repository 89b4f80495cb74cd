//! Expiry: E1 to E4 and E6, and L5 for sweeps.
//!
//! E5, the cost of a sweep, cannot be seen through the trait: each backend's own tests look at its query plan, its
//! index or its count of records read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use session_core::{Created, Record, Saved, SessionKey, Timestamp, Touched};
use tokio::task::JoinHandle;

use crate::Rule::{E1, E2, E3, E4, E6, L5};
use crate::case::{Entry, case};
use crate::race::{Work, all};
use crate::store::Store;
use crate::test::{Outcome, Test};

pub(super) const CASES: &[Entry] = &[
    case!(expiry::a_sweep_removes_no_live_session: E1),
    case!(expiry::a_sweep_leaves_what_ends_in_a_moment: E1),
    case!(expiry::a_sweep_removes_at_most_the_limit_and_counts: E1; unless SelfExpiring),
    case!(expiry::a_sweep_of_nothing_returns_0: E1),
    case!(expiry::repeated_sweeps_remove_every_expired_record_once: E2; unless SelfExpiring, SweepsOnWrite),
    case!(expiry::sweeps_count_records_that_ended_by_and_by: E2, E1; unless SelfExpiring),
    case!(expiry::a_storage_that_expires_by_itself_counts_0: E2; needs SelfExpiring),
    case!(expiry::sweeps_go_past_damaged_records: L5, E2; needs Damage; unless SelfExpiring, SweepsOnWrite),
    case!(expiry::sweeps_at_the_same_time_count_each_record_once: E3; unless SelfExpiring),
    case!(expiry::sweeps_beside_every_other_operation_neither_fail_nor_block: E3),
    case!(expiry::a_touch_or_save_in_time_survives_the_sweep: E4),
    case!(expiry::a_record_created_over_an_expired_one_survives_the_sweep: E4),
    case!(expiry::a_record_that_is_over_when_created_is_not_there: E6),
    case!(expiry::a_save_that_is_over_ends_the_session: E6),
    case!(expiry::a_save_that_is_over_still_compares_the_revision: E6),
];

/// Sweeps that never rest leave a storage that synchronises its disk little time for anything else.
const LONG_ENOUGH: Duration = Duration::from_secs(15);

/// Stores `count` records that have expired, with and without an owner.
async fn put_expired(t: &Test, store: &Store, count: usize) -> Outcome<Vec<SessionKey>> {
    let (ann, mut keys) = (t.owner("ann")?, Vec::new());
    let recently = Timestamp::from_millis(Timestamp::now().as_millis() - 1);
    for at in 0..count {
        let (key, owner) = (t.key()?, (at % 3 == 0).then(|| ann.clone()));
        // Several with the same expiry, and each a different one: an index must keep them apart.
        let expires_at = match at % 4 {
            0 => Timestamp::EPOCH,
            1 => recently,
            _ => Timestamp::from_millis(recently.as_millis() - i64::try_from(at).unwrap_or(0)),
        };
        store.put(key, &Record { owner, ..t.until(expires_at)? }).await?;
        keys.push(key);
    }
    Ok(keys)
}

/// Stores `count` records and waits until all of them have expired. None does while they are written, so that a store
/// that sweeps as it writes leaves them to be counted.
async fn let_expire(t: &Test, store: &Store, count: usize) -> Outcome {
    let (began, probe) = (Instant::now(), t.key()?);
    store.put(probe, &t.record()?).await?;
    store.delete(probe).await?;
    let mut life = Duration::from_millis(60) + began.elapsed() * 2 * u32::try_from(count).unwrap_or(u32::MAX);
    let ann = t.owner("ann")?;
    loop {
        let first = Timestamp::now().saturating_add(life);
        for at in 0..count {
            // Several with the same expiry: an index must keep them apart.
            let expires_at = first.saturating_add(Duration::from_millis(at as u64 % 4 * 3));
            let owner = (at % 3 == 0).then(|| ann.clone());
            store.put(t.key()?, &Record { owner, ..t.until(expires_at)? }).await?;
        }
        if Timestamp::now() < first {
            t.wait_until_past(first.saturating_add(Duration::from_millis(10))).await;
            return Ok(());
        }
        // Too busy a machine to write them in time: again with a longer life.
        t.wait_until_past(first.saturating_add(Duration::from_millis(10))).await;
        while store.delete_expired(1000).await? > 0 {}
        life *= 4;
    }
}

async fn put_live(t: &Test, store: &Store, count: usize) -> Outcome<Vec<(SessionKey, Record)>> {
    let mut live = Vec::new();
    for _ in 0..count {
        let (key, record) = (t.key()?, t.record()?);
        store.put(key, &record).await?;
        live.push((key, record));
    }
    Ok(live)
}

async fn a_sweep_removes_no_live_session(t: &Test) -> Outcome {
    let store = t.store().await?;
    let mut live = put_live(t, &store, 5).await?;
    // Live for the next seconds, and to the end of time.
    for expires_at in [Timestamp::now().saturating_add(Duration::from_secs(30)), Timestamp::MAX] {
        let (key, record) = (t.key()?, t.until(expires_at)?);
        store.put(key, &record).await?;
        live.push((key, record));
    }
    let expired = put_expired(t, &store, 8).await?;
    // Was to end soon, and was saved or touched in time.
    let soon = t.until(Timestamp::now().saturating_add(Duration::from_millis(300)))?;
    let (saved, touched, long) = (t.key()?, t.key()?, t.record()?);
    store.put(saved, &soon).await?;
    store.put(touched, &soon).await?;
    let done = store.save(saved, soon.revision, &long).await? == Saved::Stored
        && store.touch(touched, soon.revision, Timestamp::MAX).await? == Touched::Stored;
    if done {
        live.push((saved, long));
        live.push((touched, Record { expires_at: Timestamp::MAX, ..soon.clone() }));
    }
    t.wait_until_past(soon.expires_at).await;
    for _ in 0..3 {
        store.delete_expired(1000).await?;
    }
    for (key, record) in &live {
        t.want_record(E1, &store, *key, record).await?;
    }
    for key in expired {
        t.want_absent(E1, &store, key).await?;
    }
    let mut wanted: Vec<_> = live.iter().map(|(key, _)| *key).collect();
    wanted.sort_unstable();
    let listed = store.everything().await?;
    t.ensure(E1, listed == wanted, format!("{} are listed", t.named(&wanted)), t.named(&listed))
}

/// Whether the damaged ones themselves are removed is the store's own business.
async fn sweeps_go_past_damaged_records(t: &Test) -> Outcome {
    const COUNT: usize = 9;
    let store = t.store().await?;
    for key in put_expired(t, &store, COUNT).await?.into_iter().step_by(2) {
        t.damage(key).await?;
    }
    let mut swept = 0;
    for _ in 0..2 * COUNT {
        swept += store.delete_expired(1).await?;
    }
    let healthy = COUNT as u64 / 2;
    t.ensure(L5, swept >= healthy, format!("{healthy} or more are swept"), swept)
}

async fn a_sweep_leaves_what_ends_in_a_moment(t: &Test) -> Outcome {
    let store = t.store().await?;
    for life in [60_000, 5_000, 1_000, 300, 60, 25] {
        let key = t.key()?;
        let record = t.until(Timestamp::now().saturating_add(Duration::from_millis(life)))?;
        store.put(key, &record).await?;
        // The last milliseconds are looked at closely; long lives only once.
        let looks = if life <= 300 { 400 } else { 1 };
        for _ in 0..looks {
            store.delete_expired(1000).await?;
            let found = store.load(key).await?;
            if Timestamp::now() >= record.expires_at {
                break;
            }
            let wanted = format!("the record: it is live until {}", record.expires_at);
            t.ensure(E1, found.as_ref() == Some(&record), wanted, t.shown(found.as_ref()))?;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    Ok(())
}

async fn a_sweep_removes_at_most_the_limit_and_counts(t: &Test) -> Outcome {
    let store = t.store().await?;
    put_live(t, &store, 3).await?;
    let_expire(t, &store, 25).await?;
    t.want(E1, store.delete_expired(0).await?, 0)?;
    t.want(E1, store.delete_expired(1).await?, 1)?;
    t.want(E1, store.delete_expired(10).await?, 10)?;
    t.want(E1, store.delete_expired(10).await?, 10)?;
    t.want(E1, store.delete_expired(10).await?, 4)?;
    t.want(E1, store.delete_expired(10).await?, 0)?;
    let_expire(t, &store, 3).await?;
    t.want(E1, store.delete_expired(usize::MAX).await?, 3)
}

async fn a_sweep_of_nothing_returns_0(t: &Test) -> Outcome {
    let store = t.store().await?;
    t.want(E1, store.delete_expired(10).await?, 0)?;
    let live = put_live(t, &store, 3).await?;
    t.want(E1, store.delete_expired(10).await?, 0)?;
    for (key, record) in &live {
        t.want_record(E1, &store, *key, record).await?;
        store.delete(*key).await?;
    }
    // What was deleted does not count as expired.
    t.want(E1, store.delete_expired(10).await?, 0)
}

async fn repeated_sweeps_remove_every_expired_record_once(t: &Test) -> Outcome {
    let store = t.store().await?;
    for (count, limit) in [(20, 7), (12, 3), (9, 9), (120, 50)] {
        put_expired(t, &store, count).await?;
        let mut total = 0;
        loop {
            let removed = store.delete_expired(limit).await?;
            let most = u64::try_from(limit).unwrap_or(u64::MAX);
            t.ensure(E1, removed <= most, format!("at most {limit}"), removed)?;
            total += removed;
            if removed < most {
                break;
            }
        }
        let wanted = format!("{count} in all by the first sweep that returns less than {limit}");
        t.ensure(E2, total == count as u64, wanted, total)?;
        t.want(E2, store.delete_expired(limit).await?, 0)?;
    }
    Ok(())
}

async fn sweeps_count_records_that_ended_by_and_by(t: &Test) -> Outcome {
    let store = t.store().await?;
    for life in [60, 600, 6_000] {
        let first = Timestamp::now().saturating_add(Duration::from_millis(life));
        let mut last = first;
        for _ in 0..12 {
            store.put(t.key()?, &t.until(last)?).await?;
            last = last.saturating_add(Duration::from_millis(5));
        }
        // Brought to an end by a save: counts once at most, if the save did not clear it away.
        let (key, record) = (t.key()?, t.record()?);
        store.put(key, &record).await?;
        store.replace(key, record.revision, &t.until(Timestamp::EPOCH)?).await?;
        let ended = store.delete_expired(100).await?;
        if Timestamp::now() >= first {
            // Too busy a machine to write them in time: again with longer lives.
            t.wait_until_past(last).await;
            while store.delete_expired(100).await? > 0 {}
            continue;
        }
        t.ensure(E2, ended <= 1, "1 record at most: the others are live", ended)?;
        let mut total = 0;
        while Timestamp::now() < last {
            let removed = store.delete_expired(2).await?;
            t.ensure(E1, removed <= 2, "at most 2", removed)?;
            total += removed;
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        total += store.delete_expired(5).await?;
        total += store.delete_expired(100).await?;
        t.ensure(E2, total == 12, "12 records in all", total)?;
        return t.want(E2, store.delete_expired(100).await?, 0);
    }
    Ok(())
}

async fn a_storage_that_expires_by_itself_counts_0(t: &Test) -> Outcome {
    let store = t.store().await?;
    put_expired(t, &store, 8).await?;
    let soon = t.until(t.soon())?;
    store.put(t.key()?, &soon).await?;
    t.wait_until_past(soon.expires_at).await;
    for _ in 0..3 {
        t.want(E2, store.delete_expired(100).await?, 0)?;
    }
    Ok(())
}

async fn sweeps_at_the_same_time_count_each_record_once(t: &Test) -> Outcome {
    let stores = t.stores(4).await?;
    for (count, limit) in [(60, 1000), (60, 10), (40, 3)] {
        let live = put_live(t, &stores[0], 2).await?;
        let_expire(t, &stores[0], count).await?;
        let mut total = 0;
        loop {
            let work = stores.iter().map(|store| {
                let store = store.clone();
                async move { store.delete_expired(limit).await }
            });
            let counts = all(work.collect::<Vec<_>>()).await?;
            total += counts.iter().sum::<u64>();
            t.ensure(E3, total <= count as u64, format!("{count} in all, at most"), format!("{counts:?}"))?;
            if counts.iter().all(|count| *count == 0) {
                break;
            }
        }
        t.ensure(E3, total == count as u64, format!("{count} in all"), total)?;
        for (key, record) in &live {
            t.want_record(E3, &stores[0], *key, record).await?;
        }
    }
    Ok(())
}

async fn sweeps_beside_every_other_operation_neither_fail_nor_block(t: &Test) -> Outcome {
    let stores = t.stores(4).await?;
    let ann = t.owner("ann")?;
    let sweeps = Sweeps::start(&stores[2..], 5);
    let began = Instant::now();
    let mut work: Vec<Work> = Vec::new();
    for store in &stores[..2] {
        let mut plan = Vec::new();
        for _ in 0..60 {
            let over = Record { owner: Some(ann.clone()), ..t.until(Timestamp::EPOCH)? };
            plan.push((t.key()?, t.record()?, t.owned(&ann)?, over));
        }
        let store = store.clone();
        work.push(Box::pin(async move {
            for (key, first, second, over) in plan {
                if began.elapsed() > LONG_ENOUGH {
                    break;
                }
                store.put(key, &over).await?;
                store.put(key, &first).await?;
                store.replace(key, first.revision, &second).await?;
                store.prolong(key, second.revision, Timestamp::MAX).await?;
                store.replace(key, second.revision, &over).await?;
                store.delete(key).await?;
            }
            Ok(())
        }));
    }
    let outcome = all(work).await;
    sweeps.stop().await?;
    outcome.map(drop)
}

/// Records that end while sweeps run, and that somebody prolongs at the last moment.
async fn a_touch_or_save_in_time_survives_the_sweep(t: &Test) -> Outcome {
    let stores = t.stores(4).await?;
    let sweeps = Sweeps::start(&stores[2..], 1000);
    let mut work: Vec<Work<Vec<(SessionKey, Record)>>> = Vec::new();
    for (at, store) in stores[..2].iter().enumerate() {
        let mut plan = Vec::new();
        for _ in 0..40 {
            plan.push((t.key()?, t.record()?, t.record()?));
        }
        let store = store.clone();
        work.push(Box::pin(async move {
            let mut prolonged = Vec::new();
            for (key, record, long) in plan {
                let end = Timestamp::now().saturating_add(Duration::from_millis(12));
                let short = Record { expires_at: end, ..record };
                store.put(key, &short).await?;
                // As late as possible, and sometimes too late.
                while Timestamp::now().as_millis() < end.as_millis() - 1 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                if at == 0 {
                    let touched = store.touch(key, short.revision, long.expires_at).await?;
                    if touched == Touched::Stored {
                        prolonged.push((key, Record { expires_at: long.expires_at, ..short }));
                    }
                } else if store.save(key, short.revision, &long).await? == Saved::Stored {
                    prolonged.push((key, long));
                }
            }
            Ok(prolonged)
        }));
    }
    let outcome = all(work).await;
    sweeps.stop().await?;
    for (key, record) in outcome?.into_iter().flatten() {
        t.want_record(E4, &stores[0], key, &record).await?;
    }
    Ok(())
}

async fn a_record_created_over_an_expired_one_survives_the_sweep(t: &Test) -> Outcome {
    let stores = t.stores(2).await?;
    let over = t.until(Timestamp::EPOCH)?;
    // First one after the other: what the store noted about the old record must not meet the new one.
    let (key, record) = (t.key()?, t.record()?);
    stores[0].put(key, &over).await?;
    stores[0].put(key, &record).await?;
    stores[1].delete_expired(1).await?;
    stores[1].delete_expired(1000).await?;
    t.want_record(E4, &stores[0], key, &record).await?;
    all_created_while_swept(t, &stores, &over).await
}

/// A sweep that finds several keys may have forgotten what it saw when it comes to the last.
async fn all_created_while_swept(t: &Test, stores: &[Store], over: &Record) -> Outcome {
    let sweeps = Sweeps::start(&stores[1..], 1000);
    let (began, mut sessions) = (Instant::now(), Vec::new());
    for _ in 0..40 {
        if began.elapsed() > LONG_ENOUGH {
            break;
        }
        let mut batch = Vec::new();
        for _ in 0..16 {
            batch.push((t.key()?, t.record()?));
        }
        for (key, _) in &batch {
            stores[0].put(*key, over).await?;
        }
        for (key, record) in &batch {
            t.want(E4, stores[0].create(*key, record).await?, Created::Stored)?;
        }
        sessions.append(&mut batch);
    }
    sweeps.stop().await?;
    for (key, record) in &sessions {
        t.want_record(E4, &stores[0], *key, record).await?;
    }
    Ok(())
}

/// Sweeps of at most `limit` records that run again and again until this is stopped or dropped.
struct Sweeps {
    done: Arc<AtomicBool>,
    running: JoinHandle<Outcome<Vec<()>>>,
}

impl Sweeps {
    fn start(stores: &[Store], limit: usize) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let sweep = |store: &Store| -> Work {
            let (store, done) = (store.clone(), Arc::clone(&done));
            Box::pin(async move {
                while !done.load(SeqCst) {
                    store.delete_expired(limit).await?;
                    tokio::task::yield_now().await;
                }
                Ok(())
            })
        };
        let sweeps: Vec<_> = stores.iter().map(sweep).collect();
        Self { running: tokio::spawn(all(sweeps)), done }
    }

    async fn stop(mut self) -> Outcome {
        self.done.store(true, SeqCst);
        match (&mut self.running).await {
            Ok(swept) => swept.map(drop),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

impl Drop for Sweeps {
    fn drop(&mut self) {
        self.done.store(true, SeqCst);
    }
}

/// Points in time that are not in the future.
fn past() -> [Timestamp; 5] {
    let now = Timestamp::now().as_millis();
    [
        Timestamp::EPOCH,
        Timestamp::from_millis(1),
        Timestamp::from_millis(-1),
        Timestamp::from_millis(now - 1),
        { Timestamp::from_millis(now) },
    ]
}

async fn a_record_that_is_over_when_created_is_not_there(t: &Test) -> Outcome {
    let store = t.store().await?;
    for expires_at in past() {
        let (key, over, record) = (t.key()?, t.until(expires_at)?, t.record()?);
        t.want(E6, store.create(key, &over).await?, Created::Stored)?;
        t.want_absent(E6, &store, key).await?;
        t.want(E6, store.save(key, over.revision, &record).await?, Saved::Missing)?;
        t.want(E6, store.touch(key, over.revision, Timestamp::MAX).await?, Touched::Missing)?;
        let listed = store.everything().await?;
        t.ensure(E6, !listed.contains(&key), "it is not listed", t.named(&listed))?;
        t.want(E6, store.create(key, &over).await?, Created::Stored)?;
        t.want(E6, store.create(key, &record).await?, Created::Stored)?;
        t.want_record(E6, &store, key, &record).await?;
    }
    Ok(())
}

async fn a_save_that_is_over_ends_the_session(t: &Test) -> Outcome {
    let store = t.store().await?;
    for expires_at in past() {
        let (key, first, over) = (t.key()?, t.owned(&t.owner("ann")?)?, t.until(expires_at)?);
        store.put(key, &first).await?;
        t.want(E6, store.save(key, first.revision, &over).await?, Saved::Stored)?;
        t.want_absent(E6, &store, key).await?;
        for expected in [first.revision, over.revision] {
            t.want(E6, store.save(key, expected, &t.record()?).await?, Saved::Missing)?;
        }
        t.want(E6, store.delete(key).await?, false)?;
        t.want_absent(E6, &store, key).await?;
    }
    Ok(())
}

async fn a_save_that_is_over_still_compares_the_revision(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (key, record) = (t.key()?, t.record()?);
    store.put(key, &record).await?;
    for expires_at in past() {
        t.want(E6, store.save(key, t.revision()?, &t.until(expires_at)?).await?, Saved::Conflict)?;
        t.want_record(E6, &store, key, &record).await?;
    }
    Ok(())
}
