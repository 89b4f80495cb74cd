//! Rename: R1 to R4 and R6, one call at a time; `rename_races` has the rest.

use std::time::Duration;

use session_core::{Created, Record, Renamed, Saved, Timestamp};

use crate::Capability::OwnerIndex;
use crate::Rule::{R1, R2, R3, R4, R6, S1};
use crate::case::{Entry, case};
use crate::test::{Outcome, Test};

pub(super) const CASES: &[Entry] = &[
    case!(rename::moves_the_record_and_leaves_nothing_behind: R1),
    case!(rename::replaces_every_field: R1),
    case!(rename::again_and_back_again_ends_with_one_session: R1),
    case!(rename::leaves_other_sessions_alone: R1),
    case!(rename::onto_the_remains_of_an_expired_record_is_stored: R1),
    case!(rename::outlives_the_expiry_of_the_old_record: R1),
    case!(rename::frees_the_old_key: R1),
    case!(rename::at_another_revision_is_a_conflict_and_changes_nothing: R2),
    case!(rename::of_an_absent_key_is_missing_and_creates_nothing: R3),
    case!(rename::after_a_delete_brings_nothing_back: R3),
    case!(rename::of_an_expired_record_is_missing_and_revives_nothing: R3),
    case!(rename::onto_a_live_key_is_occupied_and_changes_nothing: R4),
    case!(rename::onto_a_live_key_from_nowhere_changes_nothing: R3, R4),
    case!(rename::repeated_after_it_took_effect_is_stored: R6),
    case!(rename::repeated_after_the_session_went_on_changes_nothing: R6),
    case!(rename::repeated_after_a_logout_brings_nothing_back: R3, R6),
];

async fn moves_the_record_and_leaves_nothing_behind(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (from, to) = (t.key()?, t.key()?);
    let (old, new) = (t.record()?, t.owned(&t.owner("ann")?)?);
    store.put(from, &old).await?;
    t.want(R1, store.rename(from, old.revision, to, &new).await?, Renamed::Stored)?;
    t.want_absent(R1, &store, from).await?;
    t.want_record(R1, &store, to, &new).await?;
    // The old key is not only hidden.
    for revision in [old.revision, new.revision] {
        t.want(R1, store.save(from, revision, &t.record()?).await?, Saved::Missing)?;
    }
    t.want(R1, store.touch(from, Timestamp::MAX).await?, false)?;
    t.want(R1, store.delete(from).await?, false)?;
    t.want_record(R1, &store, to, &new).await?;
    t.want(S1, store.save(to, new.revision, &t.record()?).await?, Saved::Stored)
}

async fn replaces_every_field(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (mut key, mut current) = (t.key()?, t.owned(&t.owner("ann")?)?);
    store.put(key, &current).await?;
    let versions = [
        t.record()?,
        t.owned(&t.owner("bob")?)?,
        Record { payload: vec![9; 5000].into(), ..t.record()? },
        Record { created_at: Timestamp::from_millis(7), ..t.record()? },
        Record { expires_at: Timestamp::MAX, ..t.record()? },
        Record { expires_at: current.expires_at, payload: Vec::new().into(), ..t.record()? },
    ];
    for next in versions {
        let to = t.key()?;
        t.want(R1, store.rename(key, current.revision, to, &next).await?, Renamed::Stored)?;
        t.want_record(R1, &store, to, &next).await?;
        t.want_absent(R1, &store, key).await?;
        (key, current) = (to, next);
    }
    Ok(())
}

async fn again_and_back_again_ends_with_one_session(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (a, b, c) = (t.key()?, t.key()?, t.key()?);
    let mut current = t.record()?;
    store.put(a, &current).await?;
    for (from, to) in [(a, b), (b, c), (c, a), (a, b)] {
        let next = t.record()?;
        t.want(R1, store.rename(from, current.revision, to, &next).await?, Renamed::Stored)?;
        current = next;
        for key in [a, b, c] {
            if key == to {
                t.want_record(R1, &store, key, &current).await?;
            } else {
                t.want_absent(R1, &store, key).await?;
            }
        }
    }
    let listed = store.everything().await?;
    t.ensure(R1, listed == [b], "one session is listed, under its last key", t.named(&listed))
}

