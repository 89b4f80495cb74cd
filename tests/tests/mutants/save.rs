//! Save, broken: S1 to S5.

use crate::prelude::*;

pub(crate) fn mutants() -> Vec<Caught> {
    vec![
        caught::<SaveDoesNothing>(),
        caught::<SaveKeepsTheOwner>(),
        caught::<SaveKeepsAnOwnerThatIsCleared>(),
        caught::<SaveKeepsTheBeginning>(),
        caught::<SaveKeepsTheExpiry>(),
        caught::<SaveNeverShortens>(),
        caught::<SaveKeepsThePayloadWhenEmpty>(),
        caught::<SaveKeepsTheRevision>(),
        caught::<SaveAppends>(),
        caught::<SaveWritesEverywhere>(),
        caught::<SaveIgnoresTheRevision>(),
        caught::<SaveComparesHalfTheRevision>(),
        caught::<SaveComparesWithoutTheSign>(),
        caught::<ConflictChangesTheOwner>(),
        caught::<ConflictProlongs>(),
        caught::<ConflictOfTheDeadDeletes>(),
        caught::<ConflictIsAnError>(),
        caught::<ConflictIsStored>(),
        caught::<SaveAcceptsAnyEarlierRevision>(),
        caught::<RepeatOfAnOldSaveIsStored>(),
        caught::<SaveUpserts>(),
        caught::<SaveUpsertsAndSaysMissing>(),
        caught::<SaveUpsertsForItsOwnRevision>(),
        caught::<SaveRevivesTheExpired>(),
        caught::<SaveOfNothingIsAConflict>(),
        caught::<SaveOfNothingFails>(),
        caught::<SaveOfExpiredIsAConflict>(),
        caught::<SaveLooksThenInserts>(),
        caught::<SaveRepeatsAfterDelete>(),
        caught::<SaveLooksThenWrites>(),
        caught::<RepeatIsAConflict>(),
        caught::<RepeatIsMissing>(),
        caught::<RepeatFails>(),
        caught::<RepeatWorksOnce>(),
        caught::<SaveLooksAndWritesUnderTwoLocks>(),
    ]
}

mutant! { S1 SaveDoesNothing; save(self, at, key, expected, record) {
    let old = at.lock().get(&key).cloned();
    let saved = at.save(key, expected, record).await?;
    if let Some(old) = old { at.lock().insert(key, old); }
    Ok(saved)
}}

/// Saves something else than what was asked for.
async fn save_as(
    at: &Reference,
    key: SessionKey,
    expected: Revision,
    record: &Record,
    change: impl FnOnce(&Record, &mut Record),
) -> Result<Saved> {
    let old = at.lock().get(&key).cloned();
    let mut new = record.clone();
    if let Some(old) = &old {
        change(old, &mut new);
    }
    at.save(key, expected, &new).await
}

mutant! { S1 SaveKeepsTheOwner; save(self, at, key, expected, record) {
    save_as(at, key, expected, record, |old, new| new.owner.clone_from(&old.owner)).await
}}

mutant! { S1 SaveKeepsAnOwnerThatIsCleared; save(self, at, key, expected, record) {
    save_as(at, key, expected, record, |old, new| new.owner = new.owner.take().or(old.owner.clone())).await
}}

mutant! { S1 SaveKeepsTheBeginning; save(self, at, key, expected, record) {
    save_as(at, key, expected, record, |old, new| new.created_at = old.created_at).await
}}

mutant! { S1 SaveKeepsTheExpiry; save(self, at, key, expected, record) {
    save_as(at, key, expected, record, |old, new| new.expires_at = old.expires_at).await
}}

mutant! { S1 SaveNeverShortens; save(self, at, key, expected, record) {
    save_as(at, key, expected, record, |old, new| new.expires_at = new.expires_at.max(old.expires_at)).await
}}

mutant! { S1 SaveKeepsThePayloadWhenEmpty; save(self, at, key, expected, record) {
    save_as(at, key, expected, record, |old, new| {
        if new.payload.is_empty() { new.payload = old.payload.clone(); }
    }).await
}}

mutant! { S1 SaveKeepsTheRevision; save(self, at, key, expected, record) {
    save_as(at, key, expected, record, |old, new| new.revision = old.revision).await
}}

