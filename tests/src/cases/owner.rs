//! delete_owned: O3 and O4, and L5 for it.

use std::sync::Arc;

use session_core::{Record, Saved, Timestamp, Touched};

use crate::Rule::{L5, O3, O4};
use crate::case::{Entry, case};
use crate::race::{Work, all};
use crate::test::{Outcome, Test};

pub(super) const CASES: &[Entry] = &[
    case!(owner::delete_owned_removes_that_owners_sessions_and_counts_them: O3; needs OwnerIndex),
    case!(owner::delete_owned_keeps_the_one_to_keep: O3; needs OwnerIndex),
    case!(owner::delete_owned_with_a_key_that_is_not_the_owners_keeps_nothing: O3; needs OwnerIndex),
    case!(owner::delete_owned_counts_live_sessions_only: O3; needs OwnerIndex),
    case!(owner::delete_owned_removes_more_than_a_batch: O3; needs OwnerIndex),
    case!(owner::delete_owned_goes_past_damaged_sessions: L5, O3; needs Damage, OwnerIndex),
    case!(owner::delete_owned_follows_saves: O3; needs OwnerIndex),
    case!(owner::delete_owned_by_many_counts_each_session_once: O3; needs OwnerIndex),
    case!(owner::delete_owned_wins_over_saves: O4; needs OwnerIndex),
    case!(owner::delete_owned_holds_against_late_writes: O4; needs OwnerIndex),
];

async fn delete_owned_removes_that_owners_sessions_and_counts_them(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (ann, bob) = (t.owner("ann")?, t.owner("bob")?);
    t.want(O3, store.delete_owned(&ann, None).await?, 0)?;
    let (mut anns, mut others) = (Vec::new(), Vec::new());
    for at in 0..9 {
        let (key, record) = (t.key()?, t.record()?);
        let owner = [Some(&ann), Some(&bob), None][at % 3].cloned();
        let record = Record { owner, ..record };
        store.put(key, &record).await?;
        if at % 3 == 0 { anns.push(key) } else { others.push((key, record)) }
    }
    t.want(O3, store.delete_owned(&ann, None).await?, 3)?;
    for key in anns {
        t.want_absent(O3, &store, key).await?;
        t.want(O3, store.delete(key).await?, false)?;
    }
    for (key, record) in &others {
        t.want_record(O3, &store, *key, record).await?;
    }
    let listed = t.keys_of(&store, &ann).await?;
    t.ensure(O3, listed.is_empty(), "nothing is listed", t.named(&listed))?;
    t.want(O3, store.delete_owned(&ann, None).await?, 0)
}

async fn delete_owned_goes_past_damaged_sessions(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (ann, mut keys) = (t.owner("ann")?, Vec::new());
    for _ in 0..9 {
        let key = t.key()?;
        store.put(key, &t.owned(&ann)?).await?;
        keys.push(key);
    }
    for key in keys.iter().step_by(2) {
        t.damage(*key).await?;
    }
    store.delete_owned(&ann, None).await?;
    for key in keys.into_iter().skip(1).step_by(2) {
        t.want_absent(L5, &store, key).await?;
    }
    Ok(())
}

async fn delete_owned_keeps_the_one_to_keep(t: &Test) -> Outcome {
    let store = t.store().await?;
    let ann = t.owner("ann")?;
    // Each in turn: the first, the last, and those in between.
    for kept in 0..5 {
        let mut sessions = Vec::new();
        for _ in 0..5 {
            let (key, record) = (t.key()?, t.owned(&ann)?);
            store.put(key, &record).await?;
            sessions.push((key, record));
        }
        let (keep, record) = sessions.swap_remove(kept);
        t.want(O3, store.delete_owned(&ann, Some(keep)).await?, 4)?;
        t.want_record(O3, &store, keep, &record).await?;
        for (key, _) in &sessions {
            t.want_absent(O3, &store, *key).await?;
        }
        let listed = t.keys_of(&store, &ann).await?;
        t.ensure(O3, listed == [keep], "the kept session is listed, alone", t.named(&listed))?;
        t.want(O3, store.delete_owned(&ann, Some(keep)).await?, 0)?;
        t.want(O3, store.delete_owned(&ann, None).await?, 1)?;
    }
    Ok(())
}

async fn delete_owned_with_a_key_that_is_not_the_owners_keeps_nothing(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (ann, bob) = (t.owner("ann")?, t.owner("bob")?);
    let (foreign, theirs) = (t.key()?, t.owned(&bob)?);
    store.put(foreign, &theirs).await?;
    for keep in [foreign, t.key()?] {
        for _ in 0..2 {
            store.put(t.key()?, &t.owned(&ann)?).await?;
        }
        t.want(O3, store.delete_owned(&ann, Some(keep)).await?, 2)?;
        let listed = t.keys_of(&store, &ann).await?;
        t.ensure(O3, listed.is_empty(), "nothing is listed", t.named(&listed))?;
    }
    t.want_record(O3, &store, foreign, &theirs).await
}

