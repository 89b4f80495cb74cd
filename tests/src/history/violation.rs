//! A history that no store in good order gives, for people to read.

use std::collections::HashMap;
use std::fmt;

use session_core::{Record, Revision, SessionKey, Timestamp};

use super::record::{Answer, Call, History};

/// Operations whose answers no order explains.
#[derive(Clone, Debug)]
pub struct Violation(History);

impl Violation {
    pub(super) fn new(history: History) -> Self {
        Self(history)
    }

    /// The operations, as few as were found to show the fault.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.0
    }
}

impl std::error::Error for Violation {}

/// A line for each operation in the order of calls, with the times of call and answer: those of two operations
/// overlap when they ran at the same time.
impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no order of these operations explains their answers (task, time of call..answer):")?;
        let mut names = Names::default();
        for operation in self.0.operations() {
            let answered = operation.answer.as_ref().map(|(_, time)| time.to_string());
            let answered = answered.unwrap_or_else(|| "?".to_owned());
            let call = names.call(&operation.call);
            let answer = match &operation.answer {
                None => "no answer by then: took effect or not".to_owned(),
                Some((answer, _)) => names.answer(answer),
            };
            write!(
                f,
                "\n  task {} {:>4}..{answered:<4} {call} -> {answer}",
                operation.task, operation.called
            )?;
        }
        Ok(())
    }
}

/// Short names, in the order of appearance.
#[derive(Default)]
struct Names {
    keys: HashMap<SessionKey, usize>,
    revisions: HashMap<Revision, usize>,
}

impl Names {
    fn key(&mut self, key: SessionKey) -> String {
        let next = self.keys.len();
        match *self.keys.entry(key).or_insert(next) {
            at @ 0..26 => char::from(b'A' + u8::try_from(at).unwrap_or(0)).to_string(),
            at => format!("K{at}"),
        }
    }

    fn revision(&mut self, revision: Revision) -> String {
        let next = self.revisions.len() + 1;
        format!("r{}", self.revisions.entry(revision).or_insert(next))
    }

    fn record(&mut self, record: &Record) -> String {
        let revision = self.revision(record.revision);
        if record.expires_at <= Timestamp::EPOCH {
            format!("{revision}, already over")
        } else {
            format!("{revision} until {}", record.expires_at)
        }
    }

    fn call(&mut self, call: &Call) -> String {
        match call {
            Call::Create { key, record } => format!("create({}, {})", self.key(*key), self.record(record)),
            Call::Load { key } => format!("load({})", self.key(*key)),
            Call::Save { key, expected, record } => {
                let (key, expected) = (self.key(*key), self.revision(*expected));
                format!("save({key}, expected {expected}, {})", self.record(record))
            }
            Call::Touch { key, expected, expires_at } => {
                let (key, expected) = (self.key(*key), self.revision(*expected));
                format!("touch({key}, expected {expected}, until {expires_at})")
            }
            Call::Delete { key } => format!("delete({})", self.key(*key)),
        }
    }

    fn answer(&mut self, answer: &Answer) -> String {
        match answer {
            Answer::Created(created) => format!("{created:?}"),
            Answer::Loaded(None) => "None".to_owned(),
            Answer::Loaded(Some(record)) => self.record(record),
            Answer::Saved(saved) => format!("{saved:?}"),
            Answer::Touched(touched) => format!("{touched:?}"),
            Answer::Deleted(answer) => answer.to_string(),
        }
    }
}
