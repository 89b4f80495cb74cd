//! Touch: T1 to T3.

use std::sync::Arc;
use std::time::Duration;

use session_core::{Record, Revision, Saved, Timestamp, Touched};

use crate::Capability::OwnerIndex;
use crate::Rule::{O2, S1, S2, T1, T2, T3};
use crate::case::{Entry, case};
use crate::race::{Rounds, Work, all, call};
use crate::test::{Outcome, Test};

pub(super) const CASES: &[Entry] = &[
    case!(touch::moves_the_expiry_later_and_nothing_else: T1),
    case!(touch::never_moves_the_expiry_earlier: T1),
    case!(touch::keeps_a_session_alive_past_its_old_expiry: T1),
    case!(touch::does_not_get_in_the_way_of_a_save: T1),
    case!(touch::is_undone_by_a_later_save_with_a_nearer_expiry: T1),
    case!(touch::racing_a_save_never_undoes_it: T1, T3),
    case!(touch::racing_touches_end_at_the_latest: T1),
    case!(touch::of_an_absent_session_is_missing_and_creates_nothing: T2),
    case!(touch::of_an_expired_session_is_missing_and_revives_nothing: T2),
    case!(touch::racing_a_delete_never_brings_the_session_back: T2),
    case!(touch::and_delete_at_the_same_moment_leave_nothing: T2),
    case!(touch::leaves_other_sessions_alone: T1),
    case!(touch::at_another_revision_is_a_conflict_and_changes_nothing: T3),
    case!(touch::at_an_older_revision_is_a_conflict: T3),
    case!(touch::compares_all_64_bits_of_the_revision: T3),
    case!(touch::racing_saves_prolongs_no_other_revision: T3),
    case!(touch::and_save_at_the_same_moment_leave_what_was_saved: T3),
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
        t.want(T1, store.touch(key, record.revision, expires_at).await?, Touched::Stored)?;
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
        t.want(T1, store.touch(key, record.revision, expires_at).await?, Touched::Stored)?;
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
        let touched = store.touch(key, short.revision, later(&short, 3_600_000)).await?;
        if Timestamp::now() >= short.expires_at {
            // Too busy a machine to touch in time: again with a longer life.
            continue;
        }
        t.want(T1, touched, Touched::Stored)?;
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
    t.want(T1, store.touch(key, first.revision, later(&first, 60_000)).await?, Touched::Stored)?;
    t.want(T1, store.save(key, first.revision, &second).await?, Saved::Stored)?;
    t.want_record(T1, &store, key, &second).await?;
    t.want(S2, store.save(key, first.revision, &t.record()?).await?, Saved::Conflict)
}

async fn is_undone_by_a_later_save_with_a_nearer_expiry(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (key, first) = (t.key()?, t.record()?);
    store.put(key, &first).await?;
    t.want(T1, store.touch(key, first.revision, Timestamp::MAX).await?, Touched::Stored)?;
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
        let mut work: Vec<Work<Touched>> = Vec::new();
        for store in &stores[1..] {
            let (store, revision, to) = (store.clone(), first.revision, later(&next, 60_000));
            work.push(Box::pin(async move { store.touch(key, revision, to).await }));
        }
        let touches = tokio::spawn(all(work));
        t.want(T1, stores[0].save(key, first.revision, &next).await?, Saved::Stored)?;
        let touched = match touches.await {
            Ok(touched) => touched?,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        let known = !touched.contains(&Touched::Missing);
        t.ensure(T3, known, "each touch is Stored, before the save, or Conflict", format!("{touched:?}"))?;
        // A touch before the save was undone by it; one after it met another revision.
        let found = stores[0].load(key).await?;
        let prolonged = Record { expires_at: later(&next, 60_000), ..next.clone() };
        let wanted = "what was saved, with its own expiry";
        let got = t.unlike(&next, found.as_ref());
        t.ensure(T3, found.as_ref() != Some(&prolonged), wanted, &got)?;
        t.ensure(T1, found.as_ref() == Some(&next), wanted, got)?;
    }
    Ok(())
}

async fn racing_touches_end_at_the_latest(t: &Test) -> Outcome {
    let stores = t.stores(4).await?;
    for _ in 0..25 {
        let (key, record) = (t.key()?, t.record()?);
        stores[0].put(key, &record).await?;
        let mut work: Vec<Work<Touched>> = Vec::new();
        for (at, offset) in [5_000, 1_000, 9_000, 3_000, 8_000, 2_000].into_iter().enumerate() {
            let (store, revision) = (stores[at % stores.len()].clone(), record.revision);
            let to = later(&record, offset);
            work.push(Box::pin(async move { store.touch(key, revision, to).await }));
        }
        for touched in all(work).await? {
            t.want(T1, touched, Touched::Stored)?;
        }
        let latest = Record { expires_at: later(&record, 9_000), ..record };
        t.want_record(T1, &stores[0], key, &latest).await?;
    }
    Ok(())
}