mutant! { S1 SaveAppends; save(self, at, key, expected, record) {
    save_as(at, key, expected, record, |old, new| new.payload = [&*old.payload, &new.payload].concat().into()).await
}}

mutant! { S1 SaveWritesEverywhere; save(self, at, key, expected, record) {
    let saved = at.save(key, expected, record).await?;
    if saved == Saved::Stored { at.lock().values_mut().for_each(|found| *found = record.clone()); }
    Ok(saved)
}}

/// Saves whatever the revision is.
async fn forced(at: &Reference, key: SessionKey, record: &Record) -> Result<Saved> {
    let current = at.lock().get(&key).map(|found| found.revision);
    at.save(key, current.unwrap_or(record.revision), record).await
}

mutant! { S2 SaveIgnoresTheRevision; save(self, at, key, _expected, record) { forced(at, key, record).await }}

mutant! { S2 SaveComparesHalfTheRevision; save(self, at, key, expected, record) {
    let half = |revision: Revision| revision.as_u64() & 0xffff_ffff;
    let same = at.lock().get(&key).is_some_and(|found| half(found.revision) == half(expected));
    if same { forced(at, key, record).await } else { at.save(key, expected, record).await }
}}

mutant! { S2 SaveComparesWithoutTheSign; save(self, at, key, expected, record) {
    let same = at.lock().get(&key).is_some_and(|found| found.revision.as_u64() << 1 == expected.as_u64() << 1);
    if same { forced(at, key, record).await } else { at.save(key, expected, record).await }
}}

/// Does something more when there is a conflict.
async fn on_conflict(
    at: &Reference,
    key: SessionKey,
    expected: Revision,
    record: &Record,
    change: impl FnOnce(&mut Record),
) -> Result<Saved> {
    let saved = at.save(key, expected, record).await?;
    if saved == Saved::Conflict
        && let Some(found) = at.lock().get_mut(&key)
    {
        change(found);
    }
    Ok(saved)
}

mutant! { S2 ConflictChangesTheOwner; save(self, at, key, expected, record) {
    on_conflict(at, key, expected, record, |found| found.owner.clone_from(&record.owner)).await
}}

mutant! { S2 ConflictProlongs; save(self, at, key, expected, record) {
    on_conflict(at, key, expected, record, |found| found.expires_at = found.expires_at.max(record.expires_at)).await
}}

mutant! { S2 ConflictOfTheDeadDeletes; save(self, at, key, expected, record) {
    let saved = at.save(key, expected, record).await?;
    if !live(record) { at.lock().remove(&key); }
    Ok(saved)
}}

mutant! { S2 ConflictIsAnError; save(self, at, key, expected, record) {
    match at.save(key, expected, record).await? { Saved::Conflict => fail(ErrorKind::Contended), saved => Ok(saved) }
}}

mutant! { S2 ConflictIsStored; save(self, at, key, expected, record) {
    let saved = at.save(key, expected, record).await?;
    Ok(if saved == Saved::Conflict { Saved::Stored } else { saved })
}}

mutant! { S2 SaveAcceptsAnyEarlierRevision(Mutex<Vec<Revision>>); save(self, at, key, expected, record) {
    self.0.lock().unwrap().push(expected);
    let known = self.0.lock().unwrap().iter().filter(|seen| **seen == expected).count() > 1;
    if known { forced(at, key, record).await } else { at.save(key, expected, record).await }
}}

mutant! { S2 RepeatOfAnOldSaveIsStored(Mutex<Vec<Revision>>); save(self, at, key, expected, record) {
    let saved = at.save(key, expected, record).await?;
    let mut known = self.0.lock().unwrap();
    if saved == Saved::Stored { known.push(record.revision); }
    Ok(if saved == Saved::Conflict && known.contains(&record.revision) { Saved::Stored } else { saved })
}}

mutant! { S3 SaveUpserts; save(self, at, key, expected, record) {
    match at.save(key, expected, record).await? {
        Saved::Missing => { at.lock().insert(key, record.clone()); Ok(Saved::Stored) }
        saved => Ok(saved),
    }
}}

mutant! { S3 SaveUpsertsAndSaysMissing; save(self, at, key, expected, record) {
    let saved = at.save(key, expected, record).await?;
    if saved == Saved::Missing { at.lock().insert(key, record.clone()); }
    Ok(saved)
}}

