//! Rename, broken: R1 to R6.

use crate::prelude::*;

pub(crate) fn mutants() -> Vec<Caught> {
    vec![
        caught::<RenameCopies>(),
        caught::<RenameDoesNothing>(),
        caught::<RenameLosesTheSession>(),
        caught::<RenameMovesTheOldRecord>(),
        caught::<RenameKeepsTheOwner>(),
        caught::<RenameKeepsTheExpiry>(),
        caught::<RenameKeepsTheBeginning>(),
        caught::<RenameLeavesTheKeyTaken>(),
        caught::<RenameOntoRemainsIsOccupied>(),
        caught::<RenameIgnoresTheRevision>(),
        caught::<RenameConflictEndsTheSession>(),
        caught::<RenameConflictStillCopies>(),
        caught::<RenameConflictChangesTheOwner>(),
        caught::<RenameConflictIsMissing>(),
        caught::<RenameCreates>(),
        caught::<RenameCreatesAndSaysMissing>(),
        caught::<RenameRevivesTheExpired>(),
        caught::<RenameOfNothingIsAConflict>(),
        caught::<RenameOfNothingFails>(),
        caught::<RenameOverwrites>(),
        caught::<RenameOccupiedEndsTheOld>(),
        caught::<RenameOccupiedIsAConflict>(),
        caught::<RenameOccupiedByTheDeadDeletes>(),
        caught::<RenameOntoTheSameOwnerOverwrites>(),
        caught::<RenameCopiesThenDeletes>(),
        caught::<RenameLooksThenMoves>(),
        caught::<RenameDeletesLater>(),
        caught::<RenameChecksTheNewKeyFirst>(),
        caught::<RenameSavesThenCreates>(),
        caught::<RepeatedRenameIsMissing>(),
        caught::<RepeatedRenameIsOccupied>(),
        caught::<RepeatedRenameIsAlwaysStored>(),
        caught::<RepeatedRenameRestores>(),
        caught::<RepeatedRenameRevivesAfterLogout>(),
    ]
}

mutant! { R1 RenameCopies; rename(self, at, from, expected, to, record) {
    let old = at.lock().get(&from).cloned();
    let renamed = at.rename(from, expected, to, record).await?;
    if let Some(old) = old { at.lock().insert(from, old); }
    Ok(renamed)
}}

mutant! { R1 RenameDoesNothing; rename(self, at, from, expected, to, record) {
    let old = at.lock().clone();
    let renamed = at.rename(from, expected, to, record).await?;
    *at.lock() = old;
    Ok(renamed)
}}

mutant! { R1 RenameLosesTheSession; rename(self, at, from, expected, to, record) {
    let renamed = at.rename(from, expected, to, record).await?;
    if renamed == Renamed::Stored { at.lock().remove(&to); }
    Ok(renamed)
}}

/// Writes something else than what was asked for.
async fn rename_as(
    at: &Reference,
    from: SessionKey,
    expected: Revision,
    to: SessionKey,
    record: &Record,
    change: impl FnOnce(&Record, &mut Record),
) -> Result<Renamed> {
    let old = at.lock().get(&from).cloned();
    let mut new = record.clone();
    if let Some(old) = &old {
        change(old, &mut new);
    }
    at.rename(from, expected, to, &new).await
}

mutant! { R1 RenameMovesTheOldRecord; rename(self, at, from, expected, to, record) {
    rename_as(at, from, expected, to, record, |old, new| *new = old.clone()).await
}}

mutant! { R1 RenameKeepsTheOwner; rename(self, at, from, expected, to, record) {
    rename_as(at, from, expected, to, record, |old, new| new.owner.clone_from(&old.owner)).await
}}

mutant! { R1 RenameKeepsTheExpiry; rename(self, at, from, expected, to, record) {
    rename_as(at, from, expected, to, record, |old, new| new.expires_at = old.expires_at).await
}}

mutant! { R1 RenameKeepsTheBeginning; rename(self, at, from, expected, to, record) {
    rename_as(at, from, expected, to, record, |old, new| new.created_at = old.created_at).await
}}

mutant! { R1 RenameLeavesTheKeyTaken;
    rename(self, at, from, expected, to, record) {
        let renamed = at.rename(from, expected, to, record).await?;
        if renamed == Renamed::Stored { at.0.index.lock().unwrap().insert(from, None); }
        Ok(renamed)
    }
    create(self, at, key, record) {
        if at.0.index.lock().unwrap().contains_key(&key) { return Ok(Created::Occupied); }
        at.create(key, record).await
    }
}

