//! A backend that hangs, and callers that go away: F1 to F3.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use session_core::{Created, ErrorKind, Record, Result, Saved, SessionKey, Timestamp};

use crate::Capability::OwnerIndex;
use crate::Rule::{F1, F2, F3};
use crate::case::{Entry, case};
use crate::race::{Work, all};
use crate::store::Store;
use crate::test::{FAR, Outcome, Test};

pub(super) const CASES: &[Entry] = &[
    case!(faults::a_hanging_backend_is_an_error_in_time_for_every_operation: F1; needs Pause),
    case!(faults::the_same_handle_works_again_when_the_backend_is_back: F2; needs Pause),
    case!(faults::a_dropped_create_took_effect_wholly_or_not_at_all: F3),
    case!(faults::a_dropped_save_leaves_the_old_record_or_the_new_one: F3),
    case!(faults::a_dropped_delete_or_touch_took_effect_wholly_or_not_at_all: F3),
    case!(faults::many_dropped_operations_leave_a_usable_store: F3),
];

/// Every operation once; the kind of error of each.
async fn every_operation(t: &Test, store: &Store, key: SessionKey, record: &Record) -> Outcome<Kinds> {
    fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
        result.err().map(|error| error.kind())
    }
    let (ann, next) = (t.owner("ann")?, t.record()?);
    let (fresh, revision) = (t.key()?, record.revision);
    let store = || store.clone();
    let (a, b, c, d, e, f, g, h, i) =
        (store(), store(), store(), store(), store(), store(), store(), store(), store());
    let (n1, n2, ann2) = (next.clone(), next, ann.clone());
    let mut work: Vec<Work<(&'static str, Option<ErrorKind>)>> = vec![
        Box::pin(async move { Ok(("create", kind(a.try_create(fresh, &n1).await))) }),
        Box::pin(async move { Ok(("load", kind(b.try_load(key).await))) }),
        Box::pin(async move { Ok(("save", kind(c.try_save(key, revision, &n2).await))) }),
        Box::pin(async move { Ok(("touch", kind(d.try_touch(key, revision, Timestamp::MAX).await))) }),
        Box::pin(async move { Ok(("list", kind(e.try_list(None, None, 10).await))) }),
        Box::pin(async move { Ok(("delete_expired", kind(f.try_delete_expired(10).await))) }),
        Box::pin(async move { Ok(("now", kind(g.try_now().await))) }),
    ];
    if t.has(OwnerIndex) {
        work.push(Box::pin(async move { Ok(("delete_owned", kind(h.try_delete_owned(&ann, None).await))) }));
        work.push(Box::pin(async move {
            Ok(("list of an owner", kind(i.try_list(Some(&ann2), None, 10).await)))
        }));
    }
    all(work).await
}

