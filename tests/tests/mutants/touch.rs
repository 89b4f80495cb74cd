//! Touch, broken: T1 and T2.

use crate::prelude::*;

pub(crate) fn mutants() -> Vec<Caught> {
    vec![
        caught::<TouchDoesNothing>(),
        caught::<TouchMovesEarlier>(),
        caught::<TouchEarlierIsFalse>(),
        caught::<TouchToTheSameIsFalse>(),
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
        caught::<TouchOfNothingIsTrue>(),
        caught::<TouchOfNothingFails>(),
        caught::<TouchCreates>(),
        caught::<TouchRevives>(),
        caught::<TouchOfExpiredIsTrue>(),
        caught::<TouchRevivesWithinTheMillisecond>(),
        caught::<TouchBringsTheDeletedBack>(),
    ]
}

/// Touches in some other way.
fn touch_as(at: &Reference, key: SessionKey, change: impl FnOnce(&mut Record)) -> Result<bool> {
    let mut records = at.lock();
    let Some(found) = records.get_mut(&key).filter(|found| live(found)) else { return Ok(false) };
    change(found);
    Ok(true)
}

mutant! { T1 TouchDoesNothing; touch(self, at, key, _expires_at) { touch_as(at, key, |_| ()) }}

mutant! { T1 TouchMovesEarlier; touch(self, at, key, expires_at) {
    touch_as(at, key, |found| found.expires_at = expires_at)
}}

mutant! { T1 TouchEarlierIsFalse; touch(self, at, key, expires_at) {
    let earlier = at.lock().get(&key).is_some_and(|found| found.expires_at > expires_at);
    Ok(at.touch(key, expires_at).await? && !earlier)
}}

mutant! { T1 TouchToTheSameIsFalse; touch(self, at, key, expires_at) {
    let same = at.lock().get(&key).is_some_and(|found| found.expires_at == expires_at);
    Ok(at.touch(key, expires_at).await? && !same)
}}

mutant! { T1 TouchCountsSeconds; touch(self, at, key, expires_at) {
    at.touch(key, millis(expires_at, |ms| ms / 1000 * 1000)).await
}}

mutant! { T1 TouchAddsInstead; touch(self, at, key, expires_at) {
    let ahead = expires_at.saturating_since(Timestamp::now());
    touch_as(at, key, |found| found.expires_at = found.expires_at.saturating_add(ahead))
}}

mutant! { T1 TouchHasACeiling; touch(self, at, key, expires_at) {
    let year = Timestamp::now().saturating_add(Duration::from_secs(365 * 86_400));
    at.touch(key, expires_at.min(year)).await
}}

mutant! { T1 TouchChangesTheRevision; touch(self, at, key, expires_at) {
    at.touch(key, expires_at).await?;
    touch_as(at, key, |found| found.revision = Revision::from_u64(found.revision.as_u64().wrapping_add(1)))
}}

mutant! { T1 TouchClearsTheOwner; touch(self, at, key, expires_at) {
    at.touch(key, expires_at).await?;
    touch_as(at, key, |found| found.owner = None)
}}

mutant! { T1 TouchClearsThePayload; touch(self, at, key, expires_at) {
    at.touch(key, expires_at).await?;
    touch_as(at, key, |found| found.payload = Arc::from(&b""[..]))
}}

mutant! { T1 TouchToThePastEnds; touch(self, at, key, expires_at) {
    let touched = at.touch(key, expires_at).await?;
    if expires_at <= Timestamp::now() { at.lock().remove(&key); }
    Ok(touched)
}}

mutant! { T1 TouchLoadsThenWrites; touch(self, at, key, expires_at) {
    let Some(mut found) = at.load(key).await? else { return Ok(false) };
    meanwhile().await;
    found.expires_at = found.expires_at.max(expires_at);
    if at.lock().contains_key(&key) { at.lock().insert(key, found); }
    Ok(true)
}}

mutant! { T1 TouchesOverwriteEachOther; touch(self, at, key, expires_at) {
    let later = at.load(key).await?.is_some_and(|found| found.expires_at < expires_at);
    meanwhile().await;
    touch_as(at, key, |found| if later { found.expires_at = expires_at })
}}

mutant! { T1 TouchTouchesAll; touch(self, at, key, expires_at) {
    let touched = at.touch(key, expires_at).await?;
    if touched { at.lock().values_mut().for_each(|found| found.expires_at = expires_at.max(found.expires_at)); }
    Ok(touched)
}}

mutant! { T2 TouchOfNothingIsTrue; touch(self, at, key, expires_at) {
    at.touch(key, expires_at).await?;
    Ok(true)
}}

mutant! { T2 TouchOfNothingFails; touch(self, at, key, expires_at) {
    if at.touch(key, expires_at).await? { Ok(true) } else { fail(ErrorKind::Other) }
}}

mutant! { T2 TouchCreates; touch(self, at, key, expires_at) {
    let touched = at.touch(key, expires_at).await?;
    if !touched {
        let payload = Arc::from(&b""[..]);
        let created_at = Timestamp::now();
        let record = Record { revision: Revision::generate()?, owner: None, created_at, expires_at, payload };
        at.lock().insert(key, record);
    }
    Ok(touched)
}}

mutant! { T2 TouchRevives; touch(self, at, key, expires_at) {
    let mut records = at.lock();
    let Some(found) = records.get_mut(&key) else { return Ok(false) };
    found.expires_at = found.expires_at.max(expires_at);
    Ok(true)
}}

mutant! { T2 TouchOfExpiredIsTrue; touch(self, at, key, expires_at) {
    let there = at.lock().contains_key(&key);
    Ok(at.touch(key, expires_at).await? || there)
}}

mutant! { T2 TouchRevivesWithinTheMillisecond; touch(self, at, key, expires_at) {
    let mut records = at.lock();
    match records.get_mut(&key).filter(|found| found.expires_at >= Timestamp::now()) {
        None => Ok(false),
        Some(found) => { found.expires_at = found.expires_at.max(expires_at); Ok(true) }
    }
}}

mutant! { T2 TouchBringsTheDeletedBack; touch(self, at, key, expires_at) {
    let Some(found) = at.load(key).await? else { return Ok(false) };
    meanwhile().await;
    at.lock().insert(key, Record { expires_at: found.expires_at.max(expires_at), ..found });
    Ok(true)
}}
