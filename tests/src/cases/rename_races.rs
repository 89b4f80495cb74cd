//! Rename against readers and other writers: R5.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use session_core::{Created, Record, Renamed, Saved, SessionKey, Timestamp};

use crate::Rule::R5;
use crate::case::{Entry, case};
use crate::store::Store;
use crate::test::{Outcome, Test, Work, all};

pub(super) const CASES: &[Entry] = &[
    case!(rename::readers_never_see_both_keys_live: R5),
    case!(rename::readers_never_find_the_old_key_after_success: R5),
    case!(rename::racing_a_delete_has_one_winner: R5),
    case!(rename::racing_a_save_has_one_winner: R5),
    case!(rename::racing_renames_of_one_session_has_one_winner: R5),
    case!(rename::racing_renames_onto_one_key_has_one_winner: R5),
    case!(rename::racing_a_create_of_the_new_key_has_one_winner: R5),
    case!(rename::racing_touches_leaves_one_session: R5),
];

const ROUNDS: usize = 50;

async fn readers_never_see_both_keys_live(t: &Test) -> Outcome {
    let stores = t.stores(3).await?;
    // A chain of keys, walked from one to the next while readers look at each pair, the new one first: finding the
    // new one live and then the old one too means that both were.
    let mut keys = Vec::new();
    for _ in 0..ROUNDS {
        keys.push(t.key()?);
    }
    let keys = Arc::new(keys);
    let mut record = t.record()?;
    stores[0].put(keys[0], &record).await?;
    let done = Arc::new(AtomicBool::new(false));
    let mut work: Vec<Work<Option<String>>> = Vec::new();
    for store in &stores[1..] {
        let (store, keys, done, log) = (store.clone(), Arc::clone(&keys), Arc::clone(&done), t.log());
        work.push(Box::pin(async move {
            while !done.load(SeqCst) {
                for pair in keys.windows(2) {
                    if store.load(pair[1]).await?.is_some() && store.load(pair[0]).await?.is_some() {
                        return Ok(Some(format!("{} and {} are", log.key(pair[1]), log.key(pair[0]))));
                    }
                    if done.load(SeqCst) {
                        break;
                    }
                }
                tokio::task::yield_now().await;
            }
            Ok(None)
        }));
    }
    let mut versions = Vec::new();
    for _ in 1..ROUNDS {
        versions.push(t.record()?);
    }
    let store = stores[0].clone();
    work.push(Box::pin(async move {
        let mut outcome = Ok(None);
        for (pair, next) in keys.windows(2).zip(versions) {
            match store.rename(pair[0], record.revision, pair[1], &next).await {
                Ok(Renamed::Stored) => record = next,
                Ok(other) => outcome = Ok(Some(format!("a rename without rivals was {other:?}"))),
                Err(failure) => outcome = Err(failure),
            }
            tokio::task::yield_now().await;
        }
        done.store(true, SeqCst);
        outcome
    }));
    for got in all(work).await?.into_iter().flatten() {
        t.ensure(R5, false, "never are the old key and the new one live at once", got)?;
    }
    Ok(())
}

async fn readers_never_find_the_old_key_after_success(t: &Test) -> Outcome {
    let stores = t.stores(3).await?;
    for _ in 0..ROUNDS {
        let (from, to, old, new) = (t.key()?, t.key()?, t.record()?, t.record()?);
        stores[0].put(from, &old).await?;
        t.want(R5, stores[0].rename(from, old.revision, to, &new).await?, Renamed::Stored)?;
        for store in &stores[1..] {
            t.want_absent(R5, store, from).await?;
            t.want_record(R5, store, to, &new).await?;
        }
    }
    Ok(())
}

/// A session, a rename of it that is about to happen, and the key and record it would have then.
struct Race {
    from: SessionKey,
    old: Record,
    to: SessionKey,
    new: Record,
}

impl Race {
    async fn new(t: &Test, store: &Store) -> Outcome<Self> {
        let race = Self { from: t.key()?, old: t.record()?, to: t.key()?, new: t.record()? };
        store.put(race.from, &race.old).await?;
        Ok(race)
    }

    fn rename(&self, store: &Store) -> impl Future<Output = Outcome<Renamed>> + Send + 'static {
        let (store, from, expected, to, record) =
            (store.clone(), self.from, self.old.revision, self.to, self.new.clone());
        async move { store.rename(from, expected, to, &record).await }
    }

    /// Wants the session at its new key, and nothing at the old one.
    async fn moved(&self, t: &Test, store: &Store) -> Outcome {
        t.want_absent(R5, store, self.from).await?;
        t.want_record(R5, store, self.to, &self.new).await
    }
}

async fn racing_a_delete_has_one_winner(t: &Test) -> Outcome {
    let stores = t.stores(2).await?;
    for _ in 0..ROUNDS {
        let race = Race::new(t, &stores[0]).await?;
        let (other, from) = (stores[1].clone(), race.from);
        let delete = tokio::spawn(async move { other.delete(from).await });
        let renamed = race.rename(&stores[0]).await?;
        let deleted = joined(delete).await?;
        let wanted = "either the delete is true and the rename Missing, or false and Stored";
        let got = format!("delete gave {deleted}, rename gave {renamed:?}");
        match (deleted, renamed) {
            (true, Renamed::Missing) => {
                t.want_absent(R5, &stores[0], race.from).await?;
                t.want_absent(R5, &stores[0], race.to).await?;
            }
            (false, Renamed::Stored) => race.moved(t, &stores[0]).await?,
            _ => t.ensure(R5, false, wanted, got)?,
        }
    }
    Ok(())
}

