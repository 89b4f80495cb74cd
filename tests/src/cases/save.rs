//! Save: S1 to S5.

use std::sync::Arc;
use std::time::Duration;

use session_core::{Record, Saved, Timestamp};

use crate::Rule::{S1, S2, S3, S4, S5};
use crate::case::{Entry, case};
use crate::race::{Rounds, Work, all, call};
use crate::test::{Outcome, Test};

pub(super) const CASES: &[Entry] = &[
    case!(save::at_the_current_revision_replaces_every_field: S1),
    case!(save::may_bring_the_expiry_nearer: S1),
    case!(save::keeps_the_session_alive_past_its_old_expiry: S1),
    case!(save::leaves_other_sessions_alone: S1),
    case!(save::at_another_revision_is_a_conflict_and_changes_nothing: S2),
    case!(save::at_an_older_revision_is_a_conflict: S2),
    case!(save::compares_all_64_bits_of_the_revision: S2),
    case!(save::on_an_absent_key_is_missing_and_creates_nothing: S3),
    case!(save::after_a_delete_is_missing_and_creates_nothing: S3),
    case!(save::of_an_expired_record_is_missing_and_revives_nothing: S3),
    case!(save::racing_a_delete_never_brings_the_session_back: S3),
    case!(save::from_one_revision_by_many_is_stored_once: S4),
    case!(save::from_one_revision_by_two_at_the_same_moment_is_stored_once: S4),
    case!(save::repeated_after_it_took_effect_is_stored: S5),
    case!(save::repeated_after_a_later_save_is_a_conflict: S2),
    case!(save::repeated_after_a_delete_is_missing: S3),
];

async fn at_the_current_revision_replaces_every_field(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (key, mut current) = (t.key()?, t.record()?);
    store.put(key, &current).await?;
    let versions = [
        t.owned(&t.owner("ann")?)?,
        Record { payload: Arc::from(vec![7; 5000]), ..t.owned(&t.owner("bob")?)? },
        Record { payload: Arc::from(&b""[..]), ..t.record()? },
        Record { created_at: Timestamp::from_millis(5), ..t.record()? },
        Record { expires_at: Timestamp::MAX, ..t.record()? },
    ];
    for next in versions {
        t.want(S1, store.save(key, current.revision, &next).await?, Saved::Stored)?;
        t.want_record(S1, &store, key, &next).await?;
        current = next;
    }
    Ok(())
}

async fn may_bring_the_expiry_nearer(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (key, first) = (t.key()?, t.record()?);
    store.put(key, &first).await?;
    let nearer =
        Record { expires_at: Timestamp::from_millis(first.expires_at.as_millis() - 600_000), ..t.record()? };
    t.want(S1, store.save(key, first.revision, &nearer).await?, Saved::Stored)?;
    t.want_record(S1, &store, key, &nearer).await?;
    let soon = t.until(t.soon())?;
    t.want(S1, store.save(key, nearer.revision, &soon).await?, Saved::Stored)?;
    t.wait_until_past(soon.expires_at).await;
    t.want_absent(S1, &store, key).await
}

async fn keeps_the_session_alive_past_its_old_expiry(t: &Test) -> Outcome {
    let store = t.store().await?;
    // On a machine so busy that the record ends before it can be saved, try again with a longer life.
    for life in [200, 1_000, 5_000] {
        let short = t.until(Timestamp::now().saturating_add(Duration::from_millis(life)))?;
        let (key, long) = (t.key()?, t.record()?);
        store.put(key, &short).await?;
        let saved = store.save(key, short.revision, &long).await?;
        if Timestamp::now() >= short.expires_at {
            continue;
        }
        t.want(S1, saved, Saved::Stored)?;
        t.wait_until_past(short.expires_at).await;
        t.want_record(S1, &store, key, &long).await?;
        store.delete_expired(1000).await?;
        return t.want_record(S1, &store, key, &long).await;
    }
    Ok(())
}

async fn leaves_other_sessions_alone(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (key, other) = (t.key()?, t.key()?);
    let (first, untouched) = (t.record()?, t.record()?);
    store.put(key, &first).await?;
    store.put(other, &untouched).await?;
    t.want(S1, store.save(key, first.revision, &t.record()?).await?, Saved::Stored)?;
    t.want_record(S1, &store, other, &untouched).await
}

