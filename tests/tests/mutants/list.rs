//! Listing, broken: O1, O2 and O5.

use crate::prelude::*;
use crate::support::page;

pub(crate) fn mutants() -> Vec<Caught> {
    vec![
        caught::<ListIgnoresTheOwner>(),
        caught::<ListGivesAnonymousSessionsToo>(),
        caught::<ListTakesAPrefix>(),
        caught::<ListShowsTheExpired>(),
        caught::<ListSkipsAtTheBorder>(),
        caught::<ListRepeatsAtTheBorder>(),
        caught::<ListGivesOneMore>(),
        caught::<ListHasNoLimit>(),
        caught::<ListOfLimit0IsUnlimited>(),
        caught::<ListOfLimit0IsEmptyForEver>(),
        caught::<ListStopsAfterAPage>(),
        caught::<ListStopsAtAHundred>(),
        caught::<ListCountsOffsets>(),
        caught::<ListAcceptsAnyCursor>(),
        caught::<ListTakesAForeignCursorForTheEnd>(),
        caught::<ListHidesThePayload>(),
        caught::<ListFiltersAfterTheLimit>(),
        caught::<IndexForgetsSaves>(),
        caught::<IndexForgetsDeletes>(),
        caught::<IndexKeepsTheClearedOwner>(),
        caught::<IndexKeepsTheFirstOwner>(),
        caught::<IndexShowsAnOldExpiry>(),
        caught::<IndexEndsWithTheFirstExpiry>(),
        caught::<ListAllShowsTheExpired>(),
        caught::<ListAllShowsOwnedOnly>(),
        caught::<ListAllShowsAnonymousOnly>(),
        caught::<ListAllSkipsAtTheBorder>(),
        caught::<ListAllRepeatsAtTheBorder>(),
        caught::<ListAllStopsAfterAPage>(),
        caught::<ListAllCountsOffsets>(),
        caught::<ListAllIsUnsupported>(),
        caught::<ListAllIsASnapshotOfTheFirst>(),
        caught::<ListAllAcceptsAnyCursor>(),
        caught::<ListSkipsOneWhenTheCursorsHasGone>(),
        caught::<ListAllSkipsOneWhenTheCursorsHasGone>(),
        caught::<ListAllSkipsOneOnAnotherHandle>(),
        caught::<ListAllEndsAtADamagedSession>(),
        caught::<ListFailsAtADamagedSession>(),
        caught::<OwnersIndexEndsDespiteATouch>(),
    ]
}

mutant! { O1 ListIgnoresTheOwner; list(self, at, _owner, cursor, limit) { at.list(None, cursor, limit).await }}

mutant! { O1 ListGivesAnonymousSessionsToo; list(self, at, owner, cursor, limit) {
    let mut records = at.lock().clone();
    for found in records.values_mut() { found.owner = found.owner.take().or(owner.cloned()); }
    page(&records, owner, cursor, limit)
}}

mutant! { O1 ListTakesAPrefix; list(self, at, owner, cursor, limit) {
    let mut records = at.lock().clone();
    if let Some(owner) = owner {
        records.retain(|_, found| found.owner.as_ref().is_some_and(|o| o.as_str().starts_with(owner.as_str())));
    }
    page(&records, None, cursor, limit)
}}

/// A listing in which the expired live.
fn with_expired(
    at: &Reference,
    owner: Option<&Owner>,
    cursor: Option<&Cursor>,
    limit: usize,
) -> Result<Page> {
    let mut records = at.lock().clone();
    records.values_mut().filter(|found| !live(found)).for_each(|found| found.expires_at = Timestamp::MAX);
    page(&records, owner, cursor, limit)
}

mutant! { O1 ListShowsTheExpired; list(self, at, owner, cursor, limit) { with_expired(at, owner, cursor, limit) }}

/// The cursor one session further on.
fn skipping(at: &Reference, owner: Option<&Owner>, cursor: Option<&Cursor>, limit: usize) -> Result<Page> {
    let mut page = page(&at.lock(), owner, cursor, limit)?;
    if let Some(next) = &page.next {
        let after: SessionKey = next.as_str().parse()?;
        let key = at.lock().range(after..).nth(1).map(|(key, _)| *key);
        page.next = key.map(|key| Cursor::new(key.to_string()));
    }
    Ok(page)
}

mutant! { O1 ListSkipsAtTheBorder; list(self, at, owner, cursor, limit) { skipping(at, owner, cursor, limit) }}

