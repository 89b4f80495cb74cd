//! Load, broken: L1 to L5.

use crate::prelude::*;

pub(crate) fn mutants() -> Vec<Caught> {
    vec![
        caught::<LoadOfNothingFails>(),
        caught::<LoadOfNothingGivesAnEmptyRecord>(),
        caught::<LoadGivesSomebodyElsesRecord>(),
        caught::<LoadIgnoresExpiry>(),
        caught::<LoadIsLateByAMillisecond>(),
        caught::<LoadExpiresByTheSecond>(),
        caught::<LoadExpiresEarly>(),
        caught::<LoadHasGrace>(),
        caught::<LoadProlongs>(),
        caught::<SaveWritesFieldAfterField>(),
        caught::<SaveWritesThePayloadInHalves>(),
        caught::<SaveTruncatesThenWrites>(),
        caught::<LoadReadsInTwoSteps>(),
        caught::<FailedLoadIsNone>(),
        caught::<FailedLoadAnswersFromMemory>(),
        caught::<DamagedIsNone>(),
        caught::<DamagedPanics>(),
        caught::<DamagedIsAnotherKind>(),
        caught::<DamagedIsCleanedAway>(),
        caught::<DamagedComesBackHalf>(),
        caught::<DamagedStopsEverything>(),
    ]
}

mutant! { L1 LoadOfNothingFails; load(self, at, key) {
    match at.load(key).await? { None => fail(ErrorKind::Other), found => Ok(found) }
}}

mutant! { L1 LoadOfNothingGivesAnEmptyRecord; load(self, at, key) {
    let empty = Record {
        revision: Revision::from_u64(0), owner: None, created_at: Timestamp::now(),
        expires_at: Timestamp::MAX, payload: Arc::from(&b""[..]),
    };
    Ok(Some(at.load(key).await?.unwrap_or(empty)))
}}

mutant! { L1 LoadGivesSomebodyElsesRecord; load(self, at, key) {
    match at.load(key).await? {
        None => Ok(at.lock().values().find(|found| live(found)).cloned()),
        found => Ok(found),
    }
}}

mutant! { L2 LoadIgnoresExpiry; load(self, at, key) { Ok(at.lock().get(&key).cloned()) }}

mutant! { L2 LoadIsLateByAMillisecond; load(self, at, key) {
    Ok(at.lock().get(&key).filter(|found| found.expires_at >= Timestamp::now()).cloned())
}}

mutant! { L2 LoadExpiresByTheSecond; load(self, at, key) {
    let second = Timestamp::now().as_millis() / 1000;
    Ok(at.lock().get(&key).filter(|found| found.expires_at.as_millis() / 1000 >= second).cloned())
}}

mutant! { L2 LoadExpiresEarly; load(self, at, key) {
    let end = |found: &Record| found.expires_at.as_millis() / 1000 * 1000;
    Ok(at.lock().get(&key).filter(|found| end(found) > Timestamp::now().as_millis()).cloned())
}}

mutant! { L2 LoadHasGrace; load(self, at, key) {
    let now = millis(Timestamp::now(), |ms| ms - 10);
    Ok(at.lock().get(&key).filter(|found| found.expires_at > now).cloned())
}}

mutant! { L2 LoadProlongs; load(self, at, key) {
    if let Some(found) = at.lock().get_mut(&key).filter(|found| live(found)) {
        found.expires_at = found.expires_at.max(Timestamp::now().saturating_add(Duration::from_secs(60)));
    }
    at.load(key).await
}}

mutant! { L3 SaveWritesFieldAfterField; save(self, at, key, expected, record) {
    let saved = {
        let mut records = at.lock();
        match records.get_mut(&key) {
            Some(found) if found.revision == expected => {
                found.revision = record.revision;
                found.owner.clone_from(&record.owner);
                Saved::Stored
            }
            Some(_) => Saved::Conflict,
            None => Saved::Missing,
        }
    };
    meanwhile().await;
    if saved == Saved::Stored { at.lock().insert(key, record.clone()); }
    Ok(saved)
}}

mutant! { L3 SaveWritesThePayloadInHalves; save(self, at, key, expected, record) {
    let half = record.payload[..record.payload.len() / 2].to_vec();
    let saved = at.save(key, expected, &Record { payload: half.into(), ..record.clone() }).await?;
    meanwhile().await;
    if saved == Saved::Stored { at.lock().insert(key, record.clone()); }
    Ok(saved)
}}

mutant! { L3 SaveTruncatesThenWrites; save(self, at, key, expected, record) {
    if at.load(key).await?.is_some_and(|found| found.revision == expected) {
        if let Some(found) = at.lock().get_mut(&key) { found.payload = Arc::from(&b""[..]); }
        meanwhile().await;
    }
    at.save(key, expected, record).await
}}

mutant! { L3 LoadReadsInTwoSteps; load(self, at, key) {
    let head = at.load(key).await?;
    meanwhile().await;
    let body = at.load(key).await?;
    Ok(head.zip(body).map(|(head, body)| Record { payload: body.payload, ..head }))
}}

mutant! { L4 FailedLoadIsNone; load(self, at, key) { Ok(at.load(key).await.unwrap_or(None)) }}

mutant! { L4 FailedLoadAnswersFromMemory; load(self, at, key) {
    if at.is_paused() { return Ok(at.lock().get(&key).cloned()); }
    at.load(key).await
}}

mutant! { L5 DamagedIsNone; load(self, at, key) {
    if at.is_damaged(key) { return Ok(None); }
    at.load(key).await
}}

mutant! { L5 DamagedPanics; load(self, at, key) {
    assert!(!at.is_damaged(key), "index out of bounds");
    at.load(key).await
}}

mutant! { L5 DamagedIsAnotherKind; load(self, at, key) {
    if at.is_damaged(key) { return fail(ErrorKind::Codec); }
    at.load(key).await
}}

mutant! { L5 DamagedIsCleanedAway; load(self, at, key) {
    if at.is_damaged(key) && at.lock().remove(&key).is_none() { return Ok(None); }
    at.load(key).await
}}

mutant! { L5 DamagedComesBackHalf; load(self, at, key) {
    if !at.is_damaged(key) { return at.load(key).await; }
    Ok(at.lock().get(&key).map(|found| Record { payload: Arc::from(&found.payload[..3]), ..found.clone() }))
}}

mutant! { L5 DamagedStopsEverything; load(self, at, key) {
    if at.0.flag.load(SeqCst) { return fail(ErrorKind::Corrupt); }
    at.0.flag.store(at.is_damaged(key), SeqCst);
    at.load(key).await
}}
