//! Touch: T1 and T2.

use std::time::Duration;

use session_core::{Record, Saved, Timestamp};

use crate::Capability::OwnerIndex;
use crate::Rule::{O2, S1, S2, T1, T2};
use crate::case::{Entry, case};
use crate::test::{Outcome, Test, Work, all};

pub(super) const CASES: &[Entry] = &[
    case!(touch::moves_the_expiry_later_and_nothing_else: T1),
    case!(touch::never_moves_the_expiry_earlier: T1),
    case!(touch::keeps_a_session_alive_past_its_old_expiry: T1),
    case!(touch::does_not_get_in_the_way_of_a_save: T1),
    case!(touch::is_undone_by_a_later_save_with_a_nearer_expiry: T1),
    case!(touch::racing_a_save_never_undoes_it: T1),
    case!(touch::racing_touches_end_at_the_latest: T1),
    case!(touch::of_a_missing_session_is_false_and_creates_nothing: T2),
    case!(touch::of_an_expired_session_is_false_and_revives_nothing: T2),
    case!(touch::racing_a_delete_never_brings_the_session_back: T2),
    case!(touch::leaves_other_sessions_alone: T1),
];

fn later(record: &Record, millis: i64) -> Timestamp {
    Timestamp::from_millis(record.expires_at.as_millis() + millis)
}

async fn moves_the_expiry_later_and_nothing_else(t: &Test) -> Outcome {
    let store = t.store().await?;
    let owner = t.owner("ann")?;
    let (key, mut record) = (t.key()?, t.owned(&owner)?);
    store.put(key, &record).await?;
    for expires_at in [later(&record, 1), later(&record, 777), later(&record, 86_400_001), Timestamp::MAX] {
        t.want(T1, store.touch(key, expires_at).await?, true)?;
        record.expires_at = expires_at;
        t.want_record(T1, &store, key, &record).await?;
        if t.has(OwnerIndex) {
            let listed: Vec<_> = store.pages(Some(&owner), 10).await?.into_iter().flatten().collect();
            let holds = listed == [(key, record.clone())];
            t.ensure(O2, holds, "list shows the new expiry, too", format!("{listed:?}"))?;
        }
    }
    Ok(())
}

async fn never_moves_the_expiry_earlier(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (key, record) = (t.key()?, t.record()?);
    store.put(key, &record).await?;
    let nearer = [later(&record, 0), later(&record, -1), later(&record, -600_000), Timestamp::now()];
    for expires_at in nearer.into_iter().chain([Timestamp::EPOCH]) {
        t.want(T1, store.touch(key, expires_at).await?, true)?;
        t.want_record(T1, &store, key, &record).await?;
    }
    store.delete_expired(1000).await?;
    t.want_record(T1, &store, key, &record).await
}

async fn keeps_a_session_alive_past_its_old_expiry(t: &Test) -> Outcome {
    let store = t.store().await?;
    for life in [200, 1_000, 5_000] {
        let short = t.until(Timestamp::now().saturating_add(Duration::from_millis(life)))?;
        let key = t.key()?;
        store.put(key, &short).await?;
        let touched = store.touch(key, later(&short, 3_600_000)).await?;
        if Timestamp::now() >= short.expires_at {
            // Too busy a machine to touch in time: again with a longer life.
            continue;
        }
        t.want(T1, touched, true)?;
        t.wait_until_past(short.expires_at).await;
        let long = Record { expires_at: later(&short, 3_600_000), ..short };
        t.want_record(T1, &store, key, &long).await?;
        store.delete_expired(1000).await?;
        t.want_record(T1, &store, key, &long).await?;
        let listed = store.everything().await?;
        return t.ensure(T1, listed.contains(&key), "the session is listed", t.named(&listed));
    }
    Ok(())
}

async fn does_not_get_in_the_way_of_a_save(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (key, first, second) = (t.key()?, t.record()?, t.record()?);
    store.put(key, &first).await?;
    t.want(T1, store.touch(key, later(&first, 60_000)).await?, true)?;
    t.want(T1, store.save(key, first.revision, &second).await?, Saved::Stored)?;
    t.want_record(T1, &store, key, &second).await?;
    t.want(S2, store.save(key, first.revision, &t.record()?).await?, Saved::Conflict)
}

async fn is_undone_by_a_later_save_with_a_nearer_expiry(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (key, first) = (t.key()?, t.record()?);
    store.put(key, &first).await?;
    t.want(T1, store.touch(key, Timestamp::MAX).await?, true)?;
    let soon = t.until(t.soon())?;
    t.want(S1, store.save(key, first.revision, &soon).await?, Saved::Stored)?;
    t.wait_until_past(soon.expires_at).await;
    t.want_absent(S1, &store, key).await
}

