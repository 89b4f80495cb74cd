//! Load: L1 to L5.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use session_core::{ErrorKind, Owner, Record, Revision, Saved, Timestamp};

use crate::Rule::{L1, L2, L3, L4, L5};
use crate::case::{Entry, case};
use crate::race::{Work, all};
use crate::test::{Outcome, Test, difference};

pub(super) const CASES: &[Entry] = &[
    case!(load::of_an_absent_key_is_none: L1),
    case!(load::gives_a_record_until_its_expiry_and_none_from_then_on: L2),
    case!(load::gives_none_within_the_very_millisecond_of_expiry: L2),
    case!(load::of_an_expired_record_stays_none_after_a_sweep: L2),
    case!(load::does_not_move_the_expiry: L2),
    case!(load::beside_writers_never_gives_a_mix_of_two_records: L3),
    case!(load::from_a_stopped_backend_is_an_error_and_not_none: L4, F1; needs Pause),
    case!(load::of_damaged_bytes_is_corrupt_and_harms_nothing_else: L5; needs Damage),
];

async fn of_an_absent_key_is_none(t: &Test) -> Outcome {
    let store = t.store().await?;
    t.want_absent(L1, &store, t.key()?).await?;
    store.put(t.key()?, &t.record()?).await?;
    t.want_absent(L1, &store, t.key()?).await
}