mutant! { R1 RenameOntoRemainsIsOccupied; rename(self, at, from, expected, to, record) {
    if at.lock().contains_key(&to) && !is_repeat(at, from, to, record) { return Ok(Renamed::Occupied); }
    at.rename(from, expected, to, record).await
}}

fn is_repeat(at: &Reference, from: SessionKey, to: SessionKey, record: &Record) -> bool {
    let records = at.lock();
    !records.get(&from).is_some_and(live)
        && records.get(&to).is_some_and(|found| found.revision == record.revision && live(found))
}

mutant! { R2 RenameIgnoresTheRevision; rename(self, at, from, expected, to, record) {
    let current = at.lock().get(&from).map(|found| found.revision);
    at.rename(from, current.unwrap_or(expected), to, record).await
}}

/// Does something more after a certain answer.
async fn after(
    at: &Reference,
    from: SessionKey,
    expected: Revision,
    to: SessionKey,
    record: &Record,
    answer: Renamed,
    change: impl FnOnce(&mut BTreeMap<SessionKey, Record>),
) -> Result<Renamed> {
    let renamed = at.rename(from, expected, to, record).await?;
    if renamed == answer {
        change(&mut at.lock());
    }
    Ok(renamed)
}

mutant! { R2 RenameConflictEndsTheSession; rename(self, at, from, expected, to, record) {
    after(at, from, expected, to, record, Renamed::Conflict, |all| drop(all.remove(&from))).await
}}

mutant! { R2 RenameConflictStillCopies; rename(self, at, from, expected, to, record) {
    after(at, from, expected, to, record, Renamed::Conflict, |all| drop(all.insert(to, record.clone()))).await
}}

mutant! { R2 RenameConflictChangesTheOwner; rename(self, at, from, expected, to, record) {
    after(at, from, expected, to, record, Renamed::Conflict, |all| {
        if let Some(found) = all.get_mut(&from) { found.owner.clone_from(&record.owner); }
    }).await
}}

mutant! { R2 RenameConflictIsMissing; rename(self, at, from, expected, to, record) {
    let renamed = at.rename(from, expected, to, record).await?;
    Ok(if renamed == Renamed::Conflict { Renamed::Missing } else { renamed })
}}

mutant! { R3 RenameCreates; rename(self, at, from, expected, to, record) {
    match at.rename(from, expected, to, record).await? {
        Renamed::Missing => { at.lock().insert(to, record.clone()); Ok(Renamed::Stored) }
        renamed => Ok(renamed),
    }
}}

mutant! { R3 RenameCreatesAndSaysMissing; rename(self, at, from, expected, to, record) {
    after(at, from, expected, to, record, Renamed::Missing, |all| drop(all.insert(to, record.clone()))).await
}}

mutant! { R3 RenameRevivesTheExpired; rename(self, at, from, expected, to, record) {
    let expired = at.lock().get(&from).is_some_and(|found| !live(found) && found.revision == expected);
    if expired {
        let mut records = at.lock();
        records.remove(&from);
        records.insert(to, record.clone());
        return Ok(Renamed::Stored);
    }
    at.rename(from, expected, to, record).await
}}

mutant! { R3 RenameOfNothingIsAConflict; rename(self, at, from, expected, to, record) {
    let renamed = at.rename(from, expected, to, record).await?;
    Ok(if renamed == Renamed::Missing { Renamed::Conflict } else { renamed })
}}

mutant! { R3 RenameOfNothingFails; rename(self, at, from, expected, to, record) {
    match at.rename(from, expected, to, record).await? {
        Renamed::Missing => fail(ErrorKind::Other),
        renamed => Ok(renamed),
    }
}}

mutant! { R4 RenameOverwrites; rename(self, at, from, expected, to, record) {
    if at.load(from).await?.is_some() { at.lock().remove(&to); }
    at.rename(from, expected, to, record).await
}}

mutant! { R4 RenameOccupiedEndsTheOld; rename(self, at, from, expected, to, record) {
    after(at, from, expected, to, record, Renamed::Occupied, |all| drop(all.remove(&from))).await
}}

mutant! { R4 RenameOccupiedIsAConflict; rename(self, at, from, expected, to, record) {
    let renamed = at.rename(from, expected, to, record).await?;
    Ok(if renamed == Renamed::Occupied { Renamed::Conflict } else { renamed })
}}

