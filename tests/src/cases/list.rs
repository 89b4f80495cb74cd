//! Listing: O1, O2 and O5.

use std::collections::{BTreeMap, BTreeSet};
use std::slice;
use std::time::Duration;

use session_core::{Created, Cursor, ErrorKind, Owner, Record, Saved, SessionKey, Timestamp, Touched};

use crate::Rule::{self, L5, O1, O2, O3, O5};
use crate::case::{Entry, case};
use crate::store::{Store, pages};
use crate::test::{Outcome, Test};

pub(super) const CASES: &[Entry] = &[
    case!(list::of_an_owner_gives_that_owners_sessions_and_no_others: O1; needs OwnerIndex),
    case!(list::of_an_owner_without_sessions_is_empty: O1; needs OwnerIndex),
    case!(list::of_an_owner_comes_in_pages_of_at_most_the_limit: O1; needs OwnerIndex),
    case!(list::of_an_owner_misses_no_session_that_stays: O1; needs OwnerIndex),
    case!(list::of_an_owner_refuses_a_foreign_cursor: O1; needs OwnerIndex),
    case!(list::of_an_owner_leaves_out_what_has_expired: O1, O2; needs OwnerIndex),
    case!(list::of_an_owner_follows_saves: O2; needs OwnerIndex),
    case!(list::of_an_owner_keeps_what_was_given_a_later_expiry: O2; needs OwnerIndex),
    case!(list::of_an_owner_follows_deletes: O2; needs OwnerIndex),
    case!(list::of_an_owner_follows_a_create_over_an_expired_record: O2; needs OwnerIndex),
    case!(list::of_everything_gives_all_live_sessions: O5),
    case!(list::of_everything_comes_in_pages_of_at_most_the_limit: O5),
    case!(list::of_everything_misses_no_session_that_stays: O5),
    case!(list::of_everything_refuses_a_foreign_cursor: O5),
    case!(list::of_everything_follows_every_operation: O5),
    case!(list::of_everything_hides_no_session_behind_a_damaged_one: L5, O5; needs Damage),
    case!(list::of_an_owner_hides_no_session_behind_a_damaged_one: L5, O1; needs Damage, OwnerIndex),
    case!(list::without_an_index_of_owners_is_unsupported: O1, O3; unless OwnerIndex),
];

/// Wants a listing to give exactly `wanted`, none twice, in pages of at most `limit`.
async fn want_listing(
    t: &Test,
    rule: Rule,
    store: &Store,
    owner: Option<&Owner>,
    limit: usize,
    wanted: &[(SessionKey, Record)],
) -> Outcome {
    want_listing_by(t, rule, slice::from_ref(store), owner, limit, wanted).await
}

/// The same with each page on another one of the handles.
async fn want_listing_by(
    t: &Test,
    rule: Rule,
    stores: &[Store],
    owner: Option<&Owner>,
    limit: usize,
    wanted: &[(SessionKey, Record)],
) -> Outcome {
    let mut found = BTreeMap::new();
    for page in pages(stores, owner, limit).await? {
        let most = limit.max(1);
        t.ensure(rule, page.len() <= most, format!("at most {most} sessions a page"), page.len())?;
        for (key, record) in page {
            let twice = found.insert(key, record).is_some();
            t.ensure(rule, !twice, "no session twice", format!("{} twice", t.log().key(key)))?;
        }
    }
    for (key, record) in wanted {
        let listed = found.remove(key);
        let wanted = format!("{}, which is live, is listed as it was stored", t.log().key(*key));
        t.ensure(rule, listed.as_ref() == Some(record), wanted, t.unlike(record, listed.as_ref()))?;
    }
    let extra: Vec<_> = found.into_keys().collect();
    t.ensure(rule, extra.is_empty(), "no other session is listed", t.named(&extra))
}

async fn put_many(
    t: &Test,
    store: &Store,
    count: usize,
    owner: Option<&Owner>,
) -> Outcome<Vec<(SessionKey, Record)>> {
    let mut sessions = Vec::new();
    for _ in 0..count {
        let (key, record) = (t.key()?, Record { owner: owner.cloned(), ..t.record()? });
        store.put(key, &record).await?;
        sessions.push((key, record));
    }
    Ok(sessions)
}

async fn of_an_owner_gives_that_owners_sessions_and_no_others(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (ann, bob) = (t.owner("ann")?, t.owner("bob")?);
    let anns = put_many(t, &store, 3, Some(&ann)).await?;
    let bobs = put_many(t, &store, 2, Some(&bob)).await?;
    put_many(t, &store, 2, None).await?;
    want_listing(t, O1, &store, Some(&ann), 10, &anns).await?;
    want_listing(t, O1, &store, Some(&bob), 10, &bobs).await
}

