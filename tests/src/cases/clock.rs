//! The time: H5.

use std::time::{Duration, Instant};

use session_core::Timestamp;

use crate::Rule::H5;
use crate::case::{Entry, case};
use crate::test::{Outcome, Test};

pub(super) const CASES: &[Entry] = &[
    case!(now::is_the_time_by_which_a_record_is_live_or_not: H5),
    case!(now::is_the_same_on_every_handle: H5),
    case!(now::goes_on_as_time_does: H5),
];

/// What the clock of a busy machine may be set back or forth by while a case runs.
const SLACK: i64 = 50;

async fn is_the_time_by_which_a_record_is_live_or_not(t: &Test) -> Outcome {
    let stores = t.stores(2).await?;
    for life in [1_000, 40, 333] {
        let key = t.key()?;
        let record = t.until(stores[0].now().await?.saturating_add(Duration::from_millis(life)))?;
        stores[0].put(key, &record).await?;
        // A store whose time stands still must not keep the case from ending.
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(life) * 4 + Duration::from_secs(2) {
            let before = stores[1].now().await?;
            let found = stores[0].load(key).await?;
            let after = stores[1].now().await?;
            if before >= record.expires_at {
                let wanted = format!("None: by now(), {before}, the record is over");
                t.ensure(H5, found.is_none(), wanted, t.shown(found.as_ref()))?;
                break;
            }
            if after < record.expires_at {
                let wanted = format!("the record: by now(), {after}, it is live until {}", record.expires_at);
                t.ensure(H5, found.as_ref() == Some(&record), wanted, t.shown(found.as_ref()))?;
            }
            let left = record.expires_at.saturating_since(after);
            if left > Duration::from_millis(20) {
                tokio::time::sleep(left / 2).await;
            }
        }
        let over = stores[0].now().await? >= record.expires_at;
        let wanted = format!("now() has passed {}, which was {life} ms ahead", record.expires_at);
        t.ensure(H5, over, wanted, format!("it has not after {:?}", began.elapsed()))?;
    }
    Ok(())
}

async fn is_the_same_on_every_handle(t: &Test) -> Outcome {
    let stores = t.stores(3).await?;
    let mut last = (Timestamp::EPOCH, 0);
    for round in 0..30 {
        let at = round % stores.len();
        let now = stores[at].now().await?;
        let back = last.0.as_millis() - now.as_millis();
        let wanted = format!("not before the {} that handle {} told earlier", last.0, last.1 + 1);
        t.ensure(H5, back <= SLACK, wanted, format!("{now} on handle {}", at + 1))?;
        last = (now, at);
    }
    Ok(())
}

async fn goes_on_as_time_does(t: &Test) -> Outcome {
    let stores = t.stores(2).await?;
    for store in &stores {
        let (outer, first) = (Instant::now(), store.now().await?);
        let inner = Instant::now();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let least = i64::try_from(inner.elapsed().as_millis()).unwrap_or(i64::MAX) - SLACK;
        let passed = store.now().await?.as_millis() - first.as_millis();
        let most = i64::try_from(outer.elapsed().as_millis()).unwrap_or(i64::MAX) + SLACK;
        let wanted = format!("from {least} to {most} ms have passed by now()");
        t.ensure(H5, (least..=most).contains(&passed), wanted, format!("{passed} ms"))?;
    }
    Ok(())
}
