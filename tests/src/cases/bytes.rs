//! Bytes, times and texts at their limits: B1 to B4.

use std::time::Duration;

use session_core::{Created, ErrorKind, Owner, Record, Saved, Timestamp, Touched};

use crate::Rule::{B1, B2, B3, B4};
use crate::case::{Entry, case};
use crate::test::{Outcome, Test};

pub(super) const CASES: &[Entry] = &[
    case!(bytes::payloads_of_every_size_come_back: B1),
    case!(bytes::payloads_of_any_bytes_come_back: B1),
    case!(bytes::a_save_and_a_touch_keep_the_largest_payload: B1),
    case!(bytes::expiry_is_kept_to_the_millisecond: B2),
    case!(bytes::expiry_in_the_next_moment_is_kept: B2),
    case!(bytes::a_save_and_a_touch_keep_expiry_to_the_millisecond: B2),
    case!(bytes::any_owner_comes_back: B3),
    case!(bytes::owners_that_look_alike_are_kept_apart: B3; needs OwnerIndex),
    case!(bytes::owners_that_look_alike_are_ended_apart: B3; needs OwnerIndex),
    case!(bytes::a_payload_over_the_limit_is_not_created: B4),
    case!(bytes::a_payload_over_the_limit_is_not_saved: B4),
];

fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(step).collect()
}

async fn payloads_of_every_size_come_back(t: &Test) -> Outcome {
    let store = t.store().await?;
    let limit = t.max_payload();
    let powers = [8_usize, 12, 13, 14, 15, 16, 17, 18, 19, 20].map(|power| 1 << power);
    let mut sizes: Vec<usize> = [0, 1, 2, 3, 127, 128, 1000, 10_000, 100_000, limit / 2].into();
    sizes.extend(powers.iter().flat_map(|power| [power - 1, *power, power + 1]));
    sizes.extend([limit - 1, limit]);
    sizes.retain(|size| *size <= limit);
    for size in sizes {
        let (key, record) = (t.key()?, Record { payload: noise(size).into(), ..t.record()? });
        t.want(B1, store.create(key, &record).await?, Created::Stored)?;
        t.want_record(B1, &store, key, &record).await?;
        store.delete(key).await?;
    }
    Ok(())
}

async fn payloads_of_any_bytes_come_back(t: &Test) -> Outcome {
    let store = t.store().await?;
    let every: Vec<u8> = (0..=255).collect();
    let samples: [&[u8]; 16] = [
        &every,
        &[0],
        &[0; 300],
        &[0xff; 300],
        b"text\0with\0nul",
        b"\0",
        b"\r\n",
        b"$5\r\nhello\r\n",
        b"trailing spaces   ",
        b"  leading",
        b"\xef\xbb\xbfbom",
        b"\\x00\\'\"`;--",
        b"\xc3\x28 not utf-8",
        b"{\"json\": true}",
        b"null",
        b"\n",
    ];
    for sample in samples {
        let (key, record) = (t.key()?, Record { payload: sample.into(), ..t.record()? });
        t.want(B1, store.create(key, &record).await?, Created::Stored)?;
        t.want_record(B1, &store, key, &record).await?;
        let next = Record { payload: sample.repeat(2).into(), ..t.record()? };
        t.want(B1, store.save(key, record.revision, &next).await?, Saved::Stored)?;
        t.want_record(B1, &store, key, &next).await?;
    }
    Ok(())
}

async fn a_save_and_a_touch_keep_the_largest_payload(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (key, first) = (t.key()?, t.record()?);
    let largest = Record { payload: noise(t.max_payload()).into(), ..t.record()? };
    store.put(key, &first).await?;
    t.want(B1, store.save(key, first.revision, &largest).await?, Saved::Stored)?;
    t.want_record(B1, &store, key, &largest).await?;
    let mut reversed = noise(t.max_payload());
    reversed.reverse();
    let other = Record { payload: reversed.into(), ..t.record()? };
    t.want(B1, store.save(key, largest.revision, &other).await?, Saved::Stored)?;
    t.want_record(B1, &store, key, &other).await?;
    t.want(B1, store.touch(key, other.revision, Timestamp::MAX).await?, Touched::Stored)?;
    t.want_record(B1, &store, key, &Record { expires_at: Timestamp::MAX, ..other }).await
}

