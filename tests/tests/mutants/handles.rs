//! Handles, namespaces and faults, broken: H1 to H4, F1 to F3.

use crate::prelude::*;

pub(crate) fn mutants() -> Vec<Caught> {
    vec![
        caught::<HandleRemembersLoads>(),
        caught::<HandleRemembersAbsence>(),
        caught::<HandleWritesLater>(),
        caught::<HandleKeepsItsOwnIndex>(),
        caught::<HandleKeepsItsOwnData>(),
        caught::<ReopeningClears>(),
        caught::<ReopeningForgetsOwners>(),
        caught::<ReopeningForgetsTouches>(),
        caught::<ReopeningRevivesTheDeleted>(),
        caught::<ReopeningStartsAnew>(),
        caught::<NamespacesShareKeys>(),
        caught::<NamespacesShareLists>(),
        caught::<NamespacesShareSweeps>(),
        caught::<NamespacesShareOwners>(),
        caught::<PrepareWorksOnce>(),
        caught::<PrepareClears>(),
        caught::<PrepareRaces>(),
        caught::<LoadHangs>(),
        caught::<ListHangs>(),
        caught::<SaveIsStoredMeanwhile>(),
        caught::<TimeoutIsAnotherKind>(),
        caught::<DeleteIsFalseMeanwhile>(),
        caught::<HandleBreaksForGood>(),
        caught::<HandleStaysReadOnly>(),
        caught::<DroppedSaveLosesTheSession>(),
        caught::<DroppedSaveIsHalfDone>(),
        caught::<DroppedCreateIsHalfDone>(),
        caught::<DroppedDeleteIsHalfDone>(),
        caught::<DroppedLoadKeepsTheLock>(),
        caught::<DroppedOperationsUseUpThePool>(),
    ]
}

mutant! { H1 HandleRemembersLoads(Mutex<HashMap<SessionKey, Record>>);
    load(self, at, key) {
        let known = self.0.lock().unwrap().get(&key).cloned();
        if let Some(known) = known.filter(live) { return Ok(Some(known)); }
        let found = at.load(key).await?;
        if let Some(found) = &found { self.0.lock().unwrap().insert(key, found.clone()); }
        Ok(found)
    }
}

mutant! { H1 HandleRemembersAbsence(Mutex<HashMap<SessionKey, ()>>);
    load(self, at, key) {
        if self.0.lock().unwrap().contains_key(&key) { return Ok(None); }
        let found = at.load(key).await?;
        if found.is_none() { self.0.lock().unwrap().insert(key, ()); }
        Ok(found)
    }
}

mutant! { H1 HandleWritesLater; create(self, at, key, record) {
    let (at, record) = (at.clone(), record.clone());
    tokio::spawn(async move { meanwhile().await; at.create(key, &record).await });
    Ok(Created::Stored)
}}

mutant! { H1 HandleKeepsItsOwnIndex(Mutex<HashMap<SessionKey, ()>>);
    create(self, at, key, record) {
        self.0.lock().unwrap().insert(key, ());
        at.create(key, record).await
    }
    list(self, at, owner, cursor, limit) {
        let mut page = at.list(owner, cursor, limit).await?;
        page.sessions.retain(|(key, _)| self.0.lock().unwrap().contains_key(key));
        Ok(page)
    }
}

mutant! { H1 HandleKeepsItsOwnData(Mutex<Option<Arc<Data>>>);
    opened(self, _at) { *self.0.lock().unwrap() = Some(Arc::default()); }
    create(self, at, key, record) { own(&self.0, at).create(key, record).await }
    load(self, at, key) { own(&self.0, at).load(key).await }
}

fn own(data: &Mutex<Option<Arc<Data>>>, at: &Reference) -> Reference {
    data.lock().unwrap().clone().map_or_else(|| at.clone(), Reference)
}

/// Whether the handle that is being opened is the only one: the namespace itself holds the data, too.
fn reopened(at: &Reference) -> bool {
    Arc::strong_count(&at.0) == 2
}

mutant! { H2 ReopeningClears; opened(self, at) { if reopened(at) { at.lock().clear(); } }}