async fn gives_a_record_until_its_expiry_and_none_from_then_on(t: &Test) -> Outcome {
    let store = t.store().await?;
    // Several expiries, so that none of them is a whole second by chance.
    for life in [37, 150, 411] {
        let (key, record) =
            (t.key()?, t.until(Timestamp::now().saturating_add(Duration::from_millis(life)))?);
        store.put(key, &record).await?;
        loop {
            let before = Timestamp::now();
            let found = store.load(key).await?;
            let after = Timestamp::now();
            if before >= record.expires_at {
                let wanted = "None: the record has expired and no sweep is needed for that";
                t.ensure(L2, found.is_none(), wanted, t.shown(found.as_ref()))?;
                break;
            }
            if after < record.expires_at {
                let wanted = format!("the record: it is live until {}", record.expires_at);
                t.ensure(L2, found.as_ref() == Some(&record), wanted, t.shown(found.as_ref()))?;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }
    Ok(())
}

async fn gives_none_within_the_very_millisecond_of_expiry(t: &Test) -> Outcome {
    let store = t.store().await?;
    // Expires in the millisecond in which it is written: whoever is fast enough to look in that millisecond, too,
    // must not find it. Slow stores look later, where the claim is easier; fast ones nearly always hit it.
    for _ in 0..50 {
        let key = t.key()?;
        t.start_of_millisecond();
        let record = t.until(Timestamp::now())?;
        store.put(key, &record).await?;
        let found = store.load(key).await?;
        let wanted = format!("None: at {} the record is over, not only after it", record.expires_at);
        t.ensure(L2, found.is_none(), wanted, t.shown(found.as_ref()))?;
    }
    Ok(())
}

async fn of_an_expired_record_stays_none_after_a_sweep(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (key, record) = (t.key()?, t.until(t.soon())?);
    store.put(key, &record).await?;
    t.wait_until_past(record.expires_at).await;
    t.want_absent(L2, &store, key).await?;
    store.delete_expired(1000).await?;
    t.want_absent(L2, &store, key).await
}

async fn does_not_move_the_expiry(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (key, record) = (t.key()?, t.until(Timestamp::now().saturating_add(Duration::from_millis(250)))?);
    store.put(key, &record).await?;
    while Timestamp::now() < record.expires_at {
        store.load(key).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    t.want_absent(L2, &store, key).await
}

/// The versions of a record whose every field, and every byte, tells which one it is.
#[derive(Clone)]
struct Versions {
    owners: [Owner; 2],
    first: Record,
    bytes: usize,
}

impl Versions {
    fn get(&self, number: u32) -> Record {
        let kind = usize::from(number % 2 == 1);
        // Lengths differ as well: a half-written file is longer or shorter than its head says.
        let words = (self.bytes - kind * (self.bytes / 3)) / 4;
        Record {
            revision: Revision::from_u64(self.first.revision.as_u64().wrapping_add(number.into())),
            owner: Some(self.owners[kind].clone()),
            created_at: Timestamp::from_millis(1_000_000 + i64::from(number)),
            expires_at: self.first.expires_at.saturating_add(Duration::from_secs(number.into())),
            payload: number.to_le_bytes().repeat(words).into(),
        }
    }

    /// What is wrong with a record that a reader found.
    fn odd(&self, found: Option<&Record>) -> Option<String> {
        let Some(found) = found else { return Some("None".to_owned()) };
        let number = found.revision.as_u64().wrapping_sub(self.first.revision.as_u64());
        let Ok(number) = u32::try_from(number) else {
            return Some("a revision that nobody wrote".to_owned());
        };
        let whole = self.get(number);
        (*found != whole).then(|| difference(&whole, found))
    }
}

async fn beside_writers_never_gives_a_mix_of_two_records(t: &Test) -> Outcome {
    const ENOUGH: u32 = 60;
    let stores = t.stores(3).await?;
    let (key, bytes) = (t.key()?, t.max_payload().min(200_000));
    let versions = Versions { owners: [t.owner("ann")?, t.owner("bob")?], first: t.record()?, bytes };
    stores[0].put(key, &versions.get(0)).await?;

    let (written, reading) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(2)));
    let mut work: Vec<Work<Option<String>>> = Vec::new();
    for store in &stores[1..] {
        let (store, versions) = (store.clone(), versions.clone());
        let (written, reading) = (Arc::clone(&written), Arc::clone(&reading));
        work.push(Box::pin(async move {
            let (mut loads, mut odd) = (0, Ok(None));
            while matches!(odd, Ok(None)) && (loads < ENOUGH || written.load(SeqCst) < ENOUGH) {
                odd = store.load(key).await.map(|found| versions.odd(found.as_ref()));
                loads += 1;
                tokio::task::yield_now().await;
            }
            reading.fetch_sub(1, SeqCst);
            odd
        }));
    }
    let store = stores[0].clone();
    work.push(Box::pin(async move {
        let mut number = 0;
        while reading.load(SeqCst) > 0 {
            let saved = store.replace(key, versions.get(number).revision, &versions.get(number + 1)).await;
            number += 1;
            // Also when it failed, so that the readers end.
            written.store(if saved.is_ok() { number } else { ENOUGH }, SeqCst);
            saved?;
            tokio::task::yield_now().await;
        }
        Ok(None)
    }));
    for odd in all(work).await?.into_iter().flatten() {
        t.ensure(L3, false, "one of the records that were written, whole, at all times", odd)?;
    }
    Ok(())
}

async fn from_a_stopped_backend_is_an_error_and_not_none(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (key, record) = (t.key()?, t.record()?);
    store.put(key, &record).await?;
    t.pause().await?;
    let found = tokio::time::timeout(t.hanging(), store.try_load(key)).await;
    let absent = tokio::time::timeout(t.hanging(), store.try_load(t.key()?)).await;
    t.resume().await?;
    for found in [found, absent] {
        match found {
            Ok(Err(_)) => {}
            Ok(Ok(found)) => t.ensure(L4, false, "an error", t.shown(found.as_ref()))?,
            Err(_) => {
                let wanted = format!("an error within the harness's patience, {:?}", t.patience());
                t.ensure(crate::Rule::F1, false, wanted, "no answer")?;
            }
        }
    }
    Ok(())
}

async fn of_damaged_bytes_is_corrupt_and_harms_nothing_else(t: &Test) -> Outcome {
    let store = t.store().await?;
    let owner = t.owner("ann")?;
    let (damaged, other) = (t.key()?, t.key()?);
    let (record, healthy) = (t.owned(&owner)?, t.owned(&owner)?);
    store.put(damaged, &record).await?;
    store.put(other, &healthy).await?;
    t.damage(damaged).await?;
    // Twice: the first look must not have cleared it away.
    for store in [&store, &store, &t.store().await?] {
        match store.try_load(damaged).await {
            Err(error) => t.want(L5, error.kind(), ErrorKind::Corrupt)?,
            Ok(found) => t.ensure(L5, false, "an error of kind Corrupt", t.shown(found.as_ref()))?,
        }
        t.want_record(L5, store, other, &healthy).await?;
    }
    let late = t.record()?;
    t.want(L5, store.save(other, healthy.revision, &late).await?, Saved::Stored)?;
    store.delete_expired(1000).await?;
    t.want_record(L5, &store, other, &late).await
}
