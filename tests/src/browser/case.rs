//! The model on a backend: a case of the suite.

use std::time::{Duration, Instant};

use super::Browser;
use crate::Capability::OwnerIndex;
use crate::Rule::I9;
use crate::case::{Entry, case};
use crate::random::{lengthened, seed};
use crate::test::{Outcome, Test};

pub(crate) const CASES: &[Entry] =
    &[case!(browser::always_has_the_right_session_and_never_one_that_ended: I9)];

/// As many runs as there is time for, and no more: a quick store has them all in a moment.
const RUNS: u64 = 300;
const TIME: Duration = Duration::from_secs(8);

async fn always_has_the_right_session_and_never_one_that_ended(t: &Test) -> Outcome {
    let mut browser = Browser::on_storage(t.raw_stores(2).await?);
    if !t.has(OwnerIndex) {
        browser = browser.without_owner_index();
    }
    let first = t.did("a random seed", seed())?;
    let begun = Instant::now();
    for seed in (0..RUNS * lengthened()).map(|run| first.wrapping_add(run)) {
        if begun.elapsed() > TIME * u32::try_from(lengthened()).unwrap_or(u32::MAX) {
            break;
        }
        if let Err(found) = t.did("the store, outside of any request", browser.run(seed).await)? {
            t.log().clear();
            found.story.iter().for_each(|line| t.log().note(line));
            t.log().note(&format!("SESSION_SEED={seed} finds this again: {:?}", found.schedule));
            return Err(t.log().failure(found.violation.rule, I9.text(), found.violation.what));
        }
    }
    Ok(())
}