mutant! { S3 SaveUpsertsForItsOwnRevision; save(self, at, key, expected, record) {
    let saved = at.save(key, expected, record).await?;
    if saved == Saved::Missing && expected == record.revision {
        at.lock().insert(key, record.clone());
        return Ok(Saved::Stored);
    }
    Ok(saved)
}}

mutant! { S3 SaveRevivesTheExpired; save(self, at, key, expected, record) {
    let expired = at.lock().get(&key).is_some_and(|found| !live(found) && found.revision == expected);
    if expired { at.lock().insert(key, record.clone()); return Ok(Saved::Stored); }
    at.save(key, expected, record).await
}}

mutant! { S3 SaveOfNothingIsAConflict; save(self, at, key, expected, record) {
    let saved = at.save(key, expected, record).await?;
    Ok(if saved == Saved::Missing { Saved::Conflict } else { saved })
}}

mutant! { S3 SaveOfNothingFails; save(self, at, key, expected, record) {
    match at.save(key, expected, record).await? { Saved::Missing => fail(ErrorKind::Other), saved => Ok(saved) }
}}

mutant! { S3 SaveOfExpiredIsAConflict; save(self, at, key, expected, record) {
    let other = at.lock().get(&key).is_some_and(|found| found.revision != expected);
    if other { return Ok(Saved::Conflict); }
    at.save(key, expected, record).await
}}

mutant! { S3 SaveLooksThenInserts; save(self, at, key, expected, record) {
    match at.load(key).await? {
        None => Ok(Saved::Missing),
        Some(found) if found.revision != expected => Ok(Saved::Conflict),
        Some(_) => { meanwhile().await; at.lock().insert(key, record.clone()); Ok(Saved::Stored) }
    }
}}

mutant! { S3 SaveRepeatsAfterDelete(Mutex<Vec<Revision>>); save(self, at, key, expected, record) {
    let saved = at.save(key, expected, record).await?;
    let mut known = self.0.lock().unwrap();
    if saved == Saved::Stored { known.push(record.revision); }
    Ok(if saved == Saved::Missing && known.contains(&record.revision) { Saved::Stored } else { saved })
}}

mutant! { S4 SaveLooksThenWrites; save(self, at, key, expected, record) {
    match at.load(key).await? {
        None => Ok(Saved::Missing),
        Some(found) if found.revision != expected => Ok(Saved::Conflict),
        Some(_) => {
            meanwhile().await;
            if let Some(found) = at.lock().get_mut(&key) { *found = record.clone(); }
            Ok(Saved::Stored)
        }
    }
}}

/// Answers something else to a repeated save.
fn is_repeat(at: &Reference, key: SessionKey, record: &Record) -> bool {
    at.lock().get(&key).is_some_and(|found| found.revision == record.revision)
}

mutant! { S5 RepeatIsAConflict; save(self, at, key, expected, record) {
    if is_repeat(at, key, record) { return Ok(Saved::Conflict); }
    at.save(key, expected, record).await
}}

mutant! { S5 RepeatIsMissing; save(self, at, key, expected, record) {
    if is_repeat(at, key, record) { return Ok(Saved::Missing); }
    at.save(key, expected, record).await
}}

mutant! { S5 RepeatFails; save(self, at, key, expected, record) {
    if is_repeat(at, key, record) { return fail(ErrorKind::Other); }
    at.save(key, expected, record).await
}}

mutant! { S5 RepeatWorksOnce(Mutex<Vec<Revision>>); save(self, at, key, expected, record) {
    if is_repeat(at, key, record) {
        let mut repeated = self.0.lock().unwrap();
        if repeated.contains(&record.revision) { return Ok(Saved::Conflict); }
        repeated.push(record.revision);
    }
    at.save(key, expected, record).await
}}

mutant! { S4 SaveLooksAndWritesUnderTwoLocks; save(self, at, key, expected, record) {
    let found = at.lock().get(&key).filter(|found| live(found)).map(|found| found.revision);
    match found {
        None => Ok(Saved::Missing),
        Some(revision) if revision == record.revision => Ok(Saved::Stored),
        Some(revision) if revision != expected => Ok(Saved::Conflict),
        Some(_) => { at.lock().insert(key, record.clone()); Ok(Saved::Stored) }
    }
}}