/// The cursor's own session again; every time when there is one a page.
fn repeating(at: &Reference, owner: Option<&Owner>, cursor: Option<&Cursor>, limit: usize) -> Result<Page> {
    let mut got = page(&at.lock(), owner, cursor, limit)?;
    if let Some(cursor) = cursor {
        let key: SessionKey = cursor.as_str().parse()?;
        let again = at.lock().get(&key).cloned();
        if let Some(again) = again {
            got.sessions.insert(0, (key, again));
            got.sessions.truncate(limit.max(1));
            let more = got.next.is_some() && limit > 1;
            got.next = got.sessions.last().filter(|_| more).map(|(key, _)| Cursor::new(key.to_string()));
        }
    }
    Ok(got)
}

mutant! { O1 ListRepeatsAtTheBorder; list(self, at, owner, cursor, limit) { repeating(at, owner, cursor, limit) }}

mutant! { O1 ListGivesOneMore; list(self, at, owner, cursor, limit) {
    at.list(owner, cursor, limit.saturating_add(1)).await
}}

mutant! { O1 ListHasNoLimit; list(self, at, owner, cursor, _limit) { at.list(owner, cursor, 1_000_000).await }}

mutant! { O1 ListOfLimit0IsUnlimited; list(self, at, owner, cursor, limit) {
    at.list(owner, cursor, if limit == 0 { 1_000_000 } else { limit }).await
}}

mutant! { O1 ListOfLimit0IsEmptyForEver; list(self, at, owner, cursor, limit) {
    if limit == 0 { return Ok(Page::default()); }
    at.list(owner, cursor, limit).await
}}

mutant! { O1 ListStopsAfterAPage; list(self, at, owner, cursor, limit) {
    Ok(Page { next: None, ..at.list(owner, cursor, limit).await? })
}}

mutant! { O1 ListStopsAtAHundred; list(self, at, owner, cursor, limit) {
    let page = at.list(owner, cursor, limit.min(100)).await?;
    Ok(if limit > 100 { Page { next: None, ..page } } else { page })
}}

/// The number of sessions given so far as the cursor: what goes meanwhile shifts the rest.
fn by_offset(at: &Reference, owner: Option<&Owner>, cursor: Option<&Cursor>, limit: usize) -> Result<Page> {
    let all = page(&at.lock(), owner, None, usize::MAX)?.sessions;
    let offset = match cursor.map(|cursor| cursor.as_str().parse::<usize>()) {
        None => 0,
        Some(Ok(offset)) if offset <= 100_000 => offset,
        Some(_) => return fail(ErrorKind::InvalidInput),
    };
    let sessions: Vec<_> = all.into_iter().skip(offset).take(limit.max(1)).collect();
    let full = sessions.len() == limit.max(1);
    let next = full.then(|| Cursor::new((offset + sessions.len()).to_string()));
    Ok(Page { sessions, next })
}

mutant! { O1 ListCountsOffsets; list(self, at, owner, cursor, limit) { by_offset(at, owner, cursor, limit) }}

/// What a cursor that cannot be read counts for.
fn lenient(cursor: Option<&Cursor>) -> Option<&Cursor> {
    cursor.filter(|cursor| cursor.as_str().parse::<SessionKey>().is_ok())
}

mutant! { O1 ListAcceptsAnyCursor; list(self, at, owner, cursor, limit) {
    at.list(owner, lenient(cursor), limit).await
}}

mutant! { O1 ListTakesAForeignCursorForTheEnd; list(self, at, owner, cursor, limit) {
    if cursor.is_some() && lenient(cursor).is_none() { return Ok(Page::default()); }
    at.list(owner, cursor, limit).await
}}

mutant! { O1 ListHidesThePayload; list(self, at, owner, cursor, limit) {
    let mut page = at.list(owner, cursor, limit).await?;
    page.sessions.iter_mut().for_each(|(_, found)| found.payload = Arc::from(&b""[..]));
    Ok(page)
}}

mutant! { O1 ListFiltersAfterTheLimit; list(self, at, owner, cursor, limit) {
    // `WHERE .. LIMIT n`, then the owner is looked at; and the end is where a page is short.
    let mut page = at.list(None, cursor, limit).await?;
    page.sessions.retain(|(_, found)| owner.is_none() || found.owner.as_ref() == owner);
    if page.sessions.len() < limit { page.next = None; }
    Ok(page)
}}

/// A listing by an index of its own, which is up to date or not.
fn by_index(at: &Reference, owner: Option<&Owner>, cursor: Option<&Cursor>, limit: usize) -> Result<Page> {
    let mut records = at.lock().clone();
    if owner.is_some() {
        let index = at.0.index.lock().unwrap();
        records.retain(|key, _| index.get(key).is_some_and(|indexed| indexed.as_ref() == owner));
    }
    page(&records, None, cursor, limit)
}

