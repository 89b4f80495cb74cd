//! Handles, reopening and namespaces: H1 to H4.

use session_core::{Created, Record, Saved, Timestamp, Touched};

use crate::Capability::OwnerIndex;
use crate::Rule::{H1, H2, H3, H4};
use crate::case::{Entry, case};
use crate::test::{Outcome, Test};

pub(super) const CASES: &[Entry] = &[
    case!(handles::see_each_others_writes_at_once: H1),
    case!(handles::see_each_others_sessions_in_lists: H1),
    case!(handles::find_everything_after_reopening: H2; needs Durable),
    case!(handles::find_what_was_written_last_after_reopening: H2; needs Durable),
    case!(namespaces::never_see_each_other: H3),
    case!(namespaces::are_swept_and_ended_apart: H3),
    case!(prepare::can_be_repeated: H4),
    case!(prepare::can_be_raced: H4),
];

async fn see_each_others_writes_at_once(t: &Test) -> Outcome {
    let stores = t.stores(3).await?;
    for round in 0..12 {
        let [writer, reader, third] = [0, 1, 2].map(|at| &stores[(round + at) % 3]);
        let (key, first) = (t.key()?, t.record()?);
        // Looked at before it is there, so that a handle that remembers what it saw is found out.
        t.want_absent(H1, reader, key).await?;
        t.want(H1, writer.create(key, &first).await?, Created::Stored)?;
        t.want_record(H1, reader, key, &first).await?;
        t.want(H1, reader.create(key, &t.record()?).await?, Created::Occupied)?;
        let second = t.record()?;
        t.want(H1, reader.save(key, first.revision, &second).await?, Saved::Stored)?;
        t.want_record(H1, writer, key, &second).await?;
        t.want(H1, writer.save(key, first.revision, &t.record()?).await?, Saved::Conflict)?;
        t.want(H1, third.touch(key, second.revision, Timestamp::MAX).await?, Touched::Stored)?;
        let touched = Record { expires_at: Timestamp::MAX, ..second };
        t.want_record(H1, writer, key, &touched).await?;
        t.want(H1, third.delete(key).await?, true)?;
        for store in [writer, reader] {
            t.want_absent(H1, store, key).await?;
            t.want(H1, store.save(key, touched.revision, &t.record()?).await?, Saved::Missing)?;
        }
    }
    Ok(())
}

async fn see_each_others_sessions_in_lists(t: &Test) -> Outcome {
    let stores = t.stores(2).await?;
    let ann = t.owner("ann")?;
    let mut keys = Vec::new();
    for at in 0..6 {
        let key = t.key()?;
        stores[at % 2].put(key, &t.owned(&ann)?).await?;
        keys.push(key);
        keys.sort_unstable();
        for store in &stores {
            let listed = store.everything().await?;
            t.ensure(H1, listed == keys, "every handle lists every session", t.named(&listed))?;
            if t.has(OwnerIndex) {
                let listed = t.keys_of(store, &ann).await?;
                t.ensure(H1, listed == keys, "and the owner's", t.named(&listed))?;
            }
        }
    }
    if t.has(OwnerIndex) {
        t.want(H1, stores[0].delete_owned(&ann, None).await?, 6)?;
        let listed = t.keys_of(&stores[1], &ann).await?;
        t.ensure(H1, listed.is_empty(), "nothing is listed", t.named(&listed))?;
    }
    Ok(())
}

async fn find_everything_after_reopening(t: &Test) -> Outcome {
    let (ann, soon) = (t.owner("ann")?, t.soon());
    let (kept, owned, ended, over) = (t.key()?, t.key()?, t.key()?, t.key()?);
    let (record, anns, short) = (t.record()?, t.owned(&ann)?, t.until(soon)?);
    let large = (t.key()?, Record { payload: vec![5; t.max_payload().min(70_000)].into(), ..t.record()? });
    {
        let store = t.store().await?;
        store.put(kept, &record).await?;
        store.put(owned, &anns).await?;
        store.put(ended, &record).await?;
        store.put(over, &short).await?;
        store.put(large.0, &large.1).await?;
        store.delete(ended).await?;
    }
    t.wait_until_past(soon).await;
    for _ in 0..2 {
        t.log().note("all handles are dropped, and a new one is opened");
        let store = t.store().await?;
        t.want_record(H2, &store, kept, &record).await?;
        t.want_record(H2, &store, owned, &anns).await?;
        t.want_record(H2, &store, large.0, &large.1).await?;
        t.want_absent(H2, &store, ended).await?;
        t.want_absent(H2, &store, over).await?;
        let listed = store.everything().await?;
        t.ensure(H2, listed.len() == 3, "the 3 live sessions are listed", t.named(&listed))?;
        if t.has(OwnerIndex) {
            let listed = t.keys_of(&store, &ann).await?;
            t.ensure(H2, listed == [owned], "the owner's session is listed", t.named(&listed))?;
        }
    }
    // Not only to look at.
    let store = t.store().await?;
    t.want(H2, store.create(kept, &record).await?, Created::Occupied)?;
    t.want(H2, store.save(kept, record.revision, &t.record()?).await?, Saved::Stored)?;
    t.want(H2, store.delete(owned).await?, true)?;
    if !t.has(crate::Capability::SelfExpiring) {
        t.want(H2, store.delete_expired(10).await?, 1)?;
    }
    Ok(())
}