async fn leaves_other_sessions_alone(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (from, other) = (t.key()?, t.key()?);
    let (record, untouched) = (t.record()?, t.record()?);
    store.put(from, &record).await?;
    store.put(other, &untouched).await?;
    t.want(R1, store.rename(from, record.revision, t.key()?, &t.record()?).await?, Renamed::Stored)?;
    t.want_record(R1, &store, other, &untouched).await
}

async fn onto_the_remains_of_an_expired_record_is_stored(t: &Test) -> Outcome {
    let store = t.store().await?;
    for over in [t.until(Timestamp::EPOCH)?, t.until(t.soon())?] {
        let (from, to) = (t.key()?, t.key()?);
        let (old, new) = (t.record()?, t.record()?);
        store.put(to, &over).await?;
        store.put(from, &old).await?;
        t.wait_until_past(over.expires_at).await;
        t.want(R1, store.rename(from, old.revision, to, &new).await?, Renamed::Stored)?;
        t.want_absent(R1, &store, from).await?;
        t.want_record(R1, &store, to, &new).await?;
        // The sweep must not take the remains' successor.
        store.delete_expired(1000).await?;
        t.want_record(R1, &store, to, &new).await?;
    }
    Ok(())
}

async fn outlives_the_expiry_of_the_old_record(t: &Test) -> Outcome {
    let store = t.store().await?;
    for life in [200, 1_000, 5_000] {
        let (from, to) = (t.key()?, t.key()?);
        let old = t.until(Timestamp::now().saturating_add(Duration::from_millis(life)))?;
        let new = t.record()?;
        store.put(from, &old).await?;
        let renamed = store.rename(from, old.revision, to, &new).await?;
        if Timestamp::now() >= old.expires_at {
            continue;
        }
        t.want(R1, renamed, Renamed::Stored)?;
        t.wait_until_past(old.expires_at).await;
        store.delete_expired(1000).await?;
        return t.want_record(R1, &store, to, &new).await;
    }
    Ok(())
}

async fn frees_the_old_key(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (from, to) = (t.key()?, t.key()?);
    let (old, new, fresh) = (t.record()?, t.record()?, t.record()?);
    store.put(from, &old).await?;
    t.want(R1, store.rename(from, old.revision, to, &new).await?, Renamed::Stored)?;
    t.want(R1, store.create(from, &fresh).await?, Created::Stored)?;
    t.want_record(R1, &store, from, &fresh).await?;
    t.want_record(R1, &store, to, &new).await
}

async fn at_another_revision_is_a_conflict_and_changes_nothing(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (ann, bob) = (t.owner("ann")?, t.owner("bob")?);
    let (from, first, current) = (t.key()?, t.record()?, t.owned(&ann)?);
    store.put(from, &first).await?;
    t.want(S1, store.save(from, first.revision, &current).await?, Saved::Stored)?;
    let near = session_core::Revision::from_u64(current.revision.as_u64() ^ (1 << 63));
    for wrong in [first.revision, t.revision()?, near] {
        let to = t.key()?;
        t.want(R2, store.rename(from, wrong, to, &t.owned(&bob)?).await?, Renamed::Conflict)?;
        t.want_absent(R2, &store, to).await?;
        t.want_record(R2, &store, from, &current).await?;
    }
    if t.has(OwnerIndex) {
        let (anns, bobs) = (t.keys_of(&store, &ann).await?, t.keys_of(&store, &bob).await?);
        t.ensure(R2, anns == [from], "the session is still listed under its owner", t.named(&anns))?;
        t.ensure(R2, bobs.is_empty(), "no session is listed under the other owner", t.named(&bobs))?;
    }
    Ok(())
}

async fn of_an_absent_key_is_missing_and_creates_nothing(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (from, to, record) = (t.key()?, t.key()?, t.record()?);
    for expected in [t.revision()?, record.revision] {
        t.want(R3, store.rename(from, expected, to, &record).await?, Renamed::Missing)?;
        t.want_absent(R3, &store, from).await?;
        t.want_absent(R3, &store, to).await?;
    }
    Ok(())
}

async fn after_a_delete_brings_nothing_back(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (from, to, old) = (t.key()?, t.key()?, t.owned(&t.owner("ann")?)?);
    store.put(from, &old).await?;
    store.delete(from).await?;
    t.want(R3, store.rename(from, old.revision, to, &t.record()?).await?, Renamed::Missing)?;
    t.want_absent(R3, &store, from).await?;
    t.want_absent(R3, &store, to).await
}