fn index(at: &Reference, key: SessionKey, owner: Option<&Owner>) {
    at.0.index.lock().unwrap().insert(key, owner.cloned());
}

mutant! { O2 IndexForgetsSaves;
    create(self, at, key, record) { index(at, key, record.owner.as_ref()); at.create(key, record).await }
    list(self, at, owner, cursor, limit) { by_index(at, owner, cursor, limit) }
}

mutant! { O2 IndexForgetsDeletes(Mutex<()>);
    delete(self, at, key) {
        let old = at.lock().get(&key).cloned();
        let deleted = at.delete(key).await?;
        if let (true, Some(old)) = (deleted, old) { DELETED.lock().unwrap().insert(key, old); }
        Ok(deleted)
    }
    list(self, at, owner, cursor, limit) {
        let mut records = at.lock().clone();
        if owner.is_some() {
            for (key, found) in &*DELETED.lock().unwrap() { records.entry(*key).or_insert(found.clone()); }
        }
        page(&records, owner, cursor, limit)
    }
}

static DELETED: LazyLock<Mutex<BTreeMap<SessionKey, Record>>> = LazyLock::new(Mutex::default);

mutant! { O2 IndexKeepsTheClearedOwner;
    create(self, at, key, record) { index(at, key, record.owner.as_ref()); at.create(key, record).await }
    save(self, at, key, expected, record) {
        if record.owner.is_some() { index(at, key, record.owner.as_ref()); }
        at.save(key, expected, record).await
    }
    list(self, at, owner, cursor, limit) { by_index(at, owner, cursor, limit) }
}

mutant! { O2 IndexKeepsTheFirstOwner;
    create(self, at, key, record) { index_once(at, key, record); at.create(key, record).await }
    save(self, at, key, expected, record) { index_once(at, key, record); at.save(key, expected, record).await }
    list(self, at, owner, cursor, limit) { by_index(at, owner, cursor, limit) }
}

fn index_once(at: &Reference, key: SessionKey, record: &Record) {
    if record.owner.is_some() {
        at.0.index.lock().unwrap().entry(key).or_insert_with(|| record.owner.clone());
    }
}

mutant! { O2 IndexShowsAnOldExpiry(Mutex<BTreeMap<SessionKey, Timestamp>>);
    create(self, at, key, record) {
        self.0.lock().unwrap().insert(key, record.expires_at);
        at.create(key, record).await
    }
    list(self, at, owner, cursor, limit) {
        let mut page = at.list(owner, cursor, limit).await?;
        let known = self.0.lock().unwrap();
        for (key, found) in &mut page.sessions {
            if let Some(expires_at) = known.get(key) { found.expires_at = *expires_at; }
        }
        Ok(page)
    }
}

mutant! { O2 IndexEndsWithTheFirstExpiry(Mutex<BTreeMap<SessionKey, Timestamp>>);
    create(self, at, key, record) {
        self.0.lock().unwrap().insert(key, record.expires_at);
        at.create(key, record).await
    }
    list(self, at, owner, cursor, limit) {
        // Sorted by expiry and swept by it; a save and a touch move the session's only.
        let mut page = at.list(owner, cursor, limit).await?;
        let known = self.0.lock().unwrap();
        let over = |key: &SessionKey| known.get(key).is_some_and(|expires_at| *expires_at <= Timestamp::now());
        page.sessions.retain(|(key, _)| owner.is_none() || !over(key));
        Ok(page)
    }
}

mutant! { O5 ListAllShowsTheExpired; list(self, at, owner, cursor, limit) {
    if owner.is_none() { return with_expired(at, owner, cursor, limit); }
    at.list(owner, cursor, limit).await
}}

/// A listing of everything that leaves something out.
fn only(
    at: &Reference,
    owner: Option<&Owner>,
    cursor: Option<&Cursor>,
    limit: usize,
    owned: bool,
) -> Result<Page> {
    let mut records = at.lock().clone();
    if owner.is_none() {
        records.retain(|_, found| found.owner.is_some() == owned);
    }
    page(&records, owner, cursor, limit)
}

mutant! { O5 ListAllShowsOwnedOnly; list(self, at, owner, cursor, limit) { only(at, owner, cursor, limit, true) }}

mutant! { O5 ListAllShowsAnonymousOnly; list(self, at, owner, cursor, limit) {
    only(at, owner, cursor, limit, false)
}}

mutant! { O5 ListAllSkipsAtTheBorder; list(self, at, owner, cursor, limit) { skipping(at, owner, cursor, limit) }}

mutant! { O5 ListAllRepeatsAtTheBorder; list(self, at, owner, cursor, limit) { repeating(at, owner, cursor, limit) }}

