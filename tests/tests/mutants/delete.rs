//! Delete, broken: D1 and D2.

use crate::prelude::*;

pub(crate) fn mutants() -> Vec<Caught> {
    vec![
        caught::<DeleteDoesNothing>(),
        caught::<DeleteOfADamagedSessionFails>(),
        caught::<DeleteOnlyHides>(),
        caught::<DeleteHappensLater>(),
        caught::<DeleteOfThisHandleOnly>(),
        caught::<DeleteTakesTheOwnersOthers>(),
        caught::<DeleteTakesTheNeighbour>(),
        caught::<DeleteEmptiesThePayload>(),
        caught::<DeleteKeepsTheKeyTaken>(),
        caught::<DeleteIsAlwaysTrue>(),
        caught::<DeleteIsAlwaysFalse>(),
        caught::<DeleteOfNothingFails>(),
        caught::<DeleteOfExpiredIsTrue>(),
        caught::<DeleteLooksThenRemoves>(),
        caught::<DeleteLooksAndRemovesUnderTwoLocks>(),
    ]
}

mutant! { D1 DeleteDoesNothing; delete(self, at, key) { Ok(at.load(key).await?.is_some()) }}

mutant! { L5 DeleteOfADamagedSessionFails; delete(self, at, key) {
    if at.is_damaged(key) { return fail(ErrorKind::Corrupt); }
    at.delete(key).await
}}

mutant! { D1 DeleteOnlyHides;
    delete(self, at, key) {
        let there = at.load(key).await?.is_some() && !at.0.index.lock().unwrap().contains_key(&key);
        at.0.index.lock().unwrap().insert(key, None);
        Ok(there)
    }
    load(self, at, key) {
        if at.0.index.lock().unwrap().contains_key(&key) { return Ok(None); }
        at.load(key).await
    }
}

mutant! { D1 DeleteHappensLater; delete(self, at, key) {
    let there = at.load(key).await?.is_some();
    let at = at.clone();
    tokio::spawn(async move { meanwhile().await; at.lock().remove(&key); });
    Ok(there)
}}

mutant! { D1 DeleteOfThisHandleOnly(Mutex<HashMap<SessionKey, ()>>);
    delete(self, at, key) {
        let there = at.load(key).await?.is_some();
        Ok(self.0.lock().unwrap().insert(key, ()).is_none() && there)
    }
    load(self, at, key) {
        if self.0.lock().unwrap().contains_key(&key) { return Ok(None); }
        at.load(key).await
    }
}

mutant! { D1 DeleteTakesTheOwnersOthers; delete(self, at, key) {
    let owner = at.load(key).await?.and_then(|found| found.owner);
    let deleted = at.delete(key).await?;
    at.lock().retain(|_, found| owner.is_none() || found.owner != owner);
    Ok(deleted)
}}

mutant! { D1 DeleteTakesTheNeighbour; delete(self, at, key) {
    let next = at.lock().range(key..).nth(1).map(|(next, _)| *next);
    let deleted = at.delete(key).await?;
    if let (true, Some(next)) = (deleted, next) { at.lock().remove(&next); }
    Ok(deleted)
}}

mutant! { D1 DeleteEmptiesThePayload; delete(self, at, key) {
    let mut records = at.lock();
    let Some(found) = records.get_mut(&key).filter(|found| live(found)) else { return Ok(false) };
    found.payload = Arc::from(&b""[..]);
    Ok(true)
}}

mutant! { D1 DeleteKeepsTheKeyTaken;
    delete(self, at, key) {
        at.0.index.lock().unwrap().insert(key, None);
        at.delete(key).await
    }
    create(self, at, key, record) {
        if at.0.index.lock().unwrap().contains_key(&key) { return Ok(Created::Occupied); }
        at.create(key, record).await
    }
}

mutant! { D2 DeleteIsAlwaysTrue; delete(self, at, key) { at.delete(key).await?; Ok(true) }}

mutant! { D2 DeleteIsAlwaysFalse; delete(self, at, key) { at.delete(key).await?; Ok(false) }}

mutant! { D2 DeleteOfNothingFails; delete(self, at, key) {
    if at.delete(key).await? { Ok(true) } else { fail(ErrorKind::Other) }
}}

mutant! { D2 DeleteOfExpiredIsTrue; delete(self, at, key) { Ok(at.lock().remove(&key).is_some()) }}

mutant! { D2 DeleteLooksThenRemoves; delete(self, at, key) {
    let there = at.load(key).await?.is_some();
    meanwhile().await;
    at.lock().remove(&key);
    Ok(there)
}}

mutant! { D2 DeleteLooksAndRemovesUnderTwoLocks; delete(self, at, key) {
    let there = at.lock().get(&key).is_some_and(live);
    at.lock().remove(&key);
    Ok(there)
}}
