//! Delete: D1 and D2, and L5 for it.

use std::sync::Arc;

use session_core::{Created, Record, Saved, Timestamp, Touched};

use crate::Rule::{D1, D2, L5};
use crate::case::{Entry, case};
use crate::race::{Rounds, all, call};
use crate::test::{Outcome, Test};

pub(super) const CASES: &[Entry] = &[
    case!(delete::leaves_nothing_for_any_operation_to_find: D1),
    case!(delete::holds_on_every_handle: D1),
    case!(delete::leaves_other_sessions_alone: D1),
    case!(delete::frees_the_key: D1),
    case!(delete::of_a_damaged_session_ends_it_and_frees_the_key: L5, D1; needs Damage),
    case!(delete::tells_whether_a_live_session_was_removed: D2),
    case!(delete::by_many_is_true_once: D2),
    case!(delete::by_two_at_the_same_moment_is_true_once: D2),
];

async fn leaves_nothing_for_any_operation_to_find(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (key, record) = (t.key()?, t.owned(&t.owner("ann")?)?);
    store.put(key, &record).await?;
    t.want(D2, store.delete(key).await?, true)?;
    t.want_absent(D1, &store, key).await?;
    t.want(D1, store.save(key, record.revision, &t.record()?).await?, Saved::Missing)?;
    t.want(D1, store.touch(key, record.revision, Timestamp::MAX).await?, Touched::Missing)?;
    t.want_absent(D1, &store, key).await?;
    let listed = store.everything().await?;
    t.ensure(D1, listed.is_empty(), "nothing is listed", t.named(&listed))
}

async fn holds_on_every_handle(t: &Test) -> Outcome {
    let stores = t.stores(3).await?;
    for at in 0..9 {
        let (key, record) = (t.key()?, t.record()?);
        stores[at % 3].put(key, &record).await?;
        for store in &stores {
            t.want_record(D1, store, key, &record).await?;
        }
        t.want(D1, stores[(at + 1) % 3].delete(key).await?, true)?;
        for store in &stores {
            t.want_absent(D1, store, key).await?;
            t.want(D1, store.save(key, record.revision, &t.record()?).await?, Saved::Missing)?;
        }
    }
    Ok(())
}

/// An operator's way out, whatever else the session's bytes prevent.
async fn of_a_damaged_session_ends_it_and_frees_the_key(t: &Test) -> Outcome {
    let store = t.store().await?;
    for owner in [None, Some(t.owner("ann")?)] {
        let (key, record) = (t.key()?, Record { owner, ..t.record()? });
        store.put(key, &record).await?;
        t.damage(key).await?;
        store.delete(key).await?;
        t.want_absent(L5, &store, key).await?;
        t.want(L5, store.create(key, &record).await?, Created::Stored)?;
        t.want_record(L5, &store, key, &record).await?;
    }
    Ok(())
}

async fn leaves_other_sessions_alone(t: &Test) -> Outcome {
    let store = t.store().await?;
    let owner = t.owner("ann")?;
    let mut sessions = Vec::new();
    for _ in 0..12 {
        let (key, record) = (t.key()?, t.owned(&owner)?);
        store.put(key, &record).await?;
        sessions.push((key, record));
    }
    while let Some((key, _)) = sessions.pop() {
        t.want(D2, store.delete(key).await?, true)?;
        for (key, record) in &sessions {
            t.want_record(D1, &store, *key, record).await?;
        }
    }
    Ok(())
}

async fn frees_the_key(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (key, old, new) = (t.key()?, t.record()?, t.record()?);
    store.put(key, &old).await?;
    store.delete(key).await?;
    t.want(D1, store.create(key, &new).await?, Created::Stored)?;
    t.want_record(D1, &store, key, &new).await?;
    t.want(D1, store.save(key, old.revision, &t.record()?).await?, Saved::Conflict)?;
    t.want_record(D1, &store, key, &new).await
}

async fn tells_whether_a_live_session_was_removed(t: &Test) -> Outcome {
    let store = t.store().await?;
    let key = t.key()?;
    t.want(D2, store.delete(key).await?, false)?;
    store.put(key, &t.record()?).await?;
    t.want(D2, store.delete(key).await?, true)?;
    t.want(D2, store.delete(key).await?, false)?;
    for over in [t.until(Timestamp::EPOCH)?, t.until(t.soon())?] {
        let key = t.key()?;
        store.put(key, &over).await?;
        t.wait_until_past(over.expires_at).await;
        t.want(D2, store.delete(key).await?, false)?;
        t.want_absent(D1, &store, key).await?;
    }
    Ok(())
}

async fn by_many_is_true_once(t: &Test) -> Outcome {
    let stores = t.stores(4).await?;
    for _ in 0..50 {
        let key = t.key()?;
        stores[0].put(key, &t.record()?).await?;
        let tries: Vec<_> = stores
            .iter()
            .map(|store| {
                let store = store.clone();
                async move { store.delete(key).await }
            })
            .collect();
        let won = all(tries).await?.into_iter().filter(|deleted| *deleted).count();
        t.ensure(D2, won == 1, "exactly one of 4 concurrent deletes is true", format!("{won} were"))?;
        t.want_absent(D1, &stores[0], key).await?;
    }
    Ok(())
}

async fn by_two_at_the_same_moment_is_true_once(t: &Test) -> Outcome {
    let (stores, mut rounds) = (t.raw_stores(2).await?, Rounds::start());
    while let Some(batch) = rounds.next_batch() {
        let mut calls = Vec::new();
        for _ in 0..batch {
            let (key, record) = (t.key()?, t.record()?);
            t.did("create", stores[0].create(key, &record).await).map(drop)?;
            let [first, second] = [0, 1].map(|at| {
                let store = Arc::clone(&stores[at]);
                call(async move { store.delete(key).await })
            });
            calls.push((first, second));
        }
        for (first, second) in rounds.at_once(calls).await {
            let deleted = [t.did("delete", first)?, t.did("delete", second)?];
            let wanted = "of two deletes at the same moment exactly one is true";
            t.ensure(D2, deleted[0] != deleted[1], wanted, format!("{deleted:?}"))?;
        }
    }
    Ok(())
}