async fn at_another_revision_is_a_conflict_and_changes_nothing(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (ann, bob) = (t.owner("ann")?, t.owner("bob")?);
    let (key, current) = (t.key()?, t.owned(&ann)?);
    store.put(key, &current).await?;
    let attempts = [
        t.record()?,
        t.owned(&bob)?,
        Record { payload: Arc::from(&b""[..]), expires_at: Timestamp::MAX, ..t.owned(&bob)? },
        Record { expires_at: Timestamp::EPOCH, ..t.record()? },
    ];
    for next in attempts {
        t.want(S2, store.save(key, t.revision()?, &next).await?, Saved::Conflict)?;
        t.want_record(S2, &store, key, &current).await?;
    }
    // The index of owners must not have followed a save that did not happen.
    if t.has(crate::Capability::OwnerIndex) {
        let (anns, bobs) = (t.keys_of(&store, &ann).await?, t.keys_of(&store, &bob).await?);
        t.ensure(S2, anns == [key], "the session is still listed under its owner", t.named(&anns))?;
        t.ensure(S2, bobs.is_empty(), "no session is listed under the other owner", t.named(&bobs))?;
    }
    // Nor the expiry.
    store.delete_expired(1000).await?;
    t.want_record(S2, &store, key, &current).await
}

async fn at_an_older_revision_is_a_conflict(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (key, first, second) = (t.key()?, t.record()?, t.record()?);
    store.put(key, &first).await?;
    t.want(S1, store.save(key, first.revision, &second).await?, Saved::Stored)?;
    t.want(S2, store.save(key, first.revision, &t.record()?).await?, Saved::Conflict)?;
    t.want_record(S2, &store, key, &second).await
}

async fn compares_all_64_bits_of_the_revision(t: &Test) -> Outcome {
    let store = t.store().await?;
    let current = t.record()?;
    let key = t.key()?;
    store.put(key, &current).await?;
    for bit in 0..64 {
        let near = session_core::Revision::from_u64(current.revision.as_u64() ^ (1 << bit));
        t.want(S2, store.save(key, near, &t.record()?).await?, Saved::Conflict)?;
    }
    t.want_record(S2, &store, key, &current).await
}

async fn on_an_absent_key_is_missing_and_creates_nothing(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (key, record) = (t.key()?, t.record()?);
    t.want(S3, store.save(key, t.revision()?, &record).await?, Saved::Missing)?;
    t.want_absent(S3, &store, key).await?;
    t.want(S3, store.save(key, record.revision, &record).await?, Saved::Missing)?;
    t.want_absent(S3, &store, key).await
}

async fn after_a_delete_is_missing_and_creates_nothing(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (key, current) = (t.key()?, t.owned(&t.owner("ann")?)?);
    store.put(key, &current).await?;
    store.delete(key).await?;
    t.want(S3, store.save(key, current.revision, &t.record()?).await?, Saved::Missing)?;
    t.want_absent(S3, &store, key).await
}

async fn of_an_expired_record_is_missing_and_revives_nothing(t: &Test) -> Outcome {
    let store = t.store().await?;
    for over in [t.until(t.soon())?, t.until(Timestamp::EPOCH)?] {
        let key = t.key()?;
        store.put(key, &over).await?;
        t.wait_until_past(over.expires_at).await;
        for expected in [over.revision, t.revision()?] {
            t.want(S3, store.save(key, expected, &t.record()?).await?, Saved::Missing)?;
            t.want_absent(S3, &store, key).await?;
        }
    }
    Ok(())
}

async fn racing_a_delete_never_brings_the_session_back(t: &Test) -> Outcome {
    let stores = t.stores(4).await?;
    for _ in 0..60 {
        let (key, current) = (t.key()?, t.record()?);
        stores[0].put(key, &current).await?;
        let deleter = stores[1].clone();
        let mut work: Vec<Work> = vec![Box::pin(async move { deleter.delete(key).await.map(drop) })];
        for store in &stores[2..] {
            let (store, next) = (store.clone(), t.record()?);
            let expected = current.revision;
            work.push(Box::pin(async move { store.save(key, expected, &next).await.map(drop) }));
        }
        all(work).await?;
        t.want_absent(S3, &stores[0], key).await?;
    }
    Ok(())
}

