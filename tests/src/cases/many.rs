//! Many calls at once, each with an answer of its own.
//!
//! A store may send what waits for its storage in one batch. So each case mixes what a batch must keep apart: sessions
//! that are live, expired, absent and at another revision, and owners that change.

use std::time::Duration;

use session_core::{Created, ErrorKind, Owner, Record, Saved, SessionKey, Timestamp, Touched};

use crate::Capability::OwnerIndex;
use crate::Rule::{self, C1, C2, C3, D2, L1, L2, L5, O2, S1, S2, S3, T1, T2, T3};
use crate::case::{Entry, case};
use crate::race::{Work, all};
use crate::store::Store;
use crate::test::{Outcome, Test};

pub(super) const CASES: &[Entry] = &[
    case!(many::creates_at_once_each_get_their_own_answer: C1, C2, C3, O2),
    case!(many::loads_at_once_each_get_their_own_answer: C1, L1, L2),
    case!(many::loads_beside_damaged_ones_each_get_their_own_answer: L5; needs Damage),
    case!(many::saves_at_once_each_get_their_own_answer: S1, S2, S3, O2),
    case!(many::touches_at_once_each_get_their_own_answer: T1, T2, T3),
    case!(many::deletes_at_once_each_get_their_own_answer: D2),
];

const CALLS: usize = 60;

/// What is under the key of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Live,
    /// Of somebody whom nobody else belongs to.
    Expired,
    Absent,
    /// Live, and the call expects another revision.
    Changed,
}

const KINDS: [Found; 4] = [Found::Live, Found::Expired, Found::Absent, Found::Changed];

struct Owners {
    three: [Owner; 3],
    /// Of the expired records.
    past: Owner,
}

impl Owners {
    fn new(t: &Test) -> Outcome<Self> {
        let three = [t.owner("ann")?, t.owner("bob")?, t.owner("cid")?];
        Ok(Self { three, past: t.owner("past")? })
    }

    /// One of the three, or nobody.
    fn get(&self, at: usize) -> Option<Owner> {
        self.three.get(at % 4).cloned()
    }
}

/// `CALLS` keys of every kind, each with the record that is there or was.
async fn scene(t: &Test, store: &Store, owners: &Owners) -> Outcome<Vec<(Found, SessionKey, Record)>> {
    let mut scene = Vec::new();
    for at in 0..CALLS {
        let (found, key, record) = (KINDS[at % KINDS.len()], t.key()?, t.record()?);
        let record = match found {
            Found::Expired => {
                let owner = Some(owners.past.clone());
                let expires_at = if at % 8 < 4 { Timestamp::EPOCH } else { t.soon() };
                Record { owner, expires_at, ..record }
            }
            _ => Record { owner: owners.get(at / KINDS.len()), ..record },
        };
        if found != Found::Absent {
            store.put(key, &record).await?;
        }
        scene.push((found, key, record));
    }
    t.wait_until_past(t.soon().saturating_add(Duration::from_millis(1))).await;
    Ok(scene)
}

/// Wants each owner's list to show what the scene came to.
async fn want_lists(t: &Test, store: &Store, owners: &Owners, live: &[(SessionKey, Record)]) -> Outcome {
    if !t.has(OwnerIndex) {
        return Ok(());
    }
    for owner in owners.three.iter().chain([&owners.past]) {
        let mut listed: Vec<_> = store.pages(Some(owner), 100).await?.into_iter().flatten().collect();
        let mut wanted: Vec<_> =
            live.iter().filter(|(_, record)| record.owner.as_ref() == Some(owner)).cloned().collect();
        listed.sort_by_key(|(key, _)| *key);
        wanted.sort_by_key(|(key, _)| *key);
        let keys = |of: &[(SessionKey, Record)]| t.named(&of.iter().map(|(key, _)| *key).collect::<Vec<_>>());
        let says = format!("{owner:?} has {}, as they were stored", keys(&wanted));
        t.ensure(O2, listed == wanted, says, keys(&listed))?;
    }
    Ok(())
}

