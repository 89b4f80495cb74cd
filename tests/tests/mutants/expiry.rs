//! Expiry, broken: E1 to E4 and E6.

use crate::prelude::*;

pub(crate) fn mutants() -> Vec<Caught> {
    vec![
        caught::<SweepTakesTheLiving>(),
        caught::<SweepTakesWhatEndsSoon>(),
        caught::<SweepTakesWhatEndsWithinASecond>(),
        caught::<SweepTakesTheTouched>(),
        caught::<SweepFailsAtADamagedRecord>(),
        caught::<SweepStopsAtADamagedRecord>(),
        caught::<SweepIgnoresTheLimit>(),
        caught::<SweepTakesOneMore>(),
        caught::<SweepOf0TakesAll>(),
        caught::<SweepCountsDouble>(),
        caught::<SweepCountsItsLimit>(),
        caught::<SweepCountsNothing>(),
        caught::<SweepCountsTheDeleted>(),
        caught::<SweepDoesNothing>(),
        caught::<SweepForgetsTheOwned>(),
        caught::<SweepTakesTheEpochForNever>(),
        caught::<SweepTakesOneLess>(),
        caught::<SweepTakesOneOfEachTime>(),
        caught::<SweepWaitsForASecond>(),
        caught::<SweepsCountTwiceInARace>(),
        caught::<SweepsGetInEachOthersWay>(),
        caught::<SweepsBlockWriters>(),
        caught::<SweepLooksThenRemoves>(),
        caught::<SweepGoesByAnOldIndex>(),
        caught::<CreateRefusesThePast>(),
        caught::<ThePastNeverExpires>(),
        caught::<CreateInThePastIsOccupied>(),
        caught::<SaveInThePastIsMissing>(),
        caught::<SaveInThePastIsIgnored>(),
        caught::<SaveInThePastIgnoresTheRevision>(),
        caught::<SaveInThePastFails>(),
        caught::<NegativeTimesFail>(),
        caught::<SweepsBlockEveryThread>(),
    ]
}

/// A sweep of what `ended` says.
fn sweep(at: &Reference, limit: usize, ended: impl Fn(&Record) -> bool) -> u64 {
    let mut records = at.lock();
    let chosen: Vec<_> =
        records.iter().filter(|(_, found)| ended(found)).map(|(key, _)| *key).take(limit).collect();
    for key in &chosen {
        records.remove(key);
    }
    chosen.len() as u64
}

fn over(record: &Record) -> bool {
    !live(record)
}

fn first_expired(at: &Reference) -> Option<SessionKey> {
    at.lock().iter().find(|(_, found)| over(found)).map(|(key, _)| *key)
}

mutant! { L5 SweepFailsAtADamagedRecord; delete_expired(self, at, limit) {
    if first_expired(at).is_some_and(|key| at.is_damaged(key)) { return fail(ErrorKind::Corrupt); }
    at.delete_expired(limit).await
}}

mutant! { L5 SweepStopsAtADamagedRecord; delete_expired(self, at, limit) {
    if first_expired(at).is_some_and(|key| at.is_damaged(key)) { return Ok(0); }
    at.delete_expired(limit).await
}}

mutant! { E1 SweepTakesTheLiving; delete_expired(self, at, limit) { Ok(sweep(at, limit, |_| true)) }}

mutant! { E1 SweepTakesWhatEndsSoon; delete_expired(self, at, limit) {
    let soon = Timestamp::now().saturating_add(Duration::from_secs(45));
    Ok(sweep(at, limit, |found| found.expires_at < soon))
}}

mutant! { E1 SweepTakesWhatEndsWithinASecond; delete_expired(self, at, limit) {
    let second = Timestamp::now().as_millis() / 1000;
    Ok(sweep(at, limit, |found| found.expires_at.as_millis() / 1000 <= second))
}}

mutant! { E1 SweepTakesTheTouched(Mutex<BTreeMap<SessionKey, Timestamp>>);
    create(self, at, key, record) {
        self.0.lock().unwrap().insert(key, record.expires_at);
        at.create(key, record).await
    }
    delete_expired(self, at, limit) {
        let index = self.0.lock().unwrap();
        let ended = |key: &SessionKey| index.get(key).is_some_and(|end| *end <= Timestamp::now());
        let mut records = at.lock();
        let chosen: Vec<_> = records.keys().filter(|key| ended(key)).copied().take(limit).collect();
        for key in &chosen { records.remove(key); }
        Ok(chosen.len() as u64)
    }
}

mutant! { E1 SweepIgnoresTheLimit; delete_expired(self, at, _limit) { Ok(sweep(at, usize::MAX, over)) }}

mutant! { E1 SweepTakesOneMore; delete_expired(self, at, limit) { Ok(sweep(at, limit.saturating_add(1), over)) }}

mutant! { E1 SweepOf0TakesAll; delete_expired(self, at, limit) {
    Ok(sweep(at, if limit == 0 { usize::MAX } else { limit }, over))
}}

mutant! { E1 SweepCountsDouble; delete_expired(self, at, limit) { Ok(sweep(at, limit, over) * 2) }}

mutant! { E1 SweepCountsItsLimit; delete_expired(self, at, limit) {
    let removed = sweep(at, limit, over);
    Ok(if removed > 0 { limit as u64 } else { 0 })
}}

mutant! { E1 SweepCountsNothing; delete_expired(self, at, limit) { sweep(at, limit, over); Ok(0) }}

mutant! { E1 SweepCountsTheDeleted;
    delete(self, at, key) { at.0.count.fetch_add(1, SeqCst); at.delete(key).await }
    delete_expired(self, at, limit) { Ok(sweep(at, limit, over) + at.0.count.swap(0, SeqCst)) }
}