async fn racing_a_save_never_undoes_it(t: &Test) -> Outcome {
    let stores = t.stores(3).await?;
    for _ in 0..50 {
        let (key, first, next) = (t.key()?, t.record()?, t.owned(&t.owner("ann")?)?);
        stores[0].put(key, &first).await?;
        let mut work: Vec<Work> = Vec::new();
        for store in &stores[1..] {
            let (store, to) = (store.clone(), later(&next, 60_000));
            work.push(Box::pin(async move { store.touch(key, to).await.map(drop) }));
        }
        let touches = tokio::spawn(all(work));
        t.want(T1, stores[0].save(key, first.revision, &next).await?, Saved::Stored)?;
        match touches.await {
            Ok(outcome) => drop(outcome?),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
        let found = stores[0].load(key).await?;
        let touched = Record { expires_at: later(&next, 60_000), ..next.clone() };
        let holds = found.as_ref() == Some(&next) || found.as_ref() == Some(&touched);
        let wanted = "what was saved, with its own expiry or the touched one";
        t.ensure(T1, holds, wanted, t.unlike(&next, found.as_ref()))?;
    }
    Ok(())
}

async fn racing_touches_end_at_the_latest(t: &Test) -> Outcome {
    let stores = t.stores(4).await?;
    for _ in 0..25 {
        let (key, record) = (t.key()?, t.record()?);
        stores[0].put(key, &record).await?;
        let mut work: Vec<Work<bool>> = Vec::new();
        for (at, offset) in [5_000, 1_000, 9_000, 3_000, 8_000, 2_000].into_iter().enumerate() {
            let (store, to) = (stores[at % stores.len()].clone(), later(&record, offset));
            work.push(Box::pin(async move { store.touch(key, to).await }));
        }
        for touched in all(work).await? {
            t.want(T1, touched, true)?;
        }
        let latest = Record { expires_at: later(&record, 9_000), ..record };
        t.want_record(T1, &stores[0], key, &latest).await?;
    }
    Ok(())
}

async fn of_a_missing_session_is_false_and_creates_nothing(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (never, deleted) = (t.key()?, t.key()?);
    store.put(deleted, &t.record()?).await?;
    store.delete(deleted).await?;
    for key in [never, deleted] {
        t.want(T2, store.touch(key, Timestamp::MAX).await?, false)?;
        t.want_absent(T2, &store, key).await?;
    }
    Ok(())
}

async fn of_an_expired_session_is_false_and_revives_nothing(t: &Test) -> Outcome {
    let store = t.store().await?;
    for over in [t.until(Timestamp::EPOCH)?, t.until(t.soon())?] {
        let key = t.key()?;
        store.put(key, &over).await?;
        t.wait_until_past(over.expires_at).await;
        for expires_at in [Timestamp::MAX, over.expires_at, Timestamp::EPOCH] {
            t.want(T2, store.touch(key, expires_at).await?, false)?;
            t.want_absent(T2, &store, key).await?;
        }
    }
    // In the very millisecond of expiry, which a fast store can hit.
    for _ in 0..50 {
        let key = t.key()?;
        t.start_of_millisecond();
        store.put(key, &t.until(Timestamp::now())?).await?;
        t.want(T2, store.touch(key, Timestamp::MAX).await?, false)?;
        t.want_absent(T2, &store, key).await?;
    }
    Ok(())
}

async fn racing_a_delete_never_brings_the_session_back(t: &Test) -> Outcome {
    let stores = t.stores(3).await?;
    for _ in 0..50 {
        let key = t.key()?;
        stores[0].put(key, &t.record()?).await?;
        let mut work: Vec<Work> = Vec::new();
        for store in &stores[1..] {
            let store = store.clone();
            work.push(Box::pin(async move { store.touch(key, Timestamp::MAX).await.map(drop) }));
        }
        let store = stores[0].clone();
        work.push(Box::pin(async move { store.delete(key).await.map(drop) }));
        all(work).await?;
        t.want_absent(T2, &stores[0], key).await?;
    }
    Ok(())
}

async fn leaves_other_sessions_alone(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (key, other, untouched) = (t.key()?, t.key()?, t.record()?);
    store.put(key, &t.record()?).await?;
    store.put(other, &untouched).await?;
    t.want(T1, store.touch(key, Timestamp::MAX).await?, true)?;
    t.want_record(T1, &store, other, &untouched).await
}
