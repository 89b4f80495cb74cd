//! Bytes, times and texts, broken: B1 to B4.

use crate::prelude::*;

pub(crate) fn mutants() -> Vec<Caught> {
    vec![
        caught::<PayloadOf64KiB>(),
        caught::<PayloadOf64KiBInSaves>(),
        caught::<PayloadRefusesNothing>(),
        caught::<PayloadIsTrimmed>(),
        caught::<PayloadEndsAtNul>(),
        caught::<PayloadLosesTrailingNuls>(),
        caught::<PayloadIsText>(),
        caught::<PayloadTranslatesLineEnds>(),
        caught::<PayloadAtTheLimitIsRefused>(),
        caught::<ExpiryBySeconds>(),
        caught::<ExpiryRoundedUp>(),
        caught::<ExpiryUntil2038>(),
        caught::<ExpiryUntil2106>(),
        caught::<ExpiryUntil2262>(),
        caught::<ExpiryAtMostAYear>(),
        caught::<ExpiryAsFloat>(),
        caught::<ExpiryInTheNextSecondFails>(),
        caught::<ExpiryInAnotherTimeZone>(),
        caught::<SaveExpiryBySeconds>(),
        caught::<TheLastDayOverflows>(),
        caught::<OwnerInLowerCase>(),
        caught::<OwnerTrimmed>(),
        caught::<OwnerOf254Bytes>(),
        caught::<OwnerAsAscii>(),
        caught::<OwnerQuoted>(),
        caught::<OwnersComparedWithoutCase>(),
        caught::<OwnersComparedWithoutTrailingSpaces>(),
        caught::<OwnersComparedAsPatterns>(),
        caught::<OwnersComparedAsNumbers>(),
        caught::<OwnersEndedWithoutCase>(),
        caught::<OwnersEndedByPrefix>(),
        caught::<NoLimit>(),
        caught::<LimitOffByOne>(),
        caught::<LimitTruncates>(),
        caught::<LimitIsAnotherError>(),
        caught::<LimitAfterTheWrite>(),
        caught::<LimitInCreateOnly>(),
        caught::<LimitInSavesEndsTheSession>(),
    ]
}

/// Writes something else than what was asked for, in create.
async fn create_as(
    at: &Reference,
    key: SessionKey,
    record: &Record,
    change: impl FnOnce(&mut Record),
) -> Result<Created> {
    let mut record = record.clone();
    change(&mut record);
    at.create(key, &record).await
}

fn payload(record: &mut Record, change: impl FnOnce(&[u8]) -> Vec<u8>) {
    record.payload = change(&record.payload).into();
}

mutant! { B1 PayloadOf64KiB; create(self, at, key, record) {
    create_as(at, key, record, |new| payload(new, |bytes| bytes[..bytes.len().min(65_535)].to_vec())).await
}}

mutant! { B1 PayloadOf64KiBInSaves; save(self, at, key, expected, record) {
    let mut record = record.clone();
    payload(&mut record, |bytes| bytes[..bytes.len().min(65_536)].to_vec());
    at.save(key, expected, &record).await
}}

mutant! { B1 PayloadRefusesNothing; create(self, at, key, record) {
    if record.payload.is_empty() { return fail(ErrorKind::InvalidInput); }
    at.create(key, record).await
}}

mutant! { B1 PayloadIsTrimmed; create(self, at, key, record) {
    create_as(at, key, record, |new| payload(new, |bytes| bytes.trim_ascii_end().to_vec())).await
}}

mutant! { B1 PayloadEndsAtNul; create(self, at, key, record) {
    create_as(at, key, record, |new| {
        payload(new, |bytes| bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec());
    }).await
}}

mutant! { B1 PayloadLosesTrailingNuls; create(self, at, key, record) {
    create_as(at, key, record, |new| payload(new, |bytes| {
        bytes[..bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1)].to_vec()
    })).await
}}

mutant! { B1 PayloadIsText; create(self, at, key, record) {
    create_as(at, key, record, |new| payload(new, |bytes| String::from_utf8_lossy(bytes).into_owned().into())).await
}}