mutant! { H2 ReopeningForgetsOwners; opened(self, at) {
    if reopened(at) { at.lock().values_mut().for_each(|found| found.owner = None); }
}}

mutant! { H2 ReopeningForgetsTouches;
    opened(self, at) {
        if reopened(at) {
            at.lock().values_mut().for_each(|found| found.expires_at = millis(found.expires_at, |ms| ms - 60_001));
        }
    }
}

mutant! { H2 ReopeningRevivesTheDeleted;
    opened(self, at) {
        if reopened(at) {
            for (key, found) in &*GONE.lock().unwrap() { at.lock().entry(*key).or_insert(found.clone()); }
        }
    }
    delete(self, at, key) {
        let old = at.lock().get(&key).cloned();
        if let Some(old) = old { GONE.lock().unwrap().insert(key, old); }
        at.delete(key).await
    }
}

static GONE: LazyLock<Mutex<BTreeMap<SessionKey, Record>>> = LazyLock::new(Mutex::default);

mutant! { H2 ReopeningStartsAnew(Mutex<Option<Arc<Data>>>);
    opened(self, at) { if reopened(at) { *self.0.lock().unwrap() = Some(Arc::default()); } }
    create(self, at, key, record) { own(&self.0, at).create(key, record).await }
    load(self, at, key) { own(&self.0, at).load(key).await }
    save(self, at, key, expected, record) { own(&self.0, at).save(key, expected, record).await }
}

fn common() -> Reference {
    static COMMON: LazyLock<Arc<Data>> = LazyLock::new(Arc::default);
    Reference(Arc::clone(&COMMON))
}

mutant! { H3 NamespacesShareKeys;
    create(self, _at, key, record) { common().create(key, record).await }
    load(self, _at, key) { common().load(key).await }
    save(self, _at, key, expected, record) { common().save(key, expected, record).await }
    touch(self, _at, key, expected, expires_at) { common().touch(key, expected, expires_at).await }
    delete(self, _at, key) { common().delete(key).await }
}

mutant! { H3 NamespacesShareLists;
    create(self, at, key, record) {
        if record.owner.is_some() { LISTED.lock().unwrap().insert(key, record.clone()); }
        at.create(key, record).await
    }
    list(self, at, owner, cursor, limit) {
        let mut records = at.lock().clone();
        records.extend(LISTED.lock().unwrap().iter().map(|(key, found)| (*key, found.clone())));
        crate::support::page(&records, owner, cursor, limit)
    }
}

static LISTED: LazyLock<Mutex<BTreeMap<SessionKey, Record>>> = LazyLock::new(Mutex::default);
static EXPIRED: LazyLock<Mutex<u64>> = LazyLock::new(Mutex::default);

mutant! { H3 NamespacesShareSweeps;
    create(self, at, key, record) {
        if !live(record) { *EXPIRED.lock().unwrap() += 1; }
        at.create(key, record).await
    }
    delete_expired(self, at, limit) { Ok(at.delete_expired(limit).await? + std::mem::take(&mut *EXPIRED.lock().unwrap())) }
}

mutant! { H3 NamespacesShareOwners(Mutex<()>);
    opened(self, at) { EVERYWHERE.lock().unwrap().push(Arc::clone(&at.0)); }
    delete_owned(self, _at, owner, keep) {
        let everywhere = EVERYWHERE.lock().unwrap().clone();
        let mut seen = Vec::new();
        let mut count = 0;
        for data in everywhere {
            if seen.iter().any(|other| Arc::ptr_eq(other, &data)) { continue; }
            seen.push(Arc::clone(&data));
            count += Reference(data).delete_owned(owner, keep).await?;
        }
        Ok(count)
    }
}

static EVERYWHERE: LazyLock<Mutex<Vec<Arc<Data>>>> = LazyLock::new(Mutex::default);

mutant! { H4 PrepareWorksOnce; prepare(self, at) {
    // `CREATE TABLE` without `IF NOT EXISTS`.
    if at.0.flag.swap(true, SeqCst) { return fail(ErrorKind::Other); }
    Ok(())
}}

mutant! { H4 PrepareClears; prepare(self, at) { at.lock().clear(); Ok(()) }}