/// Points in time at which something ends: a type, an era, a format. All after 2037.
fn ends() -> Vec<Timestamp> {
    let ends = [
        i64::from(i32::MAX) * 1000,
        i64::from(u32::MAX) * 1000,
        (1 << 41) - 1,     // 2039
        (1 << 42) - 1,     // 2109
        (1 << 43) - 1,     // 2248
        9_223_372_036_854, // 2262: nanoseconds in 64 bits
        13_569_465_600_000,
        32_503_680_000_000, // 3000
        Timestamp::MAX.as_millis() - 86_400_000,
    ];
    let mut times: Vec<_> =
        ends.iter().flat_map(|end| [end - 1, *end, end + 1, end + 999, end + 1000]).collect();
    times.extend([Timestamp::MAX.as_millis() - 1, Timestamp::MAX.as_millis()]);
    times.into_iter().map(Timestamp::from_millis).collect()
}

async fn expiry_is_kept_to_the_millisecond(t: &Test) -> Outcome {
    let store = t.store().await?;
    let now = Timestamp::now();
    let near = (0..20).map(|at| now.saturating_add(Duration::from_millis(3_600_000 + 137 * at)));
    for expires_at in near.chain(ends()) {
        let (key, record) = (t.key()?, t.until(expires_at)?);
        t.want(B2, store.create(key, &record).await?, Created::Stored)?;
        t.want_record(B2, &store, key, &record).await?;
    }
    Ok(())
}

async fn expiry_in_the_next_moment_is_kept(t: &Test) -> Outcome {
    let store = t.store().await?;
    let mut looked = false;
    for ahead in [1, 1, 2, 5, 10, 50, 90, 400, 700, 999, 1001, 2500] {
        let key = t.key()?;
        let record = t.until(Timestamp::now().saturating_add(Duration::from_millis(ahead)))?;
        t.want(B2, store.create(key, &record).await?, Created::Stored)?;
        let found = store.load(key).await?;
        if Timestamp::now() < record.expires_at {
            looked = true;
            t.ensure(B2, found.as_ref() == Some(&record), t.shown(Some(&record)), {
                t.unlike(&record, found.as_ref())
            })?;
        } else if let Some(found) = found {
            t.ensure(B2, found == record, t.shown(Some(&record)), t.unlike(&record, Some(&found)))?;
        }
    }
    t.ensure(B2, looked, "a load within 2.5 s", "none was as fast")
}

async fn a_save_and_a_touch_keep_expiry_to_the_millisecond(t: &Test) -> Outcome {
    let store = t.store().await?;
    let (key, mut current) = (t.key()?, t.record()?);
    store.put(key, &current).await?;
    for expires_at in ends() {
        let next = t.until(Timestamp::from_millis(expires_at.as_millis() - 1))?;
        t.want(B2, store.save(key, current.revision, &next).await?, Saved::Stored)?;
        t.want_record(B2, &store, key, &next).await?;
        t.want(B2, store.touch(key, next.revision, expires_at).await?, Touched::Stored)?;
        current = Record { expires_at, ..next };
        t.want_record(B2, &store, key, &current).await?;
    }
    Ok(())
}

/// Owners that some storage or other takes for another one, or for something else than text.
fn owners(t: &Test) -> Outcome<Vec<Owner>> {
    let long = "x".repeat(Owner::MAX_LEN - 1);
    let texts = [
        "ann",
        "Ann",
        "ANN",
        "ann ",
        "ann  ",
        " ann",
        "ann\t",
        "ann\n",
        "\u{e4}nn",
        "a\u{308}nn",
        "\u{c4}nn",
        "an",
        "annn",
        "%",
        "_",
        "a%",
        "a_n",
        "*",
        "a*",
        "?",
        "a?n",
        "[a]nn",
        "{a,b}",
        "a:b",
        "a:",
        ":",
        "a/b",
        "../ann",
        "/",
        ".",
        "..",
        "\\",
        "\\\\",
        "'",
        "''",
        "\"",
        "`",
        "o'brien",
        "'; DROP TABLE sessions; --",
        "null",
        "NULL",
        "true",
        "0",
        "00",
        "1",
        "01",
        "1.0",
        "1e0",
        "-1",
        " ",
        "  ",
        "\u{1}",
        "\u{7f}",
        "\u{200b}",
        "\u{feff}ann",
        "\u{df}",
        "ss",
        "\u{130}",
        "i",
        "I",
        "\u{131}",
        "\u{1f600}",
        "\u{1f601}",
        "\u{1f468}\u{200d}\u{1f469}",
        "\r\n",
        "$1",
        "#",
        "ann#1",
        "@",
        "a,b",
        "a b",
        "a=b",
        "a&b",
        "<a>",
        "\u{fffd}",
        "\u{10ffff}",
        "\u{ffff}",
        "cafe\u{301}",
        "caf\u{e9}",
        "k",
        "\u{212a}",
    ];
    let mut owners: Vec<String> = texts.iter().map(ToString::to_string).collect();
    owners.extend([format!("{long}a"), format!("{long}A"), format!("{long}b"), long, "\u{1f600}".repeat(63)]);
    let made = owners.iter().map(Owner::new).collect::<session_core::Result<Vec<_>>>();
    made.map_err(|error| t.log().failure(B3, "legal owners", error))
}