mutant! { R4 RenameOccupiedByTheDeadDeletes; rename(self, at, from, expected, to, record) {
    after(at, from, expected, to, record, Renamed::Occupied, |all| {
        if !live(record) { all.remove(&from); }
    }).await
}}

mutant! { R4 RenameOntoTheSameOwnerOverwrites; rename(self, at, from, expected, to, record) {
    let old = at.load(from).await?;
    if old.is_some_and(|old| old.owner == record.owner) { at.lock().remove(&to); }
    at.rename(from, expected, to, record).await
}}

mutant! { R5 RenameCopiesThenDeletes; rename(self, at, from, expected, to, record) {
    let old = at.lock().get(&from).cloned();
    let renamed = at.rename(from, expected, to, record).await?;
    if renamed == Renamed::Stored && let Some(old) = old {
        at.lock().insert(from, old);
        meanwhile().await;
        at.lock().remove(&from);
    }
    Ok(renamed)
}}

mutant! { R5 RenameLooksThenMoves; rename(self, at, from, expected, to, record) {
    let (old, target) = (at.load(from).await?, at.load(to).await?);
    let sound = old.is_some_and(|old| old.revision == expected) && target.is_none();
    if !sound { return at.rename(from, expected, to, record).await; }
    meanwhile().await;
    let mut records = at.lock();
    records.remove(&from);
    records.insert(to, record.clone());
    Ok(Renamed::Stored)
}}

mutant! { R5 RenameDeletesLater; rename(self, at, from, expected, to, record) {
    let old = at.lock().get(&from).cloned();
    let renamed = at.rename(from, expected, to, record).await?;
    if renamed == Renamed::Stored && let Some(old) = old {
        at.lock().insert(from, old);
        let at = at.clone();
        tokio::spawn(async move { meanwhile().await; at.lock().remove(&from); });
    }
    Ok(renamed)
}}

mutant! { R5 RenameChecksTheNewKeyFirst; rename(self, at, from, expected, to, record) {
    if at.load(to).await?.is_none() {
        meanwhile().await;
        let sound = at.lock().get(&from).is_some_and(|found| found.revision == expected);
        if sound { at.lock().remove(&to); }
    }
    at.rename(from, expected, to, record).await
}}

mutant! { R5 RenameSavesThenCreates; rename(self, at, from, expected, to, record) {
    // Two calls of its own: mark the old one as ended, then create the new one.
    let over = Record { expires_at: Timestamp::EPOCH, ..record.clone() };
    if at.load(to).await?.is_some() || at.load(from).await?.is_none() {
        return at.rename(from, expected, to, record).await;
    }
    match at.save(from, expected, &over).await? {
        Saved::Stored => {}
        Saved::Conflict => return Ok(Renamed::Conflict),
        Saved::Missing => return Ok(Renamed::Missing),
    }
    meanwhile().await;
    at.create(to, record).await.map(|created| match created {
        Created::Stored => Renamed::Stored,
        Created::Occupied => Renamed::Occupied,
    })
}}

mutant! { R6 RepeatedRenameIsMissing; rename(self, at, from, expected, to, record) {
    if is_repeat(at, from, to, record) { return Ok(Renamed::Missing); }
    at.rename(from, expected, to, record).await
}}

mutant! { R6 RepeatedRenameIsOccupied; rename(self, at, from, expected, to, record) {
    if is_repeat(at, from, to, record) { return Ok(Renamed::Occupied); }
    at.rename(from, expected, to, record).await
}}

mutant! { R6 RepeatedRenameIsAlwaysStored; rename(self, at, from, expected, to, record) {
    let renamed = at.rename(from, expected, to, record).await?;
    let there = at.load(to).await?.is_some();
    Ok(if renamed == Renamed::Missing && there { Renamed::Stored } else { renamed })
}}

mutant! { R6 RepeatedRenameRestores; rename(self, at, from, expected, to, record) {
    let renamed = at.rename(from, expected, to, record).await?;
    if renamed == Renamed::Missing && at.load(to).await?.is_some() {
        at.lock().insert(to, record.clone());
        return Ok(Renamed::Missing);
    }
    Ok(renamed)
}}

mutant! { R3 RepeatedRenameRevivesAfterLogout(Mutex<Vec<Revision>>);
    rename(self, at, from, expected, to, record) {
        let renamed = at.rename(from, expected, to, record).await?;
        let mut known = self.0.lock().unwrap();
        if renamed == Renamed::Stored { known.push(record.revision); }
        Ok(if renamed == Renamed::Missing && known.contains(&record.revision) { Renamed::Stored } else { renamed })
    }
}
