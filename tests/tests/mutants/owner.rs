//! delete_owned, broken: O3 and O4.

use crate::prelude::*;

pub(crate) fn mutants() -> Vec<Caught> {
    vec![
        caught::<DeleteOwnedDoesNothing>(),
        caught::<DeleteOwnedFailsAtADamagedSession>(),
        caught::<DeleteOwnedStopsAtADamagedSession>(),
        caught::<DeleteOwnedIgnoresKeep>(),
        caught::<DeleteOwnedDeletesOnlyKeep>(),
        caught::<DeleteOwnedCountsTheKept>(),
        caught::<DeleteOwnedCountsTheExpired>(),
        caught::<DeleteOwnedCountsNothing>(),
        caught::<DeleteOwnedCountsBatches>(),
        caught::<DeleteOwnedStopsAtAHundred>(),
        caught::<DeleteOwnedTakesEveryone>(),
        caught::<DeleteOwnedTakesAnonymousOnes>(),
        caught::<DeleteOwnedGivesUpOnAForeignKeep>(),
        caught::<DeleteOwnedCountsTwiceInARace>(),
        caught::<DeleteOwnedListsThenDeletesAtTheRevision>(),
        caught::<DeleteOwnedHappensLater>(),
    ]
}

mutant! { O3 DeleteOwnedDoesNothing; delete_owned(self, _at, _owner, _keep) { Ok(0) }}

mutant! { L5 DeleteOwnedFailsAtADamagedSession; delete_owned(self, at, owner, keep) {
    if at.lock().keys().any(|key| at.is_damaged(*key)) { return fail(ErrorKind::Corrupt); }
    at.delete_owned(owner, keep).await
}}

mutant! { L5 DeleteOwnedStopsAtADamagedSession; delete_owned(self, at, owner, keep) {
    let records = at.lock().clone();
    let (mut owned, mut count) = (records.iter().filter(|(_, found)| found.owner.as_ref() == Some(owner)), 0);
    while let Some((key, _)) = owned.next().filter(|(key, _)| !at.is_damaged(**key)) {
        if keep != Some(*key) { count += u64::from(at.delete(*key).await?); }
    }
    Ok(count)
}}

mutant! { O3 DeleteOwnedIgnoresKeep; delete_owned(self, at, owner, _keep) { at.delete_owned(owner, None).await }}

mutant! { O3 DeleteOwnedDeletesOnlyKeep; delete_owned(self, at, owner, keep) {
    match keep {
        None => at.delete_owned(owner, None).await,
        Some(keep) => Ok(u64::from(at.delete(keep).await?)),
    }
}}

mutant! { O3 DeleteOwnedCountsTheKept; delete_owned(self, at, owner, keep) {
    Ok(at.delete_owned(owner, keep).await? + u64::from(keep.is_some()))
}}

mutant! { O3 DeleteOwnedCountsTheExpired; delete_owned(self, at, owner, keep) {
    let before = at.lock().len();
    at.delete_owned(owner, keep).await?;
    Ok((before - at.lock().len()) as u64)
}}

mutant! { O3 DeleteOwnedCountsNothing; delete_owned(self, at, owner, keep) {
    at.delete_owned(owner, keep).await?;
    Ok(0)
}}

mutant! { O3 DeleteOwnedCountsBatches; delete_owned(self, at, owner, keep) {
    Ok(at.delete_owned(owner, keep).await?.min(1))
}}

mutant! { O3 DeleteOwnedStopsAtAHundred; delete_owned(self, at, owner, keep) {
    let mut records = at.lock();
    let mine: Vec<_> = records
        .iter()
        .filter(|(key, found)| found.owner.as_ref() == Some(owner) && keep != Some(**key) && live(found))
        .map(|(key, _)| *key)
        .take(100)
        .collect();
    for key in &mine { records.remove(key); }
    Ok(mine.len() as u64)
}}

mutant! { O3 DeleteOwnedTakesEveryone; delete_owned(self, at, owner, keep) {
    let count = at.delete_owned(owner, keep).await?;
    at.lock().retain(|key, found| found.owner.is_none() || keep == Some(*key));
    Ok(count)
}}

mutant! { O3 DeleteOwnedTakesAnonymousOnes; delete_owned(self, at, owner, keep) {
    let count = at.delete_owned(owner, keep).await?;
    at.lock().retain(|_, found| found.owner.is_some());
    Ok(count)
}}

mutant! { O3 DeleteOwnedGivesUpOnAForeignKeep; delete_owned(self, at, owner, keep) {
    let foreign = keep.is_some_and(|keep| at.lock().get(&keep).is_none_or(|k| k.owner.as_ref() != Some(owner)));
    if foreign { return Ok(0); }
    at.delete_owned(owner, keep).await
}}

mutant! { O3 DeleteOwnedCountsTwiceInARace; delete_owned(self, at, owner, keep) {
    let mine = |key: &SessionKey, found: &Record| {
        found.owner.as_ref() == Some(owner) && keep != Some(*key) && live(found)
    };
    let count = at.lock().iter().filter(|(key, found)| mine(key, found)).count();
    meanwhile().await;
    at.delete_owned(owner, keep).await?;
    Ok(count as u64)
}}

/// The owner's sessions as they are now.
fn listed(at: &Reference, owner: &Owner, keep: Option<SessionKey>) -> Vec<(SessionKey, Revision)> {
    let records = at.lock();
    let mine =
        records.iter().filter(|(key, found)| found.owner.as_ref() == Some(owner) && keep != Some(**key));
    mine.filter(|(_, found)| live(found)).map(|(key, found)| (*key, found.revision)).collect()
}

mutant! { O4 DeleteOwnedListsThenDeletesAtTheRevision; delete_owned(self, at, owner, keep) {
    let mut count = 0;
    for (key, revision) in listed(at, owner, keep) {
        let same = at.lock().get(&key).is_some_and(|found| found.revision == revision);
        if same { count += u64::from(at.lock().remove(&key).is_some()); }
        meanwhile().await;
    }
    Ok(count)
}}

mutant! { O4 DeleteOwnedHappensLater; delete_owned(self, at, owner, keep) {
    let count = listed(at, owner, keep).len() as u64;
    let (at, owner) = (at.clone(), owner.clone());
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        at.delete_owned(&owner, keep).await
    });
    Ok(count)
}}