mutant! { E2 SweepDoesNothing; delete_expired(self, _at, _limit) { Ok(0) }}

mutant! { E2 SweepForgetsTheOwned; delete_expired(self, at, limit) {
    Ok(sweep(at, limit, |found| over(found) && found.owner.is_none()))
}}

mutant! { E2 SweepTakesTheEpochForNever; delete_expired(self, at, limit) {
    Ok(sweep(at, limit, |found| over(found) && found.expires_at != Timestamp::EPOCH))
}}

mutant! { E2 SweepTakesOneLess; delete_expired(self, at, limit) { Ok(sweep(at, limit.saturating_sub(1), over)) }}

mutant! { E2 SweepTakesOneOfEachTime; delete_expired(self, at, limit) {
    // An index from expiry to key, with room for one key.
    let mut seen = std::collections::HashSet::new();
    let mut records = at.lock();
    let chosen: Vec<_> = records
        .iter()
        .filter(|(_, found)| over(found) && seen.insert(found.expires_at))
        .map(|(key, _)| *key)
        .take(limit)
        .collect();
    for key in &chosen { records.remove(key); }
    Ok(chosen.len() as u64)
}}

mutant! { E2 SweepWaitsForASecond; delete_expired(self, at, limit) {
    let then = millis(Timestamp::now(), |ms| ms - 1000);
    Ok(sweep(at, limit, |found| found.expires_at < then))
}}

mutant! { E3 SweepsCountTwiceInARace; delete_expired(self, at, limit) {
    let chosen: Vec<_> =
        at.lock().iter().filter(|(_, found)| over(found)).map(|(key, _)| *key).take(limit).collect();
    meanwhile().await;
    for key in &chosen { at.lock().remove(key); }
    Ok(chosen.len() as u64)
}}

mutant! { E3 SweepsGetInEachOthersWay; delete_expired(self, at, limit) {
    if at.0.flag.swap(true, SeqCst) { return fail(ErrorKind::Contended); }
    meanwhile().await;
    let removed = sweep(at, limit, over);
    at.0.flag.store(false, SeqCst);
    Ok(removed)
}}

mutant! { E3 SweepsBlockWriters;
    delete_expired(self, at, limit) {
        at.0.flag.store(true, SeqCst);
        meanwhile().await;
        let removed = sweep(at, limit, over);
        at.0.flag.store(false, SeqCst);
        Ok(removed)
    }
    save(self, at, key, expected, record) {
        if at.0.flag.load(SeqCst) { return fail(ErrorKind::Unavailable); }
        at.save(key, expected, record).await
    }
}

mutant! { E4 SweepLooksThenRemoves; delete_expired(self, at, limit) {
    let chosen: Vec<_> =
        at.lock().iter().filter(|(_, found)| over(found)).map(|(key, _)| *key).take(limit).collect();
    meanwhile().await;
    let mut removed = 0;
    for key in &chosen { removed += u64::from(at.lock().remove(key).is_some()); }
    Ok(removed)
}}

mutant! { E4 SweepGoesByAnOldIndex;
    create(self, at, key, record) {
        if over(record) { at.0.index.lock().unwrap().insert(key, None); }
        at.create(key, record).await
    }
    delete_expired(self, at, limit) {
        let chosen: Vec<_> = at.0.index.lock().unwrap().keys().copied().take(limit).collect();
        let mut removed = 0;
        for key in chosen {
            at.0.index.lock().unwrap().remove(&key);
            removed += u64::from(at.lock().remove(&key).is_some());
        }
        Ok(removed)
    }
}

mutant! { E6 CreateRefusesThePast; create(self, at, key, record) {
    if over(record) { return fail(ErrorKind::InvalidInput); }
    at.create(key, record).await
}}

mutant! { E6 ThePastNeverExpires; create(self, at, key, record) {
    let expires_at = if record.expires_at <= Timestamp::EPOCH { Timestamp::MAX } else { record.expires_at };
    at.create(key, &Record { expires_at, ..record.clone() }).await
}}

mutant! { E6 CreateInThePastIsOccupied; create(self, at, key, record) {
    let created = at.create(key, record).await?;
    Ok(if over(record) { Created::Occupied } else { created })
}}

mutant! { E6 SaveInThePastIsMissing; save(self, at, key, expected, record) {
    let saved = at.save(key, expected, record).await?;
    Ok(if saved == Saved::Stored && over(record) { Saved::Missing } else { saved })
}}

mutant! { E6 SaveInThePastIsIgnored; save(self, at, key, expected, record) {
    let current = at.load(key).await?.is_some_and(|found| found.revision == expected);
    if current && over(record) { return Ok(Saved::Stored); }
    at.save(key, expected, record).await
}}

mutant! { E6 SaveInThePastIgnoresTheRevision; save(self, at, key, expected, record) {
    if over(record) {
        return Ok(if at.delete(key).await? { Saved::Stored } else { Saved::Missing });
    }
    at.save(key, expected, record).await
}}

mutant! { E6 SaveInThePastFails; save(self, at, key, expected, record) {
    // `SET .. PX 0` is an error.
    if record.expires_at <= Timestamp::EPOCH { return fail(ErrorKind::Other); }
    at.save(key, expected, record).await
}}

mutant! { E6 NegativeTimesFail; save(self, at, key, expected, record) {
    if record.expires_at < Timestamp::EPOCH { return fail(ErrorKind::InvalidInput); }
    at.save(key, expected, record).await
}}

mutant! { E3 SweepsBlockEveryThread; delete_expired(self, at, limit) {
    // A lock that the thread waits for, held by a sweep that waits for the thread.
    if at.0.flag.swap(true, SeqCst) { loop { std::thread::park(); } }
    meanwhile().await;
    at.0.flag.store(false, SeqCst);
    at.delete_expired(limit).await
}}
