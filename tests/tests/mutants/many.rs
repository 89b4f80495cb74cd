//! Wrong only when several calls are under way at once, as a store is that sends them in batches.

use crate::prelude::*;

pub(crate) fn mutants() -> Vec<Caught> {
    vec![
        caught::<BatchMixesAnswersUp>(),
        caught::<BatchedCreateTakesALiveKey>(),
        caught::<BatchedCreateOverExpiredKeepsTheOwner>(),
        caught::<BatchedLoadOfDamagedIsNone>(),
        caught::<BatchedLoadShowsTheExpired>(),
        caught::<BatchedSaveKeepsTheOwner>(),
        caught::<BatchedSaveRevives>(),
        caught::<BatchedConflictIsStored>(),
        caught::<BatchedTouchRevives>(),
        caught::<BatchedTouchIgnoresTheRevision>(),
        caught::<BatchedTouchTellsMissing>(),
        caught::<BatchedDeleteCountsTheExpired>(),
    ]
}

/// Whether another call of this kind is under way.
async fn in_company(at: &Reference) -> bool {
    at.0.count.fetch_add(1, SeqCst);
    meanwhile().await;
    at.0.count.fetch_sub(1, SeqCst) > 1
}

fn expired(at: &Reference, key: SessionKey) -> Option<Record> {
    at.lock().get(&key).filter(|found| !live(found)).cloned()
}

mutant! { C1 BatchMixesAnswersUp(Mutex<Vec<SessionKey>>); load(self, at, key) {
    // The answers come in the reverse of the order in which they were asked for.
    self.0.lock().unwrap().push(key);
    meanwhile().await;
    let key = self.0.lock().unwrap().pop().unwrap_or(key);
    at.load(key).await
}}

mutant! { C2 BatchedCreateTakesALiveKey; create(self, at, key, record) {
    if in_company(at).await && record.owner.is_none() { at.lock().remove(&key); }
    at.create(key, record).await
}}

mutant! { O2 BatchedCreateOverExpiredKeepsTheOwner;
    create(self, at, key, record) {
        let old = expired(at, key).filter(|_| record.owner.is_some()).and_then(|found| found.owner);
        let created = at.create(key, record).await?;
        if in_company(at).await && let Some(old) = old { at.0.index.lock().unwrap().insert(key, Some(old)); }
        Ok(created)
    }
    list(self, at, owner, cursor, limit) {
        let old = at.0.index.lock().unwrap().clone();
        let mut page = at.list(owner, cursor, limit).await?;
        page.sessions.retain(|(key, _)| owner.is_none() || old.get(key).is_none_or(|old| old.as_ref() == owner));
        Ok(page)
    }
}

mutant! { L5 BatchedLoadOfDamagedIsNone; load(self, at, key) {
    if in_company(at).await && at.is_damaged(key) { return Ok(None); }
    at.load(key).await
}}

mutant! { L2 BatchedLoadShowsTheExpired; load(self, at, key) {
    if in_company(at).await && let Some(found) = expired(at, key) { return Ok(Some(found)); }
    at.load(key).await
}}

mutant! { S1 BatchedSaveKeepsTheOwner; save(self, at, key, expected, record) {
    let before = at.lock().get(&key).and_then(|found| found.owner.clone());
    let owner = if in_company(at).await { before } else { record.owner.clone() };
    at.save(key, expected, &Record { owner, ..record.clone() }).await
}}

mutant! { S3 BatchedSaveRevives; save(self, at, key, expected, record) {
    let there = expired(at, key).is_some_and(|found| found.revision == expected);
    if in_company(at).await && there {
        at.lock().insert(key, record.clone());
        return Ok(Saved::Stored);
    }
    at.save(key, expected, record).await
}}

mutant! { S2 BatchedConflictIsStored; save(self, at, key, expected, record) {
    let crowded = in_company(at).await;
    let saved = at.save(key, expected, record).await?;
    Ok(if crowded && saved == Saved::Conflict { Saved::Stored } else { saved })
}}

mutant! { T2 BatchedTouchRevives; touch(self, at, key, expected, expires_at) {
    if in_company(at).await && expired(at, key).is_some_and(|found| found.revision == expected) {
        if let Some(found) = at.lock().get_mut(&key) { found.expires_at = expires_at; }
        return Ok(Touched::Stored);
    }
    at.touch(key, expected, expires_at).await
}}

mutant! { T3 BatchedTouchIgnoresTheRevision; touch(self, at, key, expected, expires_at) {
    let current = at.lock().get(&key).map(|found| found.revision);
    let expected = if in_company(at).await { current.unwrap_or(expected) } else { expected };
    at.touch(key, expected, expires_at).await
}}

mutant! { T1 BatchedTouchTellsMissing; touch(self, at, key, expected, expires_at) {
    // Rows that somebody else had locked are passed over, and taken for absent.
    if in_company(at).await && at.0.index.lock().unwrap().insert(key, None).is_none() { return Ok(Touched::Missing); }
    at.touch(key, expected, expires_at).await
}}

mutant! { D2 BatchedDeleteCountsTheExpired; delete(self, at, key) {
    let there = in_company(at).await && expired(at, key).is_some();
    Ok(at.delete(key).await? || there)
}}
