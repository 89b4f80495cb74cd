//! Create, broken: C1 to C4.

use crate::prelude::*;

pub(crate) fn mutants() -> Vec<Caught> {
    vec![
        caught::<CreateLosesTheOwner>(),
        caught::<CreateRoundsTheBeginning>(),
        caught::<CreateStampsItsOwnTime>(),
        caught::<RevisionAsDouble>(),
        caught::<RevisionWithoutItsSign>(),
        caught::<CreateDoesNothing>(),
        caught::<CreateForgetsTheOthers>(),
        caught::<LoadInventsTheRevision>(),
        caught::<CreateOverwrites>(),
        caught::<CreateOverwritesAndSaysOccupied>(),
        caught::<CreateIsSilentOnALiveKey>(),
        caught::<CreateAcceptsARepeat>(),
        caught::<CreateFailsOnALiveKey>(),
        caught::<CreateProlongsTheLiveOne>(),
        caught::<CreateThatIsOverDeletes>(),
        caught::<CreateTakesTheOwner>(),
        caught::<CreateNeedsASweep>(),
        caught::<CreateOverExpiredLosesTheRecord>(),
        caught::<CreateOverExpiredKeepsTheExpiry>(),
        caught::<CreateLooksThenWrites>(),
        caught::<CreateSaysStoredToSomeLosers>(),
        caught::<CreateLooksAndInsertsUnderTwoLocks>(),
    ]
}

mutant! { C1 CreateLosesTheOwner; create(self, at, key, record) {
    at.create(key, &Record { owner: None, ..record.clone() }).await
}}

mutant! { C1 CreateRoundsTheBeginning; create(self, at, key, record) {
    let created_at = millis(record.created_at, |ms| ms / 1000 * 1000);
    at.create(key, &Record { created_at, ..record.clone() }).await
}}

mutant! { C1 CreateStampsItsOwnTime; create(self, at, key, record) {
    at.create(key, &Record { created_at: Timestamp::now(), ..record.clone() }).await
}}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn as_double(record: &Record) -> Record {
    Record { revision: Revision::from_u64(record.revision.as_u64() as f64 as u64), ..record.clone() }
}

mutant! { C1 RevisionAsDouble; create(self, at, key, record) { at.create(key, &as_double(record)).await }}

mutant! { C1 RevisionWithoutItsSign; create(self, at, key, record) {
    let revision = Revision::from_u64(record.revision.as_u64() & (u64::MAX >> 1));
    at.create(key, &Record { revision, ..record.clone() }).await
}}

mutant! { C1 CreateDoesNothing; create(self, _at, _key, _record) { Ok(Created::Stored) }}

mutant! { C1 CreateForgetsTheOthers; create(self, at, key, record) {
    let created = at.create(key, record).await?;
    at.lock().retain(|other, _| *other == key);
    Ok(created)
}}

mutant! { C1 LoadInventsTheRevision; load(self, at, key) {
    Ok(at.load(key).await?.map(|found| Record { revision: Revision::from_u64(0), ..found }))
}}

mutant! { C2 CreateOverwrites; create(self, at, key, record) {
    at.lock().insert(key, record.clone());
    Ok(Created::Stored)
}}

mutant! { C2 CreateOverwritesAndSaysOccupied; create(self, at, key, record) {
    let created = at.create(key, record).await?;
    at.lock().insert(key, record.clone());
    Ok(created)
}}

mutant! { C2 CreateIsSilentOnALiveKey; create(self, at, key, record) {
    at.create(key, record).await.map(|_| Created::Stored)
}}

mutant! { C2 CreateAcceptsARepeat; create(self, at, key, record) {
    let created = at.create(key, record).await?;
    let same = at.lock().get(&key).is_some_and(|found| found.revision == record.revision);
    Ok(if same { Created::Stored } else { created })
}}

mutant! { C2 CreateFailsOnALiveKey; create(self, at, key, record) {
    match at.create(key, record).await? {
        Created::Stored => Ok(Created::Stored),
        Created::Occupied => fail(ErrorKind::Other),
    }
}}

mutant! { C2 CreateProlongsTheLiveOne; create(self, at, key, record) {
    let created = at.create(key, record).await?;
    if let Some(found) = at.lock().get_mut(&key) { found.expires_at = found.expires_at.max(record.expires_at); }
    Ok(created)
}}

mutant! { C2 CreateThatIsOverDeletes; create(self, at, key, record) {
    let created = at.create(key, record).await?;
    if !live(record) { at.lock().remove(&key); }
    Ok(created)
}}

mutant! { C2 CreateTakesTheOwner; create(self, at, key, record) {
    let created = at.create(key, record).await?;
    if let Some(found) = at.lock().get_mut(&key) { found.owner.clone_from(&record.owner); }
    Ok(created)
}}

mutant! { C3 CreateNeedsASweep; create(self, at, key, record) {
    if at.lock().contains_key(&key) { return Ok(Created::Occupied); }
    at.create(key, record).await
}}

mutant! { C3 CreateOverExpiredLosesTheRecord; create(self, at, key, record) {
    if at.lock().get(&key).is_some_and(|found| !live(found)) {
        at.lock().remove(&key);
        return Ok(Created::Stored);
    }
    at.create(key, record).await
}}

mutant! { C3 CreateOverExpiredKeepsTheExpiry; create(self, at, key, record) {
    let old = at.lock().get(&key).filter(|found| !live(found)).map(|found| found.expires_at);
    at.create(key, &Record { expires_at: old.unwrap_or(record.expires_at), ..record.clone() }).await
}}

mutant! { C4 CreateLooksThenWrites; create(self, at, key, record) {
    if at.load(key).await?.is_some() { return Ok(Created::Occupied); }
    meanwhile().await;
    at.lock().insert(key, record.clone());
    Ok(Created::Stored)
}}

mutant! { C4 CreateSaysStoredToSomeLosers; create(self, at, key, record) {
    let before = at.load(key).await?.is_none();
    let created = at.create(key, record).await?;
    Ok(if before { Created::Stored } else { created })
}}

mutant! { C4 CreateLooksAndInsertsUnderTwoLocks; create(self, at, key, record) {
    if at.lock().get(&key).is_some_and(live) { return Ok(Created::Occupied); }
    at.lock().insert(key, record.clone());
    Ok(Created::Stored)
}}