async fn find_what_was_written_last_after_reopening(t: &Test) -> Outcome {
    let (key, mut current) = (t.key()?, t.record()?);
    t.store().await?.put(key, &current).await?;
    for _ in 0..3 {
        let saved = t.record()?;
        let store = t.store().await?;
        t.want(H2, store.save(key, current.revision, &saved).await?, Saved::Stored)?;
        drop(store);
        let store = t.store().await?;
        t.want_record(H2, &store, key, &saved).await?;
        let later = Timestamp::from_millis(saved.expires_at.as_millis() + 60_001);
        t.want(H2, store.touch(key, saved.revision, later).await?, Touched::Stored)?;
        drop(store);
        current = Record { expires_at: later, ..saved };
        t.want_record(H2, &t.store().await?, key, &current).await?;
    }
    t.want(H2, t.store().await?.delete(key).await?, true)?;
    t.want_absent(H2, &t.store().await?, key).await
}

async fn never_see_each_other(t: &Test) -> Outcome {
    let other = t.another_namespace().await?;
    let (here, there) = (t.store().await?, other.store().await?.named(2));
    let (key, mine, theirs) = (t.key()?, t.record()?, t.record()?);
    here.put(key, &mine).await?;
    t.want_absent(H3, &there, key).await?;
    t.want(H3, there.save(key, mine.revision, &theirs).await?, Saved::Missing)?;
    t.want(H3, there.touch(key, mine.revision, Timestamp::MAX).await?, Touched::Missing)?;
    t.want(H3, there.delete(key).await?, false)?;
    t.want(H3, there.create(key, &theirs).await?, Created::Stored)?;
    t.want_record(H3, &here, key, &mine).await?;
    t.want_record(H3, &there, key, &theirs).await?;
    let next = t.record()?;
    t.want(H3, there.save(key, theirs.revision, &next).await?, Saved::Stored)?;
    t.want(H3, there.touch(key, next.revision, Timestamp::MAX).await?, Touched::Stored)?;
    t.want_record(H3, &here, key, &mine).await?;
    t.want(H3, there.delete(key).await?, true)?;
    t.want_record(H3, &here, key, &mine).await
}

async fn are_swept_and_ended_apart(t: &Test) -> Outcome {
    let other = t.another_namespace().await?;
    let (here, there) = (t.store().await?, other.store().await?.named(2));
    let ann = t.owner("ann")?;
    let mut mine = vec![t.key()?, t.key()?];
    for key in &mine {
        here.put(*key, &t.owned(&ann)?).await?;
    }
    mine.sort_unstable();
    let theirs = t.key()?;
    there.put(theirs, &t.owned(&ann)?).await?;
    here.put(t.key()?, &t.until(Timestamp::EPOCH)?).await?;

    let (listed, listed_there) = (here.everything().await?, there.everything().await?);
    t.ensure(H3, listed == mine, "its own sessions are listed", t.named(&listed))?;
    t.ensure(H3, listed_there == [theirs], "its own session is listed", t.named(&listed_there))?;
    t.want(H3, there.delete_expired(100).await?, 0)?;
    if t.has(OwnerIndex) {
        let (listed, listed_there) = (t.keys_of(&here, &ann).await?, t.keys_of(&there, &ann).await?);
        t.ensure(H3, listed == mine, "the owner's sessions here are listed", t.named(&listed))?;
        t.ensure(H3, listed_there == [theirs], "the owner's session there is listed", {
            t.named(&listed_there)
        })?;
        t.want(H3, there.delete_owned(&ann, None).await?, 1)?;
        let listed = t.keys_of(&here, &ann).await?;
        t.ensure(H3, listed == mine, "the owner's sessions here are still there", t.named(&listed))?;
    }
    let listed = here.everything().await?;
    t.ensure(H3, listed == mine, "its own sessions are still listed", t.named(&listed))
}

async fn can_be_repeated(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (key, record) = (t.key()?, t.owned(&t.owner("ann")?)?);
    store.put(key, &record).await?;
    for _ in 0..3 {
        let again = t.unprepared().await?;
        t.prepared(H4, again.prepare().await)?;
        t.prepared(H4, again.prepare().await)?;
        t.want_record(H4, &store, key, &record).await?;
    }
    let next = t.record()?;
    t.want(H4, store.save(key, record.revision, &next).await?, Saved::Stored)?;
    t.want_record(H4, &t.store().await?, key, &next).await
}

async fn can_be_raced(t: &Test) -> Outcome {
    for _ in 0..3 {
        let fresh = t.another_namespace().await?;
        let first = fresh.unprepared().await?;
        let mut tasks = Vec::new();
        for _ in 0..6 {
            let shared = t.has(crate::Capability::Shared);
            let store = if shared { fresh.unprepared().await? } else { std::sync::Arc::clone(&first) };
            tasks.push(tokio::spawn(async move { store.prepare().await }));
        }
        for task in tasks {
            match task.await {
                Ok(prepared) => t.prepared(H4, prepared)?,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
        drop(first);
        let (store, key, record) = (fresh.store().await?, t.key()?, t.record()?);
        t.want(H4, store.create(key, &record).await?, Created::Stored)?;
        t.want_record(H4, &store, key, &record).await?;
    }
    Ok(())
}