async fn of_an_owner_without_sessions_is_empty(t: &Test) -> Outcome {
    let store = t.store().await?;
    let ann = t.owner("ann")?;
    want_listing(t, O1, &store, Some(&ann), 10, &[]).await?;
    put_many(t, &store, 2, None).await?;
    // An owner whose text begins like another's.
    let longer = Owner::new(format!("{ann}x"));
    if let Ok(longer) = &longer {
        put_many(t, &store, 2, Some(longer)).await?;
    }
    want_listing(t, O1, &store, Some(&ann), 10, &[]).await
}

async fn pages_of(t: &Test, rule: Rule, owner: Option<&Owner>) -> Outcome {
    let stores = t.stores(2).await?;
    let store = &stores[0];
    let mine = put_many(t, store, 13, owner).await?;
    if owner.is_some() {
        put_many(t, store, 5, Some(&t.owner("other")?)).await?;
    }
    for limit in [1, 2, 3, 4, 12, 13, 14, 1000, 0] {
        want_listing(t, rule, store, owner, limit, &mine).await?;
        want_listing_by(t, rule, &stores, owner, limit, &mine).await?;
    }
    let more = put_many(t, store, 140, owner).await?;
    let all = [mine, more].concat();
    for limit in [17, 64, 100, 128, usize::MAX] {
        want_listing(t, rule, store, owner, limit, &all).await?;
        want_listing_by(t, rule, &stores, owner, limit, &all).await?;
    }
    Ok(())
}

async fn of_an_owner_comes_in_pages_of_at_most_the_limit(t: &Test) -> Outcome {
    pages_of(t, O1, Some(&t.owner("ann")?)).await
}

async fn of_everything_comes_in_pages_of_at_most_the_limit(t: &Test) -> Outcome {
    pages_of(t, O5, None).await
}