async fn creates_at_once_each_get_their_own_answer(t: &Test) -> Outcome {
    let (stores, owners) = (t.stores(2).await?, Owners::new(t)?);
    for _ in 0..2 {
        let scene = scene(t, &stores[0], &owners).await?;
        let (mut work, mut live): (Vec<Work<Created>>, _) = (Vec::new(), Vec::new());
        let mut wanted = Vec::new();
        for (at, (found, key, there)) in scene.into_iter().enumerate() {
            let (store, new) = (stores[at % 2].clone(), Record { owner: owners.get(at / 3), ..t.record()? });
            let (rule, answer, record) = match found {
                Found::Live | Found::Changed => (C2, Created::Occupied, there),
                Found::Expired => (C3, Created::Stored, new.clone()),
                Found::Absent => (C1, Created::Stored, new.clone()),
            };
            wanted.push((rule, answer));
            live.push((rule, key, record));
            work.push(Box::pin(async move { store.create(key, &new).await }));
        }
        for (answer, (rule, wanted)) in all(work).await?.into_iter().zip(wanted) {
            t.want(rule, answer, wanted)?;
        }
        finish(t, &stores[1], &owners, live).await?;
    }
    Ok(())
}

/// Wants each record to be there, listed with its owner, and clears up.
async fn finish(t: &Test, store: &Store, owners: &Owners, live: Vec<(Rule, SessionKey, Record)>) -> Outcome {
    for (rule, key, record) in &live {
        t.want_record(*rule, store, *key, record).await?;
    }
    let live: Vec<_> = live.into_iter().map(|(_, key, record)| (key, record)).collect();
    want_lists(t, store, owners, &live).await?;
    for (key, _) in live {
        store.delete(key).await?;
    }
    Ok(())
}

async fn loads_at_once_each_get_their_own_answer(t: &Test) -> Outcome {
    let (stores, owners) = (t.stores(2).await?, Owners::new(t)?);
    let scene = scene(t, &stores[0], &owners).await?;
    for _ in 0..4 {
        let mut work: Vec<Work<Option<Record>>> = Vec::new();
        for (at, (_, key, _)) in scene.iter().enumerate() {
            let (store, key) = (stores[at % 2].clone(), *key);
            work.push(Box::pin(async move { store.load(key).await }));
        }
        for (got, (found, _, record)) in all(work).await?.into_iter().zip(&scene) {
            let (rule, wanted) = match found {
                Found::Live | Found::Changed => (C1, Some(record)),
                Found::Expired => (L2, None),
                Found::Absent => (L1, None),
            };
            t.ensure(rule, got.as_ref() == wanted, t.shown(wanted), t.shown(got.as_ref()))?;
        }
    }
    Ok(())
}

async fn loads_beside_damaged_ones_each_get_their_own_answer(t: &Test) -> Outcome {
    let (stores, owners) = (t.stores(2).await?, Owners::new(t)?);
    let scene = scene(t, &stores[0], &owners).await?;
    for (found, key, _) in &scene {
        if *found == Found::Changed {
            t.damage(*key).await?;
        }
    }
    for _ in 0..4 {
        let mut work: Vec<Work<Result<Option<Record>, ErrorKind>>> = Vec::new();
        for (at, (_, key, _)) in scene.iter().enumerate() {
            let (store, key) = (stores[at % 2].clone(), *key);
            work.push(Box::pin(async move { Ok(store.try_load(key).await.map_err(|error| error.kind())) }));
        }
        for (got, (found, _, record)) in all(work).await?.into_iter().zip(&scene) {
            let wanted = match found {
                Found::Live => Ok(Some(record.clone())),
                Found::Changed => Err(ErrorKind::Corrupt),
                Found::Expired | Found::Absent => Ok(None),
            };
            t.want(L5, got, wanted)?;
        }
    }
    Ok(())
}