mutant! { O5 ListAllStopsAfterAPage; list(self, at, owner, cursor, limit) {
    Ok(Page { next: None, ..at.list(owner, cursor, limit).await? })
}}

mutant! { O5 ListAllCountsOffsets; list(self, at, owner, cursor, limit) { by_offset(at, owner, cursor, limit) }}

mutant! { O5 ListAllIsUnsupported; list(self, at, owner, cursor, limit) {
    if owner.is_none() { return fail(ErrorKind::Unsupported); }
    at.list(owner, cursor, limit).await
}}

mutant! { O5 ListAllIsASnapshotOfTheFirst(Mutex<BTreeMap<SessionKey, Record>>);
    list(self, at, owner, cursor, limit) {
        let mut seen = self.0.lock().unwrap();
        if seen.is_empty() { seen.clone_from(&at.lock()); }
        page(&seen, owner, cursor, limit)
    }
}

mutant! { O5 ListAllAcceptsAnyCursor; list(self, at, owner, cursor, limit) {
    at.list(owner, lenient(cursor), limit).await
}}

/// A cursor that counts on the session at the border: when that has gone, the next one is taken for it.
fn after_the_border(
    at: &Reference,
    owner: Option<&Owner>,
    cursor: Option<&Cursor>,
    limit: usize,
) -> Result<Page> {
    let records = at.lock();
    let border = cursor.and_then(|cursor| cursor.as_str().parse::<SessionKey>().ok());
    let gone = border.filter(|border| !records.contains_key(border));
    let mine = |found: &Record| live(found) && (owner.is_none() || found.owner.as_ref() == owner);
    let next = gone.and_then(|gone| records.range(gone..).find(|(_, found)| mine(found)));
    let cursor = next.map(|(key, _)| Cursor::new(key.to_string())).or(cursor.cloned());
    page(&records, owner, cursor.as_ref(), limit)
}

mutant! { O1 ListSkipsOneWhenTheCursorsHasGone; list(self, at, owner, cursor, limit) {
    after_the_border(at, owner, cursor, limit)
}}

mutant! { O5 ListAllSkipsOneWhenTheCursorsHasGone; list(self, at, owner, cursor, limit) {
    after_the_border(at, owner, cursor, limit)
}}

mutant! { O5 ListAllSkipsOneOnAnotherHandle(Mutex<Vec<Cursor>>); list(self, at, owner, cursor, limit) {
    // The handle remembers the window of a scan that a cursor stands in.
    let known = cursor.is_none_or(|cursor| self.0.lock().unwrap().contains(cursor));
    let mut listed = at.list(owner, cursor, limit).await?;
    if !known && listed.sessions.len() > 1 { listed.sessions.remove(0); }
    self.0.lock().unwrap().extend(listed.next.clone());
    Ok(listed)
}}

mutant! { L5 ListAllEndsAtADamagedSession; list(self, at, owner, cursor, limit) {
    // A page that is short for lack of one row is taken for the last.
    let records = at.lock().clone();
    let mut listed = page(&records, owner, cursor, limit)?;
    let whole = listed.sessions.len();
    listed.sessions.retain(|(key, _)| !at.is_damaged(*key));
    if listed.sessions.len() < whole { listed.next = None; }
    Ok(listed)
}}

mutant! { L5 ListFailsAtADamagedSession; list(self, at, owner, cursor, limit) {
    let records = at.lock().clone();
    let listed = page(&records, owner, cursor, limit)?;
    if listed.sessions.iter().any(|(key, _)| at.is_damaged(*key)) { return fail(ErrorKind::Corrupt); }
    Ok(listed)
}}

mutant! { O2 OwnersIndexEndsDespiteATouch(Mutex<()>);
    // One index for each owner, which expires with the session that was to live longest when it was written.
    create(self, at, key, record) { extend(record); at.create(key, record).await }
    save(self, at, key, expected, record) { extend(record); at.save(key, expected, record).await }
    list(self, at, owner, cursor, limit) {
        let ends = owner.and_then(|owner| ENDS.lock().unwrap().get(owner).copied());
        if ends.is_some_and(|ends| ends <= Timestamp::now()) { return Ok(Page::default()); }
        at.list(owner, cursor, limit).await
    }
}

static ENDS: LazyLock<Mutex<HashMap<Owner, Timestamp>>> = LazyLock::new(Mutex::default);

fn extend(record: &Record) {
    if let Some(owner) = &record.owner {
        let mut ends = ENDS.lock().unwrap();
        let end = ends.entry(owner.clone()).or_insert(record.expires_at);
        *end = record.expires_at.max(*end);
    }
}