async fn from_one_revision_by_many_is_stored_once(t: &Test) -> Outcome {
    let stores = t.stores(4).await?;
    let (key, mut current) = (t.key()?, t.record()?);
    stores[0].put(key, &current).await?;
    for _ in 0..25 {
        let mut tries = Vec::new();
        for at in 0..8 {
            let (store, record) = (stores[at % stores.len()].clone(), t.record()?);
            let expected = current.revision;
            tries.push(async move { Ok((store.save(key, expected, &record).await?, record)) });
        }
        let results = all(tries).await?;
        let won: Vec<_> = results.iter().filter(|(saved, _)| *saved == Saved::Stored).collect();
        let [(_, winner)] = won[..] else {
            let got = format!("{} were Stored", won.len());
            return t.ensure(S4, false, "exactly one of 8 concurrent saves is Stored", got);
        };
        let lost = results.iter().filter(|(saved, _)| *saved == Saved::Conflict).count();
        t.ensure(S4, lost == 7, "the 7 other saves are Conflict", format!("{lost} were Conflict"))?;
        for store in &stores {
            t.want_record(S4, store, key, winner).await?;
        }
        current = winner.clone();
    }
    Ok(())
}

async fn repeated_after_it_took_effect_is_stored(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (key, first) = (t.key()?, t.record()?);
    let second = t.owned(&t.owner("ann")?)?;
    store.put(key, &first).await?;
    t.want(S1, store.save(key, first.revision, &second).await?, Saved::Stored)?;
    for _ in 0..2 {
        t.want(S5, store.save(key, first.revision, &second).await?, Saved::Stored)?;
        t.want_record(S5, &store, key, &second).await?;
    }
    Ok(())
}

async fn repeated_after_a_later_save_is_a_conflict(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (key, first, second, third) = (t.key()?, t.record()?, t.record()?, t.record()?);
    store.put(key, &first).await?;
    t.want(S1, store.save(key, first.revision, &second).await?, Saved::Stored)?;
    t.want(S1, store.save(key, second.revision, &third).await?, Saved::Stored)?;
    t.want(S2, store.save(key, first.revision, &second).await?, Saved::Conflict)?;
    t.want_record(S2, &store, key, &third).await
}

async fn repeated_after_a_delete_is_missing(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (key, first, second) = (t.key()?, t.record()?, t.record()?);
    store.put(key, &first).await?;
    t.want(S1, store.save(key, first.revision, &second).await?, Saved::Stored)?;
    store.delete(key).await?;
    t.want(S3, store.save(key, first.revision, &second).await?, Saved::Missing)?;
    t.want_absent(S3, &store, key).await
}

async fn from_one_revision_by_two_at_the_same_moment_is_stored_once(t: &Test) -> Outcome {
    let (stores, mut rounds) = (t.raw_stores(2).await?, Rounds::start());
    while let Some(batch) = rounds.next_batch() {
        let (mut plan, mut calls) = (Vec::new(), Vec::new());
        for _ in 0..batch {
            let (key, first, records) = (t.key()?, t.record()?, [t.record()?, t.record()?]);
            t.did("create", stores[0].create(key, &first).await).map(drop)?;
            let [one, other] = [0, 1].map(|at| {
                let (store, record) = (Arc::clone(&stores[at]), records[at].clone());
                call(async move { store.save(key, first.revision, &record).await })
            });
            plan.push((key, records));
            calls.push((one, other));
        }
        for ((key, records), saved) in plan.into_iter().zip(rounds.at_once(calls).await) {
            let saved = [t.did("save", saved.0)?, t.did("save", saved.1)?];
            let winner = saved.iter().position(|saved| *saved == Saved::Stored).unwrap_or(0);
            let once = saved[winner] == Saved::Stored && saved[1 - winner] == Saved::Conflict;
            let wanted = "of two saves from one revision at the same moment one is Stored and one Conflict";
            t.ensure(S4, once, wanted, format!("{saved:?}"))?;
            let found = t.did("load", stores[0].load(key).await)?;
            let holds = found.as_ref() == Some(&records[winner]);
            let wanted = "the record whose save was Stored";
            t.ensure(S4, holds, wanted, t.unlike(&records[winner], found.as_ref()))?;
            t.did("delete", stores[0].delete(key).await)?;
        }
    }
    Ok(())
}
