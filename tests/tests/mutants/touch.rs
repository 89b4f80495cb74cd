//! Touch, broken: T1 to T3.

use crate::prelude::*;

pub(crate) fn mutants() -> Vec<Caught> {
    vec![
        caught::<TouchDoesNothing>(),
        caught::<TouchMovesEarlier>(),
        caught::<TouchEarlierIsAConflict>(),
        caught::<TouchToTheSameIsAConflict>(),
        caught::<TouchCountsSeconds>(),
        caught::<TouchAddsInstead>(),
        caught::<TouchHasACeiling>(),
        caught::<TouchChangesTheRevision>(),
        caught::<TouchClearsTheOwner>(),
        caught::<TouchClearsThePayload>(),
        caught::<TouchToThePastEnds>(),
        caught::<TouchLoadsThenWrites>(),
        caught::<TouchesOverwriteEachOther>(),
        caught::<TouchTouchesAll>(),
        caught::<TouchOfNothingIsStored>(),
        caught::<TouchOfNothingFails>(),
        caught::<TouchCreates>(),
        caught::<TouchRevives>(),
        caught::<TouchOfExpiredIsStored>(),
        caught::<TouchRevivesWithinTheMillisecond>(),
        caught::<TouchBringsTheDeletedBack>(),
        caught::<TouchIgnoresTheRevision>(),
        caught::<TouchOfAnotherProlongsAndSaysConflict>(),
        caught::<TouchOfAnotherIsStored>(),
        caught::<TouchOfAnotherIsMissing>(),
        caught::<TouchOfAnotherFails>(),
        caught::<TouchOfAnotherInThePastEnds>(),
        caught::<TouchComparesHalfTheRevision>(),
        caught::<TouchAcceptsTheRevisionItSaw>(),
        caught::<TouchLooksThenProlongs>(),
        caught::<TouchLooksAndWritesUnderTwoLocks>(),
        caught::<TouchLooksAndProlongsUnderTwoLocks>(),
    ]
}

/// Touches in some other way, at the current revision.
fn touch_as(
    at: &Reference,
    key: SessionKey,
    expected: Revision,
    change: impl FnOnce(&mut Record),
) -> Result<Touched> {
    let mut records = at.lock();
    match records.get_mut(&key).filter(|found| live(found)) {
        None => Ok(Touched::Missing),
        Some(found) if found.revision != expected => Ok(Touched::Conflict),
        Some(found) => {
            change(found);
            Ok(Touched::Stored)
        }
    }
}

mutant! { T1 TouchDoesNothing; touch(self, at, key, expected, _expires_at) { touch_as(at, key, expected, |_| ()) }}

mutant! { T1 TouchMovesEarlier; touch(self, at, key, expected, expires_at) {
    touch_as(at, key, expected, |found| found.expires_at = expires_at)
}}

mutant! { T1 TouchEarlierIsAConflict; touch(self, at, key, expected, expires_at) {
    let earlier = at.lock().get(&key).is_some_and(|found| found.expires_at > expires_at);
    let touched = at.touch(key, expected, expires_at).await?;
    Ok(if earlier { Touched::Conflict } else { touched })
}}

mutant! { T1 TouchToTheSameIsAConflict; touch(self, at, key, expected, expires_at) {
    let same = at.lock().get(&key).is_some_and(|found| found.expires_at == expires_at);
    let touched = at.touch(key, expected, expires_at).await?;
    Ok(if same { Touched::Conflict } else { touched })
}}

mutant! { T1 TouchCountsSeconds; touch(self, at, key, expected, expires_at) {
    at.touch(key, expected, millis(expires_at, |ms| ms / 1000 * 1000)).await
}}

mutant! { T1 TouchAddsInstead; touch(self, at, key, expected, expires_at) {
    let ahead = expires_at.saturating_since(Timestamp::now());
    touch_as(at, key, expected, |found| found.expires_at = found.expires_at.saturating_add(ahead))
}}

mutant! { T1 TouchHasACeiling; touch(self, at, key, expected, expires_at) {
    let year = Timestamp::now().saturating_add(Duration::from_secs(365 * 86_400));
    at.touch(key, expected, expires_at.min(year)).await
}}

mutant! { T1 TouchChangesTheRevision; touch(self, at, key, expected, expires_at) {
    let _ = at.touch(key, expected, expires_at).await?;
    touch_as(at, key, expected, |found| found.revision = Revision::from_u64(found.revision.as_u64().wrapping_add(1)))
}}