type Kinds = Vec<(&'static str, Option<ErrorKind>)>;

async fn a_hanging_backend_is_an_error_in_time_for_every_operation(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (key, record) = (t.key()?, t.record()?);
    store.put(key, &record).await?;
    t.pause().await?;
    let results = tokio::time::timeout(t.hanging(), every_operation(t, &store, key, &record)).await;
    let deleted = tokio::time::timeout(t.hanging(), store.try_delete(key)).await;
    t.resume().await?;
    let wanted = format!("every operation answers within the harness's patience, {:?}", t.patience());
    let Ok(results) = results else {
        return t.ensure(F1, false, wanted, "one of them did not (those that did are above)");
    };
    let Ok(deleted) = deleted else {
        return t.ensure(F1, false, wanted, "delete did not");
    };
    let mut results = results?;
    results.push(("delete", deleted.err().map(|error| error.kind())));
    for (operation, kind) in results {
        // A store that judges by its host's clock need not ask its storage.
        let may_answer = operation == "now" && kind.is_none();
        let right = may_answer || matches!(kind, Some(ErrorKind::Unavailable | ErrorKind::Timeout));
        let wanted = format!("{operation} is an error of kind Unavailable or Timeout");
        let got = kind.map_or_else(|| "no error".to_owned(), |kind| format!("an error of kind {kind:?}"));
        t.ensure(F1, right, wanted, got)?;
    }
    Ok(())
}

async fn the_same_handle_works_again_when_the_backend_is_back(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (key, record) = (t.key()?, t.record()?);
    store.put(key, &record).await?;
    for _ in 0..2 {
        t.pause().await?;
        let during = tokio::time::timeout(t.hanging(), async {
            // Several at once: every connection of a pool gets its share of the trouble.
            let loads = (0..12).map(|_| {
                let store = store.clone();
                async move { Ok(store.try_load(key).await.is_ok()) }
            });
            all(loads.collect::<Vec<_>>()).await
        });
        let during = during.await;
        t.resume().await?;
        if let Ok(answers) = during {
            let answered = answers?.into_iter().filter(|ok| *ok).count();
            t.ensure(F1, answered == 0, "no load succeeds meanwhile", format!("{answered} did"))?;
        }
        // Connections may have to be made anew, which may take an attempt or two, but not for ever.
        let back = tokio::time::timeout(t.hanging(), async {
            while store.try_load(key).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let back = back.await.is_ok();
        t.ensure(F2, back, "the handle works again once the backend is back", "errors without end")?;
        t.want_record(F2, &store, key, &record).await?;
        let (fresh, next) = (t.key()?, t.record()?);
        t.want(F2, store.create(fresh, &next).await?, Created::Stored)?;
        t.want_record(F2, &store, fresh, &next).await?;
        t.want(F2, store.delete(fresh).await?, true)?;
    }
    Ok(())
}

/// How a caller goes away.
#[derive(Clone, Copy)]
enum Patience {
    Polls(usize),
    Time(Duration),
}

/// From never polled to nearly done, whatever the store is made of.
fn impatient() -> impl Iterator<Item = Patience> + Clone {
    let times = [0, 5, 15, 30, 50, 80, 120, 200, 350, 600, 1_000, 2_000, 4_000];
    (0..10).map(Patience::Polls).chain(times.map(|micros| Patience::Time(Duration::from_micros(micros))))
}

/// What the future gave, if it was ready before the caller lost patience and dropped it.
async fn give_up<T>(future: impl Future<Output = T> + Send, patience: Patience) -> Option<T> {
    match patience {
        Patience::Time(time) => tokio::time::timeout(time, future).await.ok(),
        Patience::Polls(most) => {
            let mut future = pin!(future);
            let mut polls = 0;
            poll_fn(|context| {
                if polls == most {
                    return Poll::Ready(None);
                }
                polls += 1;
                match future.as_mut().poll(context) {
                    Poll::Ready(value) => Poll::Ready(Some(value)),
                    Poll::Pending if polls == most => Poll::Ready(None),
                    Poll::Pending => Poll::Pending,
                }
            })
            .await
        }
    }
}

fn dropped(t: &Test, what: &str, done: bool) {
    let end = if done { "was ready before it could be dropped" } else { "was dropped before it was ready" };
    t.log().note(&format!("the {what} {end}"));
}

/// Saves on top of whatever is there until that works: what was dropped may still be under way and get in between.
async fn settle(t: &Test, store: &Store, key: SessionKey, allowed: &[&Record]) -> Outcome {
    for _ in 0..100 {
        let found = store.load(key).await?;
        let known = found.as_ref().is_some_and(|found| allowed.contains(&found));
        t.ensure(F3, known, "the old record or the new one, whole", t.shown(found.as_ref()))?;
        let Some(found) = found else { continue };
        let next = t.record()?;
        if store.save(key, found.revision, &next).await? == Saved::Stored {
            return t.want_record(F3, store, key, &next).await;
        }
    }
    t.ensure(F3, false, "a save on top of the newest record is stored in the end", "100 conflicts")
}

async fn a_dropped_create_took_effect_wholly_or_not_at_all(t: &Test) -> Outcome {
    let store = t.store().await?;
    for patience in impatient() {
        let (key, record) = (t.key()?, Record { payload: vec![3; 30_000].into(), ..t.record()? });
        let done = give_up(store.try_create(key, &record), patience).await.is_some();
        dropped(t, "create", done);
        let found = store.load(key).await?;
        let holds = found.is_none() || found.as_ref() == Some(&record);
        t.ensure(F3, holds, "None or the record, whole", t.unlike(&record, found.as_ref()))?;
        let listed = store.everything().await?;
        // Listed means loadable: the drop left no half-made session.
        if listed.contains(&key) {
            t.want_record(F3, &store, key, &record).await?;
        }
        match store.create(key, &record).await? {
            Created::Stored | Created::Occupied => t.want_record(F3, &store, key, &record).await?,
        }
        settle(t, &store, key, &[&record]).await?;
    }
    Ok(())
}

async fn a_dropped_save_leaves_the_old_record_or_the_new_one(t: &Test) -> Outcome {
    let store = t.store().await?;
    for patience in impatient() {
        let (key, old) = (t.key()?, Record { payload: vec![1; 30_000].into(), ..t.record()? });
        let new = Record { payload: vec![2; 50_000].into(), ..t.owned(&t.owner("ann")?)? };
        store.put(key, &old).await?;
        let done = give_up(store.try_save(key, old.revision, &new), patience).await.is_some();
        dropped(t, "save", done);
        settle(t, &store, key, &[&old, &new]).await?;
    }
    Ok(())
}

async fn a_dropped_delete_or_touch_took_effect_wholly_or_not_at_all(t: &Test) -> Outcome {
    let store = t.store().await?;
    for patience in impatient() {
        // A server may carry out a dropped touch after the save that follows. It changes nothing then, since that
        // record lives longer.
        let soon = Timestamp::now().saturating_add(FAR / 2);
        let later = soon.saturating_add(FAR / 4);
        let (key, record) = (t.key()?, Record { expires_at: soon, ..t.owned(&t.owner("ann")?)? });
        store.put(key, &record).await?;
        let done = give_up(store.try_touch(key, record.revision, later), patience).await.is_some();
        dropped(t, "touch", done);
        let touched = Record { expires_at: later, ..record.clone() };
        settle(t, &store, key, &[&record, &touched]).await?;

        let (key, record) = (t.key()?, t.owned(&t.owner("ann")?)?);
        store.put(key, &record).await?;
        let done = give_up(store.try_delete(key), patience).await.is_some();
        dropped(t, "delete", done);
        let found = store.load(key).await?;
        let holds = found.is_none() || found.as_ref() == Some(&record);
        t.ensure(F3, holds, "None or the record, whole", t.unlike(&record, found.as_ref()))?;
        store.delete(key).await?;
        t.want_absent(F3, &store, key).await?;
    }
    Ok(())
}

async fn many_dropped_operations_leave_a_usable_store(t: &Test) -> Outcome {
    let stores = t.stores(2).await?;
    let (key, shared) = (t.key()?, t.record()?);
    stores[0].put(key, &shared).await?;
    // More than any pool has connections.
    let mut work: Vec<Work> = Vec::new();
    for (at, patience) in impatient().cycle().take(150).enumerate() {
        let (store, fresh, record, revision) =
            (stores[at % 2].clone(), t.key()?, t.record()?, shared.revision);
        work.push(Box::pin(async move {
            match at % 6 {
                0 | 1 => drop(give_up(store.try_load(key), patience).await),
                2 => drop(give_up(store.try_create(fresh, &record), patience).await),
                3 => drop(give_up(store.try_touch(key, revision, Timestamp::MAX), patience).await),
                4 => drop(give_up(store.try_list(None, None, 10), patience).await),
                _ => drop(give_up(store.try_delete_expired(10), patience).await),
            }
            Ok(())
        }));
    }
    all(work).await?;
    for store in &stores {
        let mut work: Vec<Work> = Vec::new();
        for _ in 0..30 {
            let (store, fresh, record) = (store.clone(), t.key()?, t.record()?);
            work.push(Box::pin(async move {
                store.put(fresh, &record).await?;
                store.load(fresh).await?;
                store.prolong(fresh, record.revision, Timestamp::MAX).await?;
                store.list(None, None, 3).await?;
                store.delete_expired(3).await?;
                store.delete(fresh).await.map(drop)
            }));
        }
        all(work).await?;
    }
    Ok(())
}