async fn saves_at_once_each_get_their_own_answer(t: &Test) -> Outcome {
    let (stores, owners) = (t.stores(2).await?, Owners::new(t)?);
    for _ in 0..2 {
        let (scene, mut work): (_, Vec<Work<Saved>>) = (scene(t, &stores[0], &owners).await?, Vec::new());
        let (mut wanted, mut live, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        for (at, (found, key, there)) in scene.into_iter().enumerate() {
            let (store, new) = (stores[at % 2].clone(), Record { owner: owners.get(at / 3), ..t.record()? });
            let expected = if found == Found::Changed { t.revision()? } else { there.revision };
            match found {
                Found::Live => live.push((S1, key, new.clone())),
                Found::Changed => live.push((S2, key, there)),
                Found::Expired | Found::Absent => gone.push(key),
            }
            wanted.push(match found {
                Found::Live => (S1, Saved::Stored),
                Found::Changed => (S2, Saved::Conflict),
                Found::Expired | Found::Absent => (S3, Saved::Missing),
            });
            work.push(Box::pin(async move { store.save(key, expected, &new).await }));
        }
        for (answer, (rule, wanted)) in all(work).await?.into_iter().zip(wanted) {
            t.want(rule, answer, wanted)?;
        }
        for key in gone {
            t.want_absent(S3, &stores[0], key).await?;
        }
        finish(t, &stores[1], &owners, live).await?;
    }
    Ok(())
}

async fn touches_at_once_each_get_their_own_answer(t: &Test) -> Outcome {
    let (stores, owners) = (t.stores(2).await?, Owners::new(t)?);
    for _ in 0..2 {
        let (scene, mut work): (_, Vec<Work<Touched>>) = (scene(t, &stores[0], &owners).await?, Vec::new());
        let (mut wanted, mut live, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        for (at, (found, key, there)) in scene.into_iter().enumerate() {
            let store = stores[at % 2].clone();
            let to = t.record()?.expires_at.saturating_add(Duration::from_millis(60_000 + at as u64));
            let expected = if found == Found::Changed { t.revision()? } else { there.revision };
            match found {
                Found::Live => live.push((T1, key, Record { expires_at: to, ..there })),
                Found::Changed => live.push((T3, key, there)),
                Found::Expired | Found::Absent => gone.push(key),
            }
            wanted.push(match found {
                Found::Live => (T1, Touched::Stored),
                Found::Changed => (T3, Touched::Conflict),
                Found::Expired | Found::Absent => (T2, Touched::Missing),
            });
            work.push(Box::pin(async move { store.touch(key, expected, to).await }));
        }
        for (answer, (rule, wanted)) in all(work).await?.into_iter().zip(wanted) {
            t.want(rule, answer, wanted)?;
        }
        for key in gone {
            t.want_absent(T2, &stores[0], key).await?;
        }
        finish(t, &stores[1], &owners, live).await?;
    }
    Ok(())
}

async fn deletes_at_once_each_get_their_own_answer(t: &Test) -> Outcome {
    let (stores, owners) = (t.stores(2).await?, Owners::new(t)?);
    let (scene, mut work): (_, Vec<Work<bool>>) = (scene(t, &stores[0], &owners).await?, Vec::new());
    for (at, (found, key, _)) in scene.iter().enumerate() {
        let (store, key) = (stores[at % 2].clone(), *key);
        if *found != Found::Changed {
            work.push(Box::pin(async move { store.delete(key).await }));
        }
    }
    let (stay, deleted): (Vec<_>, Vec<_>) =
        scene.into_iter().partition(|(found, ..)| *found == Found::Changed);
    for (answer, (found, ..)) in all(work).await?.into_iter().zip(deleted) {
        t.want(D2, answer, found == Found::Live)?;
    }
    let stay = stay.into_iter().map(|(_, key, record)| (D2, key, record)).collect();
    finish(t, &stores[1], &owners, stay).await
}