mutant! { T1 TouchClearsTheOwner; touch(self, at, key, expected, expires_at) {
    let _ = at.touch(key, expected, expires_at).await?;
    touch_as(at, key, expected, |found| found.owner = None)
}}

mutant! { T1 TouchClearsThePayload; touch(self, at, key, expected, expires_at) {
    let _ = at.touch(key, expected, expires_at).await?;
    touch_as(at, key, expected, |found| found.payload = Arc::from(&b""[..]))
}}

mutant! { T1 TouchToThePastEnds; touch(self, at, key, expected, expires_at) {
    let touched = at.touch(key, expected, expires_at).await?;
    if expires_at <= Timestamp::now() { at.lock().remove(&key); }
    Ok(touched)
}}

mutant! { T1 TouchLoadsThenWrites; touch(self, at, key, expected, expires_at) {
    let found = at.load(key).await?;
    let touched = touch_as(at, key, expected, |_| ())?;
    meanwhile().await;
    if let (Some(mut found), Touched::Stored) = (found, touched) {
        found.expires_at = found.expires_at.max(expires_at);
        if at.lock().contains_key(&key) { at.lock().insert(key, found); }
    }
    Ok(touched)
}}

mutant! { T1 TouchesOverwriteEachOther; touch(self, at, key, expected, expires_at) {
    let later = at.load(key).await?.is_some_and(|found| found.expires_at < expires_at);
    meanwhile().await;
    touch_as(at, key, expected, |found| if later { found.expires_at = expires_at })
}}

mutant! { T1 TouchTouchesAll; touch(self, at, key, expected, expires_at) {
    let touched = at.touch(key, expected, expires_at).await?;
    if touched == Touched::Stored {
        at.lock().values_mut().for_each(|found| found.expires_at = expires_at.max(found.expires_at));
    }
    Ok(touched)
}}

mutant! { T2 TouchOfNothingIsStored; touch(self, at, key, expected, expires_at) {
    let touched = at.touch(key, expected, expires_at).await?;
    Ok(if touched == Touched::Missing { Touched::Stored } else { touched })
}}

mutant! { T2 TouchOfNothingFails; touch(self, at, key, expected, expires_at) {
    let touched = at.touch(key, expected, expires_at).await?;
    if touched == Touched::Missing { fail(ErrorKind::Other) } else { Ok(touched) }
}}

mutant! { T2 TouchCreates; touch(self, at, key, expected, expires_at) {
    let touched = at.touch(key, expected, expires_at).await?;
    if touched == Touched::Missing {
        let payload = Arc::from(&b""[..]);
        let created_at = Timestamp::now();
        let record = Record { revision: expected, owner: None, created_at, expires_at, payload };
        at.lock().insert(key, record);
    }
    Ok(touched)
}}

mutant! { T2 TouchRevives; touch(self, at, key, expected, expires_at) {
    if let Some(found) = at.lock().get_mut(&key).filter(|found| found.revision == expected) {
        found.expires_at = found.expires_at.max(expires_at);
        return Ok(Touched::Stored);
    }
    at.touch(key, expected, expires_at).await
}}

mutant! { T2 TouchOfExpiredIsStored; touch(self, at, key, expected, expires_at) {
    let touched = at.touch(key, expected, expires_at).await?;
    let there = at.lock().contains_key(&key);
    Ok(if touched == Touched::Missing && there { Touched::Stored } else { touched })
}}

mutant! { T2 TouchRevivesWithinTheMillisecond; touch(self, at, key, expected, expires_at) {
    let mut records = at.lock();
    match records.get_mut(&key).filter(|found| found.expires_at >= Timestamp::now()) {
        None => Ok(Touched::Missing),
        Some(found) if found.revision != expected => Ok(Touched::Conflict),
        Some(found) => { found.expires_at = found.expires_at.max(expires_at); Ok(Touched::Stored) }
    }
}}

mutant! { T2 TouchBringsTheDeletedBack; touch(self, at, key, expected, expires_at) {
    let found = at.load(key).await?;
    let touched = at.touch(key, expected, expires_at).await?;
    meanwhile().await;
    if let (Some(found), Touched::Stored) = (found, touched) {
        at.lock().insert(key, Record { expires_at: found.expires_at.max(expires_at), ..found });
    }
    Ok(touched)
}}