mutant! { B1 PayloadTranslatesLineEnds; create(self, at, key, record) {
    create_as(at, key, record, |new| payload(new, |bytes| bytes.iter().copied().filter(|b| *b != b'\r').collect()))
        .await
}}

mutant! { B1 PayloadAtTheLimitIsRefused; create(self, at, key, record) {
    if record.payload.len() >= MAX_PAYLOAD { return fail(ErrorKind::TooLarge); }
    at.create(key, record).await
}}

mutant! { B2 ExpiryBySeconds; create(self, at, key, record) {
    create_as(at, key, record, |new| new.expires_at = millis(new.expires_at, |ms| ms / 1000 * 1000)).await
}}

mutant! { B2 ExpiryRoundedUp; create(self, at, key, record) {
    create_as(at, key, record, |new| new.expires_at = millis(new.expires_at, |ms| (ms + 999) / 1000 * 1000)).await
}}

mutant! { B2 ExpiryUntil2038; create(self, at, key, record) {
    create_as(at, key, record, |new| new.expires_at = millis(new.expires_at, |ms| ms.min(2_147_483_647_999))).await
}}

mutant! { B2 ExpiryUntil2106; create(self, at, key, record) {
    create_as(at, key, record, |new| new.expires_at = millis(new.expires_at, |ms| ms.min(4_294_967_295_999))).await
}}

mutant! { B2 ExpiryUntil2262; create(self, at, key, record) {
    create_as(at, key, record, |new| new.expires_at = millis(new.expires_at, |ms| ms.min(9_223_372_036_854))).await
}}

mutant! { B2 ExpiryAtMostAYear; create(self, at, key, record) {
    let year = Timestamp::now().saturating_add(Duration::from_secs(366 * 86_400));
    create_as(at, key, record, |new| new.expires_at = new.expires_at.min(year)).await
}}

#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
fn as_float(ms: i64) -> i64 {
    (ms as f32) as i64
}

mutant! { B2 ExpiryAsFloat; create(self, at, key, record) {
    create_as(at, key, record, |new| new.expires_at = millis(new.expires_at, as_float)).await
}}

mutant! { B2 ExpiryInTheNextSecondFails; create(self, at, key, record) {
    let ahead = record.expires_at.saturating_since(Timestamp::now());
    if live(record) && ahead.as_secs() == 0 { return fail(ErrorKind::InvalidInput); }
    at.create(key, record).await
}}

mutant! { B2 ExpiryInAnotherTimeZone; create(self, at, key, record) {
    create_as(at, key, record, |new| new.expires_at = millis(new.expires_at, |ms| ms + 3_600_000)).await
}}

mutant! { B2 SaveExpiryBySeconds; save(self, at, key, expected, record) {
    let expires_at = millis(record.expires_at, |ms| ms / 1000 * 1000);
    at.save(key, expected, &Record { expires_at, ..record.clone() }).await
}}

mutant! { B2 TheLastDayOverflows; create(self, at, key, record) {
    if record.expires_at > millis(Timestamp::MAX, |ms| ms - 86_400_000) { return fail(ErrorKind::Other); }
    at.create(key, record).await
}}

/// Stores another owner than was given.
async fn owner_as(
    at: &Reference,
    key: SessionKey,
    record: &Record,
    change: impl FnOnce(&str) -> String,
) -> Result<Created> {
    let owner = match &record.owner {
        None => None,
        Some(owner) => Owner::new(change(owner.as_str())).ok(),
    };
    at.create(key, &Record { owner, ..record.clone() }).await
}

mutant! { B3 OwnerInLowerCase; create(self, at, key, record) {
    owner_as(at, key, record, str::to_lowercase).await
}}

mutant! { B3 OwnerTrimmed; create(self, at, key, record) {
    owner_as(at, key, record, |text| text.trim_end().to_owned()).await
}}