/// Between pages other sessions come and go, and those that stay are saved and touched.
async fn stays_through(t: &Test, rule: Rule, owner: Option<&Owner>) -> Outcome {
    let stores = t.stores(2).await?;
    for limit in [1, 3, 10] {
        let mut staying: BTreeMap<_, _> = put_many(t, &stores[0], 60, owner).await?.into_iter().collect();
        let mut seen = BTreeSet::new();
        let mut cursor: Option<Cursor> = None;
        for pages in 0.. {
            // Each page on the other handle: a cursor holds all there is to know.
            let store = &stores[pages % 2];
            let page = store.list(owner, cursor.as_ref(), limit).await?;
            for (key, _) in &page.sessions {
                let first = seen.insert(*key);
                t.ensure(rule, first, "no session twice", format!("{} twice", t.log().key(*key)))?;
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
            // The last session of the page goes, for that may be where the cursor stands; and every third time one that
            // is still to come.
            let last = page.sessions.last().map(|(key, _)| *key);
            let unseen = staying.keys().copied().find(|key| pages % 3 == 2 && !seen.contains(key));
            for key in last.into_iter().chain(unseen) {
                store.delete(key).await?;
                staying.remove(&key);
            }
            put_many(t, store, usize::from(pages % 2 == 0), owner).await?;
            let at = seen.len() % staying.len().max(1);
            if let Some((key, record)) = staying.iter_mut().nth(at) {
                let next = Record { owner: owner.cloned(), ..t.record()? };
                store.replace(*key, record.revision, &next).await?;
                store.prolong(*key, next.revision, Timestamp::MAX).await?;
                *record = next;
            }
            let endless = seen.len() > 5_000;
            t.ensure(
                rule,
                !endless,
                "a listing ends, though sessions are added",
                "5000 sessions and a cursor",
            )?;
        }
        let missed: Vec<_> = staying.into_keys().filter(|key| !seen.contains(key)).collect();
        t.ensure(rule, missed.is_empty(), "every session that was live throughout is listed", {
            format!("{} were missed", t.named(&missed))
        })?;
    }
    Ok(())
}

async fn of_an_owner_misses_no_session_that_stays(t: &Test) -> Outcome {
    stays_through(t, O1, Some(&t.owner("ann")?)).await
}

async fn of_everything_misses_no_session_that_stays(t: &Test) -> Outcome {
    stays_through(t, O5, None).await
}

async fn foreign_cursors(t: &Test, rule: Rule, owner: Option<&Owner>) -> Outcome {
    let store = t.store().await?;
    put_many(t, &store, 3, owner).await?;
    for text in
        ["", "no store gave this out!", "\u{1f600}", "'; --", "../..", "-1", "99999999999999999999999999"]
    {
        match store.try_list(owner, Some(&Cursor::new(text)), 2).await {
            Err(error) => t.want(rule, error.kind(), ErrorKind::InvalidInput)?,
            Ok(page) => {
                let wanted = format!("an error of kind InvalidInput for the cursor {text:?}");
                t.ensure(rule, false, wanted, format!("a page of {}", page.sessions.len()))?;
            }
        }
    }
    Ok(())
}

async fn of_an_owner_refuses_a_foreign_cursor(t: &Test) -> Outcome {
    foreign_cursors(t, O1, Some(&t.owner("ann")?)).await
}

async fn of_everything_refuses_a_foreign_cursor(t: &Test) -> Outcome {
    foreign_cursors(t, O5, None).await
}

async fn of_an_owner_leaves_out_what_has_expired(t: &Test) -> Outcome {
    let store = t.store().await?;
    let ann = t.owner("ann")?;
    let mut live = put_many(t, &store, 2, Some(&ann)).await?;
    let soon = t.soon();
    for expires_at in [soon, Timestamp::EPOCH, soon] {
        let over = Record { owner: Some(ann.clone()), ..t.until(expires_at)? };
        store.put(t.key()?, &over).await?;
    }
    live.extend(put_many(t, &store, 2, Some(&ann)).await?);
    t.wait_until_past(soon).await;
    for limit in [1, 2, 100] {
        want_listing(t, O1, &store, Some(&ann), limit, &live).await?;
    }
    store.delete_expired(1000).await?;
    want_listing(t, O2, &store, Some(&ann), 100, &live).await
}

async fn of_an_owner_follows_saves(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (ann, bob) = (t.owner("ann")?, t.owner("bob")?);
    let (key, mut current) = (t.key()?, t.record()?);
    store.put(key, &current).await?;
    // Set, kept, changed, cleared, set again.
    for owner in [Some(&ann), Some(&ann), Some(&bob), None, Some(&bob), Some(&ann)] {
        let next = Record { owner: owner.cloned(), ..t.record()? };
        t.want(Rule::S1, store.save(key, current.revision, &next).await?, Saved::Stored)?;
        current = next;
        for whose in [&ann, &bob] {
            let wanted = if owner == Some(whose) { vec![(key, current.clone())] } else { vec![] };
            want_listing(t, O2, &store, Some(whose), 10, &wanted).await?;
        }
    }
    Ok(())
}

/// A session of an owner who has no other one, so that what an index keeps of the owner has to follow it alone.
async fn of_an_owner_keeps_what_was_given_a_later_expiry(t: &Test) -> Outcome {
    let store = t.store().await?;
    for saves in [true, false] {
        for life in [300, 1_500, 6_000] {
            let (key, ann) = (t.key()?, t.owner("ann")?);
            let soon = Timestamp::now().saturating_add(Duration::from_millis(life));
            let later = Timestamp::from_millis(soon.as_millis() + 3_600_000);
            let short = Record { owner: Some(ann.clone()), ..t.until(soon)? };
            store.put(key, &short).await?;
            let (done, long) = if saves {
                let long = Record { expires_at: later, ..t.owned(&ann)? };
                (store.save(key, short.revision, &long).await? == Saved::Stored, long)
            } else {
                let touched = store.touch(key, short.revision, later).await?;
                (touched == Touched::Stored, Record { expires_at: later, ..short })
            };
            if Timestamp::now() >= soon {
                // Too busy a machine to do it in time: again with a longer life.
                continue;
            }
            t.ensure(O2, done, "Stored", "another answer")?;
            t.wait_until_past(soon).await;
            store.delete_expired(1000).await?;
            want_listing(t, O2, &store, Some(&ann), 10, &[(key, long)]).await?;
            t.want(O3, store.delete_owned(&ann, None).await?, 1)?;
            break;
        }
    }
    Ok(())
}

async fn of_an_owner_follows_deletes(t: &Test) -> Outcome {
    let store = t.store().await?;
    let ann = t.owner("ann")?;
    let mut sessions = put_many(t, &store, 4, Some(&ann)).await?;
    while let Some((key, _)) = sessions.pop() {
        store.delete(key).await?;
        want_listing(t, O2, &store, Some(&ann), 10, &sessions).await?;
    }
    // The key belongs to somebody else now: nothing of its past shows.
    let (key, bob) = (t.key()?, t.owner("bob")?);
    store.put(key, &t.owned(&ann)?).await?;
    store.delete(key).await?;
    let record = t.owned(&bob)?;
    store.put(key, &record).await?;
    want_listing(t, O2, &store, Some(&ann), 10, &[]).await?;
    want_listing(t, O2, &store, Some(&bob), 10, &[(key, record)]).await
}

async fn of_an_owner_follows_a_create_over_an_expired_record(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (ann, bob) = (t.owner("ann")?, t.owner("bob")?);
    let key = t.key()?;
    store.put(key, &Record { owner: Some(ann.clone()), ..t.until(Timestamp::EPOCH)? }).await?;
    let record = t.owned(&bob)?;
    t.want(Rule::C3, store.create(key, &record).await?, Created::Stored)?;
    want_listing(t, O2, &store, Some(&ann), 10, &[]).await?;
    want_listing(t, O2, &store, Some(&bob), 10, &[(key, record.clone())]).await?;
    store.delete_expired(1000).await?;
    want_listing(t, O2, &store, Some(&ann), 10, &[]).await?;
    want_listing(t, O2, &store, Some(&bob), 10, &[(key, record)]).await
}

async fn of_everything_gives_all_live_sessions(t: &Test) -> Outcome {
    let store = t.store().await?;
    want_listing(t, O5, &store, None, 10, &[]).await?;
    let soon = t.soon();
    store.put(t.key()?, &t.until(soon)?).await?;
    let mut live = put_many(t, &store, 3, None).await?;
    live.extend(put_many(t, &store, 2, Some(&t.owner("ann")?)).await?);
    live.extend(put_many(t, &store, 2, Some(&t.owner("bob")?)).await?);
    store.put(t.key()?, &t.until(Timestamp::EPOCH)?).await?;
    t.wait_until_past(soon).await;
    for limit in [1, 2, 100] {
        want_listing(t, O5, &store, None, limit, &live).await?;
    }
    Ok(())
}

async fn of_everything_follows_every_operation(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (key, first) = (t.key()?, t.record()?);
    store.put(key, &first).await?;
    want_listing(t, O5, &store, None, 10, &[(key, first.clone())]).await?;
    let second = t.owned(&t.owner("ann")?)?;
    t.want(Rule::S1, store.save(key, first.revision, &second).await?, Saved::Stored)?;
    want_listing(t, O5, &store, None, 10, &[(key, second.clone())]).await?;
    t.want(Rule::T1, store.touch(key, second.revision, Timestamp::MAX).await?, Touched::Stored)?;
    let touched = Record { expires_at: Timestamp::MAX, ..second };
    want_listing(t, O5, &store, None, 10, &[(key, touched)]).await?;
    store.delete(key).await?;
    want_listing(t, O5, &store, None, 10, &[]).await
}

/// Whether the damaged session itself is in a list is the store's own business.
async fn beside_damage(t: &Test, owner: Option<&Owner>) -> Outcome {
    let store = t.store().await?;
    let mut sessions: BTreeMap<_, _> = put_many(t, &store, 9, owner).await?.into_iter().collect();
    // Whatever the order of the list is, one of these two is on a page with others before it and behind it.
    for at in [4, 1] {
        if let Some(key) = sessions.keys().nth(at).copied() {
            t.damage(key).await?;
            sessions.remove(&key);
        }
        for limit in [1, 4, 100] {
            let listed: BTreeMap<_, _> = store.pages(owner, limit).await?.into_iter().flatten().collect();
            let missed: Vec<_> = sessions.keys().copied().filter(|key| !listed.contains_key(key)).collect();
            let wanted = "every session that is not damaged is listed";
            t.ensure(L5, missed.is_empty(), wanted, format!("{} are not", t.named(&missed)))?;
            let whole = sessions.iter().all(|(key, record)| listed.get(key) == Some(record));
            t.ensure(L5, whole, "each as it was stored", "another record")?;
        }
    }
    Ok(())
}

async fn of_everything_hides_no_session_behind_a_damaged_one(t: &Test) -> Outcome {
    beside_damage(t, None).await
}

async fn of_an_owner_hides_no_session_behind_a_damaged_one(t: &Test) -> Outcome {
    beside_damage(t, Some(&t.owner("ann")?)).await
}

async fn without_an_index_of_owners_is_unsupported(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (key, ann) = (t.key()?, t.owner("ann")?);
    let record = t.owned(&ann)?;
    store.put(key, &record).await?;
    let listed = store.try_list(Some(&ann), None, 10).await.map(|page| page.sessions.len());
    let deleted = store.try_delete_owned(&ann, None).await;
    for (operation, kind) in
        [("list", listed.map_err(|e| e.kind()).err()), ("delete_owned", deleted.map_err(|e| e.kind()).err())]
    {
        let wanted = format!("{operation} is an error of kind Unsupported: the harness claims no OwnerIndex");
        t.ensure(O1, kind == Some(ErrorKind::Unsupported), wanted, format!("{kind:?}"))?;
    }
    // The owner itself is kept all the same.
    t.want_record(Rule::C1, &store, key, &record).await
}
