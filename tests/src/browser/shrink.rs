//! Makes a schedule that fails as short as possible.

use std::time::{Duration, Instant};

use session_core::Result;

use super::schedule::{Renewal, Setting, Step};
use super::{Browser, Found, Violation};

/// How many schedules are tried, and for how long: a case has to end.
const MOST: u32 = 3_000;
const TIME: Duration = Duration::from_secs(10);

impl Browser {
    /// The shortest schedule found that breaks the same rule.
    pub(super) async fn shrink(
        &self,
        seed: u64,
        setting: Setting,
        schedule: Vec<Step>,
        violation: Violation,
    ) -> Result<Found> {
        let mut best = Best { browser: self, setting, schedule, violation, tries: 0, begun: Instant::now() };
        loop {
            let before = (best.setting, best.schedule.clone());
            best.remove_steps().await?;
            best.simplify().await?;
            if (best.setting, &best.schedule) == (before.0, &before.1) || best.is_over() {
                break;
            }
        }
        let story = self.play(best.setting, &best.schedule).await?.story;
        let Best { setting, schedule, violation, .. } = best;
        Ok(Found { seed, setting, schedule, violation, story })
    }
}

struct Best<'b> {
    browser: &'b Browser,
    setting: Setting,
    schedule: Vec<Step>,
    violation: Violation,
    tries: u32,
    begun: Instant,
}

impl Best<'_> {
    fn is_over(&self) -> bool {
        self.tries >= MOST || self.begun.elapsed() > TIME
    }

    /// Takes a schedule if it breaks the same rule.
    async fn consider(&mut self, setting: Setting, schedule: Vec<Step>) -> Result<bool> {
        if self.is_over() {
            return Ok(false);
        }
        self.tries += 1;
        match self.browser.replay(setting, &schedule, false).await?.violation {
            Some(violation) if violation.rule == self.violation.rule => {
                (self.setting, self.schedule, self.violation) = (setting, schedule, violation);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    async fn remove_steps(&mut self) -> Result<()> {
        let mut length = self.schedule.len() / 2;
        while length > 0 {
            let mut at = 0;
            while at < self.schedule.len() {
                let mut shorter = self.schedule.clone();
                shorter.drain(at..(at + length).min(self.schedule.len()));
                if !self.consider(self.setting, shorter).await? {
                    at += length;
                }
            }
            length /= 2;
        }
        Ok(())
    }

    async fn simplify(&mut self) -> Result<()> {
        for simpler in
            [Setting { limit: None, ..self.setting }, Setting { renewal: Renewal::Never, ..self.setting }]
        {
            if simpler != self.setting {
                self.consider(simpler, self.schedule.clone()).await?;
            }
        }
        for at in 0..self.schedule.len() {
            while let Some(step) = self.schedule[at].simpler() {
                let mut simpler = self.schedule.clone();
                simpler[at] = step;
                if !self.consider(self.setting, simpler).await? {
                    break;
                }
            }
        }
        Ok(())
    }
}