mutant! { B3 OwnerOf254Bytes; create(self, at, key, record) {
    owner_as(at, key, record, |text| {
        let end = |at: usize| (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text[..end(text.len().min(254))].to_owned()
    }).await
}}

mutant! { B3 OwnerAsAscii; create(self, at, key, record) {
    owner_as(at, key, record, |text| text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect()).await
}}

mutant! { B3 OwnerQuoted; create(self, at, key, record) {
    owner_as(at, key, record, |text| text.replace('\'', "''")).await
}}

/// A listing by another idea of equal owners.
async fn list_by(at: &Reference, owner: Option<&Owner>, same: impl Fn(&str, &str) -> bool) -> Result<Page> {
    let everyone = at.list(None, None, 10_000).await?.sessions;
    let mine = |found: &Record| {
        owner.is_none_or(|o| found.owner.as_ref().is_some_and(|f| same(o.as_str(), f.as_str())))
    };
    Ok(Page { sessions: everyone.into_iter().filter(|(_, found)| mine(found)).collect(), next: None })
}

mutant! { B3 OwnersComparedWithoutCase; list(self, at, owner, _cursor, _limit) {
    list_by(at, owner, |a, b| a.to_lowercase() == b.to_lowercase()).await
}}

mutant! { B3 OwnersComparedWithoutTrailingSpaces; list(self, at, owner, _cursor, _limit) {
    list_by(at, owner, |a, b| a.trim_end_matches(' ') == b.trim_end_matches(' ')).await
}}

mutant! { B3 OwnersComparedAsPatterns; list(self, at, owner, _cursor, _limit) {
    list_by(at, owner, |a, b| a == b || a == "%" || a == "*").await
}}

mutant! { B3 OwnersComparedAsNumbers; list(self, at, owner, _cursor, _limit) {
    list_by(at, owner, |a, b| a == b || a.parse::<f64>().is_ok_and(|a| b.parse() == Ok(a))).await
}}

mutant! { B3 OwnersEndedWithoutCase; delete_owned(self, at, owner, _keep) {
    let before = at.lock().len();
    let same = |found: &Owner| found.as_str().eq_ignore_ascii_case(owner.as_str());
    at.lock().retain(|_, found| !found.owner.as_ref().is_some_and(same));
    Ok((before - at.lock().len()) as u64)
}}

mutant! { B3 OwnersEndedByPrefix; delete_owned(self, at, owner, _keep) {
    let before = at.lock().len();
    let same = |found: &Owner| found.as_str().starts_with(owner.as_str());
    at.lock().retain(|_, found| !found.owner.as_ref().is_some_and(same));
    Ok((before - at.lock().len()) as u64)
}}

/// A create without a limit.
fn insert(at: &Reference, key: SessionKey, record: &Record) -> Created {
    let mut records = at.lock();
    if records.get(&key).is_some_and(live) {
        return Created::Occupied;
    }
    records.insert(key, record.clone());
    Created::Stored
}

mutant! { B4 NoLimit; create(self, at, key, record) { Ok(insert(at, key, record)) }}

mutant! { B4 LimitOffByOne; create(self, at, key, record) {
    if record.payload.len() > MAX_PAYLOAD + 1 { return fail(ErrorKind::TooLarge); }
    Ok(insert(at, key, record))
}}

mutant! { B4 LimitTruncates; create(self, at, key, record) {
    create_as(at, key, record, |new| payload(new, |bytes| bytes[..bytes.len().min(MAX_PAYLOAD)].to_vec())).await
}}

mutant! { B4 LimitIsAnotherError; create(self, at, key, record) {
    if check_size(record).is_err() { return fail(ErrorKind::InvalidInput); }
    at.create(key, record).await
}}

mutant! { B4 LimitAfterTheWrite; create(self, at, key, record) {
    let created = insert(at, key, record);
    check_size(record)?;
    Ok(created)
}}

mutant! { B4 LimitInCreateOnly; save(self, at, key, expected, record) {
    if check_size(record).is_ok() { return at.save(key, expected, record).await; }
    if let Some(found) = at.lock().get_mut(&key) { *found = record.clone(); }
    Ok(Saved::Stored)
}}

mutant! { B4 LimitInSavesEndsTheSession; save(self, at, key, expected, record) {
    if check_size(record).is_err() { at.lock().remove(&key); }
    at.save(key, expected, record).await
}}