async fn of_an_absent_session_is_missing_and_creates_nothing(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (never, deleted) = (t.key()?, t.key()?);
    let record = t.record()?;
    store.put(deleted, &record).await?;
    store.delete(deleted).await?;
    for key in [never, deleted] {
        t.want(T2, store.touch(key, record.revision, Timestamp::MAX).await?, Touched::Missing)?;
        t.want_absent(T2, &store, key).await?;
    }
    Ok(())
}

async fn of_an_expired_session_is_missing_and_revives_nothing(t: &Test) -> Outcome {
    let store = t.store().await?;
    for over in [t.until(Timestamp::EPOCH)?, t.until(t.soon())?] {
        let key = t.key()?;
        store.put(key, &over).await?;
        t.wait_until_past(over.expires_at).await;
        for expires_at in [Timestamp::MAX, over.expires_at, Timestamp::EPOCH] {
            // Nothing is there, whatever was expected.
            for revision in [over.revision, t.revision()?] {
                t.want(T2, store.touch(key, revision, expires_at).await?, Touched::Missing)?;
                t.want_absent(T2, &store, key).await?;
            }
        }
    }
    // In the very millisecond of expiry, which a fast store can hit.
    for _ in 0..50 {
        let key = t.key()?;
        t.start_of_millisecond();
        let over = t.until(Timestamp::now())?;
        store.put(key, &over).await?;
        t.want(T2, store.touch(key, over.revision, Timestamp::MAX).await?, Touched::Missing)?;
        t.want_absent(T2, &store, key).await?;
    }
    Ok(())
}