mutant! { H4 PrepareRaces; prepare(self, at) {
    // Looks whether the table is there, then creates it.
    if at.0.flag.load(SeqCst) { return Ok(()); }
    meanwhile().await;
    if at.0.flag.swap(true, SeqCst) { fail(ErrorKind::Other) } else { Ok(()) }
}}

mutant! { F1 LoadHangs; load(self, at, key) {
    if at.is_paused() { return for_ever().await; }
    at.load(key).await
}}

mutant! { F1 ListHangs; list(self, at, owner, cursor, limit) {
    if at.is_paused() { return for_ever().await; }
    at.list(owner, cursor, limit).await
}}

mutant! { F1 SaveIsStoredMeanwhile; save(self, at, key, expected, record) {
    if at.is_paused() { return Ok(Saved::Stored); }
    at.save(key, expected, record).await
}}

mutant! { F1 TimeoutIsAnotherKind; touch(self, at, key, expected, expires_at) {
    if at.is_paused() { return fail(ErrorKind::Other); }
    at.touch(key, expected, expires_at).await
}}

mutant! { F1 DeleteIsFalseMeanwhile; delete(self, at, key) {
    if at.is_paused() { return Ok(false); }
    at.delete(key).await
}}

mutant! { F2 HandleBreaksForGood(std::sync::atomic::AtomicBool); load(self, at, key) {
    if at.is_paused() { self.0.store(true, SeqCst); }
    if self.0.load(SeqCst) { return fail(ErrorKind::Unavailable); }
    at.load(key).await
}}

mutant! { F2 HandleStaysReadOnly(std::sync::atomic::AtomicBool);
    load(self, at, key) {
        if at.is_paused() { self.0.store(true, SeqCst); }
        at.load(key).await
    }
    create(self, at, key, record) {
        if self.0.load(SeqCst) { return fail(ErrorKind::Unavailable); }
        at.create(key, record).await
    }
}

mutant! { F3 DroppedSaveLosesTheSession; save(self, at, key, expected, record) {
    let old = at.lock().get(&key).cloned();
    let saved = at.save(key, expected, record).await?;
    if saved == Saved::Stored && old.is_some() {
        at.lock().remove(&key);
        meanwhile().await;
        at.lock().insert(key, record.clone());
    }
    Ok(saved)
}}

mutant! { F3 DroppedSaveIsHalfDone; save(self, at, key, expected, record) {
    let half = record.payload[..record.payload.len() / 2].to_vec();
    let saved = at.save(key, expected, &Record { payload: half.into(), ..record.clone() }).await?;
    meanwhile().await;
    if saved == Saved::Stored { at.lock().insert(key, record.clone()); }
    Ok(saved)
}}

mutant! { F3 DroppedCreateIsHalfDone; create(self, at, key, record) {
    let created = at.create(key, &Record { payload: Arc::from(&b""[..]), ..record.clone() }).await?;
    if created == Created::Stored {
        meanwhile().await;
        at.lock().insert(key, record.clone());
    }
    Ok(created)
}}

mutant! { F3 DroppedDeleteIsHalfDone; delete(self, at, key) {
    if let Some(found) = at.lock().get_mut(&key) { found.payload = Arc::from(&b""[..]); }
    meanwhile().await;
    at.delete(key).await
}}

mutant! { F3 DroppedLoadKeepsTheLock; load(self, at, key) {
    for _ in 0..200 {
        if !at.0.flag.swap(true, SeqCst) {
            meanwhile().await;
            let found = at.load(key).await;
            at.0.flag.store(false, SeqCst);
            return found;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    fail(ErrorKind::Timeout)
}}

mutant! { F3 DroppedOperationsUseUpThePool; create(self, at, key, record) {
    // Ten connections; a dropped future never gives its own back.
    for _ in 0..500 {
        if at.0.count.fetch_add(1, SeqCst) < 10 {
            meanwhile().await;
            let created = at.create(key, record).await;
            at.0.count.fetch_sub(1, SeqCst);
            return created;
        }
        at.0.count.fetch_sub(1, SeqCst);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    fail(ErrorKind::Timeout)
}}