async fn of_an_expired_record_is_missing_and_revives_nothing(t: &Test) -> Outcome {
    let store = t.store().await?;
    for over in [t.until(Timestamp::EPOCH)?, t.until(t.soon())?] {
        let (from, to) = (t.key()?, t.key()?);
        store.put(from, &over).await?;
        t.wait_until_past(over.expires_at).await;
        for expected in [over.revision, t.revision()?] {
            t.want(R3, store.rename(from, expected, to, &t.record()?).await?, Renamed::Missing)?;
            t.want_absent(R3, &store, from).await?;
            t.want_absent(R3, &store, to).await?;
        }
    }
    Ok(())
}

async fn onto_a_live_key_is_occupied_and_changes_nothing(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (ann, bob) = (t.owner("ann")?, t.owner("bob")?);
    let (from, to) = (t.key()?, t.key()?);
    let (mine, theirs) = (t.owned(&ann)?, t.owned(&bob)?);
    store.put(from, &mine).await?;
    store.put(to, &theirs).await?;
    let over = t.until(Timestamp::EPOCH)?;
    for next in [t.record()?, t.owned(&ann)?, over] {
        t.want(R4, store.rename(from, mine.revision, to, &next).await?, Renamed::Occupied)?;
        t.want_record(R4, &store, from, &mine).await?;
        t.want_record(R4, &store, to, &theirs).await?;
    }
    if t.has(OwnerIndex) {
        let (anns, bobs) = (t.keys_of(&store, &ann).await?, t.keys_of(&store, &bob).await?);
        t.ensure(R4, anns == [from] && bobs == [to], "each is listed under its owner", {
            format!("{} and {}", t.named(&anns), t.named(&bobs))
        })?;
    }
    // Nothing was used up: onto a free key it works.
    t.want(R1, store.rename(from, mine.revision, t.key()?, &t.record()?).await?, Renamed::Stored)
}

async fn onto_a_live_key_from_nowhere_changes_nothing(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (from, to, theirs) = (t.key()?, t.key()?, t.record()?);
    store.put(to, &theirs).await?;
    let renamed = store.rename(from, t.revision()?, to, &t.record()?).await?;
    // Both rules apply, and either answer is one of them.
    let holds = matches!(renamed, Renamed::Missing | Renamed::Occupied);
    t.ensure(R3, holds, "Missing or Occupied", format!("{renamed:?}"))?;
    t.want_absent(R3, &store, from).await?;
    t.want_record(R4, &store, to, &theirs).await
}

async fn repeated_after_it_took_effect_is_stored(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (from, to) = (t.key()?, t.key()?);
    let (old, new) = (t.record()?, t.owned(&t.owner("ann")?)?);
    store.put(from, &old).await?;
    t.want(R1, store.rename(from, old.revision, to, &new).await?, Renamed::Stored)?;
    for _ in 0..2 {
        t.want(R6, store.rename(from, old.revision, to, &new).await?, Renamed::Stored)?;
        t.want_absent(R6, &store, from).await?;
        t.want_record(R6, &store, to, &new).await?;
    }
    Ok(())
}

async fn repeated_after_the_session_went_on_changes_nothing(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (from, to) = (t.key()?, t.key()?);
    let (old, new, newer) = (t.record()?, t.record()?, t.record()?);
    store.put(from, &old).await?;
    t.want(R1, store.rename(from, old.revision, to, &new).await?, Renamed::Stored)?;
    t.want(S1, store.save(to, new.revision, &newer).await?, Saved::Stored)?;
    let again = store.rename(from, old.revision, to, &new).await?;
    let holds = matches!(again, Renamed::Missing | Renamed::Occupied);
    t.ensure(R6, holds, "Missing or Occupied: another write came after", format!("{again:?}"))?;
    t.want_absent(R6, &store, from).await?;
    t.want_record(R6, &store, to, &newer).await
}

async fn repeated_after_a_logout_brings_nothing_back(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (from, to) = (t.key()?, t.key()?);
    let (old, new) = (t.record()?, t.record()?);
    store.put(from, &old).await?;
    t.want(R1, store.rename(from, old.revision, to, &new).await?, Renamed::Stored)?;
    store.delete(to).await?;
    t.want(R3, store.rename(from, old.revision, to, &new).await?, Renamed::Missing)?;
    t.want_absent(R3, &store, from).await?;
    t.want_absent(R3, &store, to).await
}
