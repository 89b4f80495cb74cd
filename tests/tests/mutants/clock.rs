//! The time, told wrongly: H5.

use crate::prelude::*;

pub(crate) fn mutants() -> Vec<Caught> {
    vec![
        caught::<NowIsAhead>(),
        caught::<NowIsBehind>(),
        caught::<NowIsAnotherTimeZones>(),
        caught::<NowCountsSeconds>(),
        caught::<NowIsRoundedUp>(),
        caught::<NowStandsStill>(),
        caught::<NowIsTheHandlesOwn>(),
        caught::<NowIsOfAFarNode>(),
        caught::<NowRunsTwiceAsFast>(),
        caught::<LoadAsksAnotherClock>(),
    ]
}

/// Tells the time as something else.
async fn now_as(at: &Reference, change: impl FnOnce(i64) -> i64) -> Result<Timestamp> {
    Ok(millis(at.now().await?, change))
}

mutant! { H5 NowIsAhead; now(self, at) { now_as(at, |ms| ms + 250).await }}

mutant! { H5 NowIsBehind; now(self, at) { now_as(at, |ms| ms - 250).await }}

mutant! { H5 NowIsAnotherTimeZones; now(self, at) { now_as(at, |ms| ms + 3_600_000).await }}

mutant! { H5 NowCountsSeconds; now(self, at) { now_as(at, |ms| ms / 1000 * 1000).await }}

mutant! { H5 NowIsRoundedUp; now(self, at) { now_as(at, |ms| (ms + 999) / 1000 * 1000).await }}

mutant! { H5 NowStandsStill(Mutex<Option<Timestamp>>); now(self, at) {
    // What the handle was told once.
    let now = at.now().await?;
    Ok(*self.0.lock().unwrap().get_or_insert(now))
}}

mutant! { H5 NowIsTheHandlesOwn(Mutex<i64>);
    opened(self, at) { *self.0.lock().unwrap() = i64::try_from(at.0.count.fetch_add(1, SeqCst)).unwrap() * 700; }
    now(self, at) {
        let ahead = *self.0.lock().unwrap();
        now_as(at, |ms| ms + ahead).await
    }
}

mutant! { H5 NowIsOfAFarNode; now(self, at) {
    // One of several servers, whichever comes next, and one of them is ahead.
    let ahead = if at.0.count.fetch_add(1, SeqCst).is_multiple_of(3) { 400 } else { 0 };
    now_as(at, |ms| ms + ahead).await
}}

mutant! { H5 NowRunsTwiceAsFast(Mutex<Option<i64>>); now(self, at) {
    let now = at.now().await?;
    let first = *self.0.lock().unwrap().get_or_insert(now.as_millis());
    Ok(millis(now, |ms| ms + (ms - first)))
}}

mutant! { H5 LoadAsksAnotherClock; load(self, at, key) {
    // The client's, which is behind; `now` asks the server's.
    let there = at.lock().get(&key).cloned();
    let behind = |found: &Record| millis(found.expires_at, |ms| ms.saturating_add(300)) > Timestamp::now();
    Ok(at.load(key).await?.or(there.filter(behind)))
}}