async fn racing_a_delete_never_brings_the_session_back(t: &Test) -> Outcome {
    let stores = t.stores(3).await?;
    for _ in 0..50 {
        let (key, record) = (t.key()?, t.record()?);
        stores[0].put(key, &record).await?;
        let mut work: Vec<Work> = Vec::new();
        for store in &stores[1..] {
            let (store, revision) = (store.clone(), record.revision);
            work.push(Box::pin(async move { store.touch(key, revision, Timestamp::MAX).await.map(drop) }));
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
    let (key, other, record, untouched) = (t.key()?, t.key()?, t.record()?, t.record()?);
    store.put(key, &record).await?;
    store.put(other, &untouched).await?;
    t.want(T1, store.touch(key, record.revision, Timestamp::MAX).await?, Touched::Stored)?;
    t.want_record(T1, &store, other, &untouched).await
}

async fn at_another_revision_is_a_conflict_and_changes_nothing(t: &Test) -> Outcome {
    let store = t.store().await?;
    let ann = t.owner("ann")?;
    let (key, record) = (t.key()?, t.owned(&ann)?);
    store.put(key, &record).await?;
    for expires_at in
        [later(&record, 1), Timestamp::MAX, record.expires_at, Timestamp::now(), Timestamp::EPOCH]
    {
        t.want(T3, store.touch(key, t.revision()?, expires_at).await?, Touched::Conflict)?;
        t.want_record(T3, &store, key, &record).await?;
    }
    // Nor did what the sweep and the lists go by move.
    store.delete_expired(1000).await?;
    t.want_record(T3, &store, key, &record).await?;
    if t.has(OwnerIndex) {
        let listed: Vec<_> = store.pages(Some(&ann), 10).await?.into_iter().flatten().collect();
        let holds = listed == [(key, record.clone())];
        t.ensure(T3, holds, "list shows the session as it was", format!("{listed:?}"))?;
    }
    t.want(T1, store.touch(key, record.revision, Timestamp::MAX).await?, Touched::Stored)
}

async fn at_an_older_revision_is_a_conflict(t: &Test) -> Outcome {
    let stores = t.stores(2).await?;
    let (key, mut old) = (t.key()?, t.record()?);
    stores[0].put(key, &old).await?;
    // A touch that takes effect first, so that a handle which remembers it is found out.
    t.want(T1, stores[0].touch(key, old.revision, later(&old, 1_000)).await?, Touched::Stored)?;
    for _ in 0..3 {
        let next = t.record()?;
        t.want(S1, stores[1].save(key, old.revision, &next).await?, Saved::Stored)?;
        for store in &stores {
            t.want(T3, store.touch(key, old.revision, Timestamp::MAX).await?, Touched::Conflict)?;
            t.want_record(T3, store, key, &next).await?;
        }
        old = next;
    }
    Ok(())
}

async fn compares_all_64_bits_of_the_revision(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (key, record) = (t.key()?, t.record()?);
    store.put(key, &record).await?;
    for bit in 0..64 {
        let near = Revision::from_u64(record.revision.as_u64() ^ (1 << bit));
        t.want(T3, store.touch(key, near, Timestamp::MAX).await?, Touched::Conflict)?;
    }
    t.want_record(T3, &store, key, &record).await
}

/// Somebody saves again and again, and others touch at each revision as soon as, and after, it is current.
async fn racing_saves_prolongs_no_other_revision(t: &Test) -> Outcome {
    let stores = t.stores(3).await?;
    for _ in 0..10 {
        let (key, first) = (t.key()?, t.record()?);
        stores[0].put(key, &first).await?;
        let mut records = vec![first];
        for _ in 0..12 {
            records.push(t.record()?);
        }
        let mut work: Vec<Work> = Vec::new();
        for store in &stores[1..] {
            let (store, to) = (store.clone(), later(&records[0], 600_000));
            let revisions: Vec<_> = records[..12].iter().map(|record| record.revision).collect();
            work.push(Box::pin(async move {
                for revision in revisions {
                    let _ = store.touch(key, revision, to).await?;
                }
                Ok(())
            }));
        }
        let (store, saved) = (stores[0].clone(), records.clone());
        work.push(Box::pin(async move {
            for pair in saved.windows(2) {
                store.replace(key, pair[0].revision, &pair[1]).await?;
            }
            Ok(())
        }));
        all(work).await?;
        // Nobody touched at the last revision.
        t.want_record(T3, &stores[0], key, &records[12]).await?;
    }
    Ok(())
}

async fn and_delete_at_the_same_moment_leave_nothing(t: &Test) -> Outcome {
    let (stores, mut rounds) = (t.raw_stores(2).await?, Rounds::start());
    while let Some(batch) = rounds.next_batch() {
        let (mut keys, mut calls) = (Vec::new(), Vec::new());
        for _ in 0..batch {
            let (key, record) = (t.key()?, t.record()?);
            t.did("create", stores[0].create(key, &record).await).map(drop)?;
            let (toucher, deleter) = (Arc::clone(&stores[0]), Arc::clone(&stores[1]));
            keys.push(key);
            calls.push((
                call(async move { toucher.touch(key, record.revision, Timestamp::MAX).await }),
                call(async move { deleter.delete(key).await }),
            ));
        }
        for (key, (touched, deleted)) in keys.into_iter().zip(rounds.at_once(calls).await) {
            let (touched, deleted) = (t.did("touch", touched)?, t.did("delete", deleted)?);
            t.ensure(T2, deleted, "the delete finds the session", "false")?;
            let found = t.did("load", stores[0].load(key).await)?;
            let wanted = format!("None: the session was deleted, and the touch was {touched:?}");
            t.ensure(T2, found.is_none(), wanted, t.shown(found.as_ref()))?;
        }
    }
    Ok(())
}

async fn and_save_at_the_same_moment_leave_what_was_saved(t: &Test) -> Outcome {
    let (stores, mut rounds) = (t.raw_stores(2).await?, Rounds::start());
    while let Some(batch) = rounds.next_batch() {
        let (mut plan, mut calls) = (Vec::new(), Vec::new());
        for _ in 0..batch {
            let (key, record, next) = (t.key()?, t.record()?, t.record()?);
            t.did("create", stores[0].create(key, &record).await).map(drop)?;
            let (toucher, saver) = (Arc::clone(&stores[0]), Arc::clone(&stores[1]));
            let (expected, saved) = (record.revision, next.clone());
            plan.push((key, next));
            calls.push((
                call(async move { toucher.touch(key, expected, Timestamp::MAX).await }),
                call(async move { saver.save(key, expected, &saved).await }),
            ));
        }
        for ((key, next), (touched, saved)) in plan.into_iter().zip(rounds.at_once(calls).await) {
            let (touched, saved) = (t.did("touch", touched)?, t.did("save", saved)?);
            t.want(T3, saved, Saved::Stored)?;
            let known = matches!(touched, Touched::Stored | Touched::Conflict);
            let wanted = "the touch is Stored, before the save, or Conflict";
            t.ensure(T3, known, wanted, format!("{touched:?}"))?;
            let found = t.did("load", stores[1].load(key).await)?;
            let wanted = "what was saved, with its own expiry";
            t.ensure(T3, found.as_ref() == Some(&next), wanted, t.unlike(&next, found.as_ref()))?;
            t.did("delete", stores[0].delete(key).await)?;
        }
    }
    Ok(())
}