async fn delete_owned_counts_live_sessions_only(t: &Test) -> Outcome {
    let store = t.store().await?;
    let ann = t.owner("ann")?;
    let soon = t.soon();
    for expires_at in [soon, Timestamp::EPOCH, Timestamp::MAX, Timestamp::MAX] {
        let record = Record { owner: Some(ann.clone()), ..t.until(expires_at)? };
        store.put(t.key()?, &record).await?;
    }
    t.wait_until_past(soon).await;
    t.want(O3, store.delete_owned(&ann, None).await?, 2)?;
    t.want(O3, store.delete_owned(&ann, None).await?, 0)
}

async fn delete_owned_removes_more_than_a_batch(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (ann, bob) = (t.owner("ann")?, t.owner("bob")?);
    let (mut keys, kept) = (Vec::new(), t.owned(&bob)?);
    let other = t.key()?;
    store.put(other, &kept).await?;
    for _ in 0..230 {
        let key = t.key()?;
        store.put(key, &t.owned(&ann)?).await?;
        keys.push(key);
    }
    t.want(O3, store.delete_owned(&ann, None).await?, 230)?;
    for key in keys {
        t.want_absent(O3, &store, key).await?;
    }
    t.want_record(O3, &store, other, &kept).await
}

async fn delete_owned_follows_saves(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (ann, bob) = (t.owner("ann")?, t.owner("bob")?);
    // Became Ann's; was Ann's, and is Bob's or nobody's.
    let (hers, his, nobodys) = (t.key()?, t.key()?, t.key()?);
    let (anonymous, anns) = (t.record()?, t.owned(&ann)?);
    store.put(hers, &anonymous).await?;
    for key in [his, nobodys] {
        store.put(key, &anns).await?;
    }
    let (first, second, third) = (t.owned(&ann)?, t.owned(&bob)?, t.record()?);
    t.want(O3, store.save(hers, anonymous.revision, &first).await?, Saved::Stored)?;
    t.want(O3, store.save(his, anns.revision, &second).await?, Saved::Stored)?;
    t.want(O3, store.save(nobodys, anns.revision, &third).await?, Saved::Stored)?;
    t.want(O3, store.delete_owned(&ann, None).await?, 1)?;
    t.want_absent(O3, &store, hers).await?;
    t.want_record(O3, &store, his, &second).await?;
    t.want_record(O3, &store, nobodys, &third).await
}

async fn delete_owned_by_many_counts_each_session_once(t: &Test) -> Outcome {
    let stores = t.stores(3).await?;
    for _ in 0..10 {
        let ann = t.owner("ann")?;
        for _ in 0..10 {
            stores[0].put(t.key()?, &t.owned(&ann)?).await?;
        }
        let work = stores.iter().map(|store| {
            let (store, ann) = (store.clone(), ann.clone());
            async move { store.delete_owned(&ann, None).await }
        });
        let counts = all(work.collect::<Vec<_>>()).await?;
        let wanted = "counts that add up to the 10 sessions";
        t.ensure(O3, counts.iter().sum::<u64>() == 10, wanted, format!("{counts:?}"))?;
    }
    Ok(())
}

/// Sessions of one owner, each of which somebody keeps writing until it is gone, while they are all ended.
async fn delete_owned_wins_over_saves(t: &Test) -> Outcome {
    let stores = t.stores(3).await?;
    for round in 0..12_u64 {
        let ann = t.owner("ann")?;
        let started = Arc::new(tokio::sync::Barrier::new(7));
        let (mut work, mut keys): (Vec<Work>, _) = (Vec::new(), Vec::new());
        for at in 0..6 {
            let (store, key, record) = (stores[at % 2].clone(), t.key()?, t.owned(&ann)?);
            store.put(key, &record).await?;
            keys.push(key);
            // Records are made here, so that the writer does nothing but write.
            let mut next = Vec::new();
            for _ in 0..300 {
                next.push(t.owned(&ann)?);
            }
            let started = Arc::clone(&started);
            work.push(Box::pin(async move {
                let mut revision = record.revision;
                started.wait().await;
                for record in next {
                    if store.save(key, revision, &record).await? != Saved::Stored {
                        break;
                    }
                    revision = record.revision;
                    tokio::task::yield_now().await;
                }
                Ok(())
            }));
        }
        let writers = tokio::spawn(all(work));
        started.wait().await;
        tokio::time::sleep(std::time::Duration::from_micros(round * 150)).await;
        stores[2].delete_owned(&ann, None).await?;
        t.log().note("delete_owned has returned; nothing of the owner may be live from here on");
        match writers.await {
            Ok(written) => drop(written?),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
        for key in keys {
            t.want_absent(O4, &stores[2], key).await?;
        }
        let listed = t.keys_of(&stores[2], &ann).await?;
        t.ensure(O4, listed.is_empty(), "nothing is listed", t.named(&listed))?;
    }
    Ok(())
}

async fn delete_owned_holds_against_late_writes(t: &Test) -> Outcome {
    let stores = t.stores(2).await?;
    let ann = t.owner("ann")?;
    let (key, record) = (t.key()?, t.owned(&ann)?);
    stores[0].put(key, &record).await?;
    t.want(O3, stores[1].delete_owned(&ann, None).await?, 1)?;
    t.want(O4, stores[0].save(key, record.revision, &t.owned(&ann)?).await?, Saved::Missing)?;
    t.want(O4, stores[0].touch(key, record.revision, Timestamp::MAX).await?, Touched::Missing)?;
    for store in &stores {
        t.want_absent(O4, store, key).await?;
    }
    Ok(())
}