async fn any_owner_comes_back(t: &Test) -> Outcome {
    let store = t.store().await?;
    for owner in owners(t)? {
        let (key, record) = (t.key()?, t.owned(&owner)?);
        t.want(B3, store.create(key, &record).await?, Created::Stored)?;
        t.want_record(B3, &store, key, &record).await?;
        let next = t.owned(&owner)?;
        t.want(B3, store.save(key, record.revision, &next).await?, Saved::Stored)?;
        t.want_record(B3, &store, key, &next).await?;
    }
    Ok(())
}

async fn owners_that_look_alike_are_kept_apart(t: &Test) -> Outcome {
    let store = t.store().await?;
    let mut sessions = Vec::new();
    for owner in owners(t)? {
        let key = t.key()?;
        store.put(key, &t.owned(&owner)?).await?;
        sessions.push((owner, key));
    }
    for (owner, key) in &sessions {
        let listed = t.keys_of(&store, owner).await?;
        let wanted = format!("{}, alone, is listed for {owner:?}", t.log().key(*key));
        t.ensure(B3, listed == [*key], wanted, t.named(&listed))?;
    }
    Ok(())
}

async fn owners_that_look_alike_are_ended_apart(t: &Test) -> Outcome {
    let store = t.store().await?;
    let mut sessions = Vec::new();
    for owner in owners(t)? {
        let key = t.key()?;
        store.put(key, &t.owned(&owner)?).await?;
        sessions.push((owner, key));
    }
    while let Some((owner, key)) = sessions.pop() {
        t.want(B3, store.delete_owned(&owner, None).await?, 1)?;
        t.want_absent(B3, &store, key).await?;
        let mut left: Vec<_> = sessions.iter().map(|(_, key)| *key).collect();
        left.sort_unstable();
        let listed = store.everything().await?;
        let gone: Vec<_> = left.iter().filter(|key| !listed.contains(key)).copied().collect();
        let wanted = format!("delete_owned({owner:?}) leaves the sessions of other owners");
        t.ensure(B3, gone.is_empty(), wanted, format!("{} went too", t.named(&gone)))?;
    }
    Ok(())
}

fn too_large(t: &Test, got: Result<String, ErrorKind>) -> Outcome {
    let wanted = "an error of kind TooLarge";
    let limit = t.max_payload();
    let shown = got.as_ref().map_or_else(|kind| format!("an error of kind {kind:?}"), Clone::clone);
    let got_text = format!("{shown}, though the payload is over the limit of {limit} bytes");
    t.ensure(B4, got == Err(ErrorKind::TooLarge), wanted, got_text)
}

/// Over the limit by one, and by far.
fn sizes_over(t: &Test) -> [usize; 2] {
    [t.max_payload() + 1, t.max_payload() * 2 + 1000]
}

async fn a_payload_over_the_limit_is_not_created(t: &Test) -> Outcome {
    let store = t.store().await?;
    for size in sizes_over(t) {
        let (key, large) = (t.key()?, Record { payload: noise(size).into(), ..t.record()? });
        let created = store.try_create(key, &large).await;
        too_large(t, created.map(|created| format!("{created:?}")).map_err(|error| error.kind()))?;
        t.want_absent(B4, &store, key).await?;
        t.want(B4, store.create(key, &t.record()?).await?, Created::Stored)?;
    }
    Ok(())
}

async fn a_payload_over_the_limit_is_not_saved(t: &Test) -> Outcome {
    let store = t.store().await?;
    for size in sizes_over(t) {
        let (key, record) = (t.key()?, t.record()?);
        let large = Record { payload: noise(size).into(), ..t.record()? };
        store.put(key, &record).await?;
        let saved = store.try_save(key, record.revision, &large).await;
        too_large(t, saved.map(|saved| format!("{saved:?}")).map_err(|error| error.kind()))?;
        t.want_record(B4, &store, key, &record).await?;
    }
    Ok(())
}