mutant! { T3 TouchIgnoresTheRevision; touch(self, at, key, _expected, expires_at) {
    let current = at.lock().get(&key).map(|found| found.revision);
    at.touch(key, current.unwrap_or(Revision::from_u64(0)), expires_at).await
}}

mutant! { T3 TouchOfAnotherProlongsAndSaysConflict; touch(self, at, key, expected, expires_at) {
    let touched = at.touch(key, expected, expires_at).await?;
    if touched == Touched::Conflict && let Some(found) = at.lock().get_mut(&key) {
        found.expires_at = found.expires_at.max(expires_at);
    }
    Ok(touched)
}}

mutant! { T3 TouchOfAnotherIsStored; touch(self, at, key, expected, expires_at) {
    let touched = at.touch(key, expected, expires_at).await?;
    Ok(if touched == Touched::Conflict { Touched::Stored } else { touched })
}}

mutant! { T3 TouchOfAnotherIsMissing; touch(self, at, key, expected, expires_at) {
    // `UPDATE .. WHERE key = .. AND revision = ..`, and no row.
    let touched = at.touch(key, expected, expires_at).await?;
    Ok(if touched == Touched::Conflict { Touched::Missing } else { touched })
}}

mutant! { T3 TouchOfAnotherFails; touch(self, at, key, expected, expires_at) {
    let touched = at.touch(key, expected, expires_at).await?;
    if touched == Touched::Conflict { fail(ErrorKind::Contended) } else { Ok(touched) }
}}

mutant! { T3 TouchOfAnotherInThePastEnds; touch(self, at, key, expected, expires_at) {
    let touched = at.touch(key, expected, expires_at).await?;
    if touched == Touched::Conflict && expires_at <= Timestamp::now() { at.lock().remove(&key); }
    Ok(touched)
}}

mutant! { T3 TouchComparesHalfTheRevision; touch(self, at, key, expected, expires_at) {
    let half = |revision: Revision| revision.as_u64() & 0xffff_ffff;
    let current = at.lock().get(&key).map(|found| found.revision);
    let same = current.filter(|current| half(*current) == half(expected));
    at.touch(key, same.unwrap_or(expected), expires_at).await
}}

mutant! { T3 TouchAcceptsTheRevisionItSaw(Mutex<HashMap<SessionKey, Revision>>);
    touch(self, at, key, expected, expires_at) {
        // Compared with what this handle touched last, not with what is stored.
        let seen = self.0.lock().unwrap().get(&key).copied();
        let current = at.lock().get(&key).map(|found| found.revision);
        let taken = if seen == Some(expected) { current.unwrap_or(expected) } else { expected };
        let touched = at.touch(key, taken, expires_at).await?;
        if touched == Touched::Stored { self.0.lock().unwrap().insert(key, expected); }
        Ok(touched)
    }
}

mutant! { T3 TouchLooksThenProlongs; touch(self, at, key, expected, expires_at) {
    let touched = at.touch(key, expected, Timestamp::EPOCH).await?;
    if touched == Touched::Stored {
        meanwhile().await;
        if let Some(found) = at.lock().get_mut(&key) { found.expires_at = found.expires_at.max(expires_at); }
    }
    Ok(touched)
}}

mutant! { T2 TouchLooksAndWritesUnderTwoLocks; touch(self, at, key, expected, expires_at) {
    let found = at.lock().get(&key).filter(|found| live(found)).cloned();
    match found {
        None => Ok(Touched::Missing),
        Some(found) if found.revision != expected => Ok(Touched::Conflict),
        Some(found) => {
            at.lock().insert(key, Record { expires_at: found.expires_at.max(expires_at), ..found });
            Ok(Touched::Stored)
        }
    }
}}

mutant! { T3 TouchLooksAndProlongsUnderTwoLocks; touch(self, at, key, expected, expires_at) {
    let found = at.lock().get(&key).filter(|found| live(found)).map(|found| found.revision);
    match found {
        None => Ok(Touched::Missing),
        Some(revision) if revision != expected => Ok(Touched::Conflict),
        Some(_) => {
            if let Some(found) = at.lock().get_mut(&key) { found.expires_at = found.expires_at.max(expires_at); }
            Ok(Touched::Stored)
        }
    }
}}
