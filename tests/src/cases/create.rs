//! Create: C1 to C4.

use std::sync::Arc;

use session_core::{Created, Record, Timestamp};

use crate::Rule::{C1, C2, C3, C4};
use crate::case::{Entry, case};
use crate::race::{Rounds, all, call};
use crate::test::{Outcome, Test};

pub(super) const CASES: &[Entry] = &[
    case!(create::load_gives_back_every_field_of_what_was_created: C1),
    case!(create::revisions_keep_all_64_bits: C1),
    case!(create::many_sessions_keep_their_own_records: C1),
    case!(create::on_a_live_key_is_occupied_and_changes_nothing: C2),
    case!(create::of_the_same_record_again_is_occupied: C2),
    case!(create::on_a_key_whose_record_expired_is_stored: C3),
    case!(create::of_one_key_by_many_is_stored_once: C4),
    case!(create::of_one_key_by_two_at_the_same_moment_is_stored_once: C4),
];

async fn load_gives_back_every_field_of_what_was_created(t: &Test) -> Outcome {
    let store = t.store().await?;
    let anonymous = t.record()?;
    let owned = t.owned(&t.owner("ann")?)?;
    let empty = Record { payload: Arc::from(&b""[..]), ..t.record()? };
    let old = Record { created_at: Timestamp::EPOCH, ..t.record()? };
    for record in [anonymous, owned, empty, old] {
        let key = t.key()?;
        t.want(C1, store.create(key, &record).await?, Created::Stored)?;
        t.want_record(C1, &store, key, &record).await?;
    }
    Ok(())
}

async fn revisions_keep_all_64_bits(t: &Test) -> Outcome {
    let store = t.store().await?;
    for bits in [0, 1, (1 << 53) + 1, i64::MAX as u64, 1 << 63, u64::MAX - 1, u64::MAX] {
        let record = Record { revision: session_core::Revision::from_u64(bits), ..t.record()? };
        let key = t.key()?;
        t.want(C1, store.create(key, &record).await?, Created::Stored)?;
        t.want_record(C1, &store, key, &record).await?;
    }
    Ok(())
}

async fn many_sessions_keep_their_own_records(t: &Test) -> Outcome {
    let store = t.store().await?;
    let mut stored = Vec::new();
    for _ in 0..40 {
        let (key, record) = (t.key()?, t.record()?);
        store.put(key, &record).await?;
        stored.push((key, record));
    }
    for (key, record) in &stored {
        t.want_record(C1, &store, *key, record).await?;
    }
    Ok(())
}

async fn on_a_live_key_is_occupied_and_changes_nothing(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (key, first) = (t.key()?, t.owned(&t.owner("ann")?)?);
    store.put(key, &first).await?;
    let second = Record {
        expires_at: first.expires_at.saturating_add(std::time::Duration::from_secs(60)),
        ..t.owned(&t.owner("bob")?)?
    };
    t.want(C2, store.create(key, &second).await?, Created::Occupied)?;
    t.want_record(C2, &store, key, &first).await?;
    // Nor does the session's own owner get past it.
    let same_owner = Record { owner: first.owner.clone(), ..t.record()? };
    t.want(C2, store.create(key, &same_owner).await?, Created::Occupied)?;
    t.want_record(C2, &store, key, &first).await?;
    // A record that is over already must not clear the live one either.
    let over = t.until(Timestamp::EPOCH)?;
    t.want(C2, store.create(key, &over).await?, Created::Occupied)?;
    t.want_record(C2, &store, key, &first).await
}

async fn of_the_same_record_again_is_occupied(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (key, record) = (t.key()?, t.record()?);
    store.put(key, &record).await?;
    t.want(C2, store.create(key, &record).await?, Created::Occupied)?;
    t.want_record(C2, &store, key, &record).await
}

async fn on_a_key_whose_record_expired_is_stored(t: &Test) -> Outcome {
    let store = t.store().await?;
    for sweep in [false, true] {
        let key = t.key()?;
        let over = Record { owner: Some(t.owner("ann")?), ..t.until(t.soon())? };
        store.put(key, &over).await?;
        t.wait_until_past(over.expires_at).await;
        if sweep {
            store.delete_expired(1000).await?;
        }
        let record = t.record()?;
        t.want(C3, store.create(key, &record).await?, Created::Stored)?;
        t.want_record(C3, &store, key, &record).await?;
        // What was left of the old record must not take the new one with it.
        store.delete_expired(1000).await?;
        t.want_record(C3, &store, key, &record).await?;
        t.want(C2, store.create(key, &t.record()?).await?, Created::Occupied)?;
    }
    Ok(())
}

async fn of_one_key_by_many_is_stored_once(t: &Test) -> Outcome {
    let stores = t.stores(4).await?;
    for round in 0..25 {
        let key = t.key()?;
        if round % 5 == 4 {
            // Over the remains of an expired record, too.
            stores[0].put(key, &t.until(Timestamp::EPOCH)?).await?;
        }
        let mut tries = Vec::new();
        for at in 0..8 {
            let (store, record) = (stores[at % stores.len()].clone(), t.record()?);
            tries.push(async move { Ok((store.create(key, &record).await?, record)) });
        }
        let results = all(tries).await?;
        let won: Vec<_> = results.iter().filter(|(created, _)| *created == Created::Stored).collect();
        let [(_, winner)] = won[..] else {
            let got = format!("{} were Stored", won.len());
            return t.ensure(C4, false, "exactly one of 8 concurrent creates is Stored", got);
        };
        for store in &stores {
            t.want_record(C4, store, key, winner).await?;
        }
    }
    Ok(())
}

async fn of_one_key_by_two_at_the_same_moment_is_stored_once(t: &Test) -> Outcome {
    let (stores, mut rounds) = (t.raw_stores(2).await?, Rounds::start());
    while let Some(batch) = rounds.next_batch() {
        let (mut plan, mut calls) = (Vec::new(), Vec::new());
        for _ in 0..batch {
            let (key, records) = (t.key()?, [t.record()?, t.record()?]);
            let [first, second] = [0, 1].map(|at| {
                let (store, record) = (Arc::clone(&stores[at]), records[at].clone());
                call(async move { store.create(key, &record).await })
            });
            plan.push((key, records));
            calls.push((first, second));
        }
        for ((key, records), created) in plan.into_iter().zip(rounds.at_once(calls).await) {
            let created = [t.did("create", created.0)?, t.did("create", created.1)?];
            let winner = created.iter().position(|created| *created == Created::Stored).unwrap_or(0);
            let once = created[winner] == Created::Stored && created[1 - winner] == Created::Occupied;
            let wanted = "of two creates at the same moment one is Stored and one Occupied";
            t.ensure(C4, once, wanted, format!("{created:?}"))?;
            let found = t.did("load", stores[0].load(key).await)?;
            let holds = found.as_ref() == Some(&records[winner]);
            let wanted = "the record whose create was Stored";
            t.ensure(C4, holds, wanted, t.unlike(&records[winner], found.as_ref()))?;
            t.did("delete", stores[0].delete(key).await)?;
        }
    }
    Ok(())
}