async fn racing_a_save_has_one_winner(t: &Test) -> Outcome {
    let stores = t.stores(2).await?;
    for _ in 0..ROUNDS {
        let race = Race::new(t, &stores[0]).await?;
        let next = t.record()?;
        let (other, from, expected, record) = (stores[1].clone(), race.from, race.old.revision, next.clone());
        let save = tokio::spawn(async move { other.save(from, expected, &record).await });
        let renamed = race.rename(&stores[0]).await?;
        let saved = joined(save).await?;
        match (saved, renamed) {
            (Saved::Stored, Renamed::Conflict) => {
                t.want_record(R5, &stores[0], race.from, &next).await?;
                t.want_absent(R5, &stores[0], race.to).await?;
            }
            (Saved::Missing, Renamed::Stored) => race.moved(t, &stores[0]).await?,
            _ => {
                let wanted = "either save is Stored and rename Conflict, or Missing and Stored";
                t.ensure(R5, false, wanted, format!("save gave {saved:?}, rename gave {renamed:?}"))?;
            }
        }
    }
    Ok(())
}

async fn racing_renames_of_one_session_has_one_winner(t: &Test) -> Outcome {
    let stores = t.stores(4).await?;
    for _ in 0..ROUNDS {
        let (from, old) = (t.key()?, t.record()?);
        stores[0].put(from, &old).await?;
        let mut tries = Vec::new();
        for store in &stores {
            let (store, to, record, expected) = (store.clone(), t.key()?, t.record()?, old.revision);
            tries.push(async move { Ok((store.rename(from, expected, to, &record).await?, to, record)) });
        }
        let results = all(tries).await?;
        t.want_absent(R5, &stores[0], from).await?;
        let mut won = 0;
        for (renamed, to, record) in &results {
            if *renamed == Renamed::Stored {
                won += 1;
                t.want_record(R5, &stores[0], *to, record).await?;
            } else {
                t.want(R5, *renamed, Renamed::Missing)?;
                t.want_absent(R5, &stores[0], *to).await?;
            }
        }
        t.ensure(R5, won == 1, "exactly one of 4 renames is Stored", format!("{won} were Stored"))?;
    }
    Ok(())
}

async fn racing_renames_onto_one_key_has_one_winner(t: &Test) -> Outcome {
    let stores = t.stores(4).await?;
    for _ in 0..ROUNDS {
        let (to, mut tries) = (t.key()?, Vec::new());
        for store in &stores {
            let (store, from, old, new) = (store.clone(), t.key()?, t.record()?, t.record()?);
            store.put(from, &old).await?;
            tries
                .push(async move { Ok((store.rename(from, old.revision, to, &new).await?, from, old, new)) });
        }
        let mut won = 0;
        for (renamed, from, old, new) in &all(tries).await? {
            if *renamed == Renamed::Stored {
                won += 1;
                t.want_absent(R5, &stores[0], *from).await?;
                t.want_record(R5, &stores[0], to, new).await?;
            } else {
                t.want(R5, *renamed, Renamed::Occupied)?;
                t.want_record(R5, &stores[0], *from, old).await?;
            }
        }
        t.ensure(R5, won == 1, "exactly one of 4 renames is Stored", format!("{won} were Stored"))?;
    }
    Ok(())
}

async fn racing_a_create_of_the_new_key_has_one_winner(t: &Test) -> Outcome {
    let stores = t.stores(2).await?;
    for _ in 0..ROUNDS {
        let race = Race::new(t, &stores[0]).await?;
        let theirs = t.record()?;
        let (other, to, record) = (stores[1].clone(), race.to, theirs.clone());
        let create = tokio::spawn(async move { other.create(to, &record).await });
        let renamed = race.rename(&stores[0]).await?;
        match (joined(create).await?, renamed) {
            (Created::Stored, Renamed::Occupied) => {
                t.want_record(R5, &stores[0], race.from, &race.old).await?;
                t.want_record(R5, &stores[0], race.to, &theirs).await?;
            }
            (Created::Occupied, Renamed::Stored) => race.moved(t, &stores[0]).await?,
            (created, renamed) => {
                let got = format!("create gave {created:?}, rename gave {renamed:?}");
                t.ensure(R5, false, "one is Stored and the other Occupied", got)?;
            }
        }
    }
    Ok(())
}

async fn racing_touches_leaves_one_session(t: &Test) -> Outcome {
    let stores = t.stores(3).await?;
    for _ in 0..ROUNDS {
        let race = Race::new(t, &stores[0]).await?;
        let mut touches: Vec<Work> = Vec::new();
        for store in &stores[1..] {
            let (store, from) = (store.clone(), race.from);
            touches.push(Box::pin(async move { store.touch(from, Timestamp::MAX).await.map(drop) }));
        }
        let touches = tokio::spawn(all(touches));
        t.want(R5, race.rename(&stores[0]).await?, Renamed::Stored)?;
        joined(touches).await?;
        race.moved(t, &stores[0]).await?;
    }
    Ok(())
}

async fn joined<T>(task: tokio::task::JoinHandle<Outcome<T>>) -> Outcome<T> {
    match task.await {
        Ok(outcome) => outcome,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
