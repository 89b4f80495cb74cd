//! One session, and whether a history of its key could be its.

use std::collections::HashMap;

use session_core::{Created, Record, Revision, Saved, SessionKey, Timestamp, Touched};

use super::record::{Answer, Call, History, Operation};
use super::search::{Span, linearizable};
use super::violation::Violation;

/// The session: revision, and expiry, which a touch moves. The rest of a record goes with its revision.
type State = Option<(Revision, Timestamp)>;

impl History {
    /// Whether one map of sessions could have given these answers.
    ///
    /// # Errors
    /// A [`Violation`] with the fewest operations that were found to show that it could not.
    pub fn check(&self) -> Result<(), Violation> {
        match self.by_key().into_iter().find(|part| !part.is_linearizable()) {
            None => Ok(()),
            Some(part) => Err(Violation::new(part.shrunk())),
        }
    }

    /// The operations of each key: the whole is linearizable exactly when each of these is.
    fn by_key(&self) -> Vec<Self> {
        let (mut places, mut parts) = (HashMap::<SessionKey, usize>::new(), Vec::<Self>::new());
        for operation in &self.operations {
            let at = *places.entry(operation.call.key()).or_insert(parts.len());
            if at == parts.len() {
                parts.push(Self::default());
            }
            parts[at].operations.push(operation.clone());
        }
        parts
    }

    fn is_linearizable(&self) -> bool {
        let written: HashMap<Revision, &Record> = self
            .operations
            .iter()
            .filter_map(|operation| operation.call.record())
            .map(|record| (record.revision, record))
            .collect();
        // A pending load says nothing.
        let said = |operation: &&Operation| {
            operation.answer.is_some() || !matches!(operation.call, Call::Load { .. })
        };
        let operations: Vec<_> = self.operations.iter().filter(said).collect();
        let span = |operation: &&Operation| Span {
            called: operation.called,
            answered: operation.answer.as_ref().map(|(_, time)| *time),
        };
        let spans: Vec<_> = operations.iter().map(span).collect();
        linearizable(&spans, State::None, |state, at| {
            let operation = operations[at];
            let (next, answer) = step(*state, &operation.call);
            match &operation.answer {
                None => Some(next),
                Some((given, _)) => fits(&written, &answer, given).then_some(next),
            }
        })
    }

    /// The shortest beginning that is not linearizable, without operations that are not needed to show it.
    fn shrunk(&self) -> Self {
        let mut times: Vec<_> =
            self.operations.iter().filter_map(|operation| Some(operation.answer.as_ref()?.1)).collect();
        times.sort_unstable();
        // A beginning of a linearizable history is linearizable.
        let shortest = times.partition_point(|time| self.until(*time).is_linearizable());
        let mut shrunk = times.get(shortest).map_or_else(|| self.clone(), |time| self.until(*time));
        // To leave out what changed nothing makes no history worse; what is left shows the same fault.
        let mut at = 0;
        while at < shrunk.operations.len() {
            let operation = &shrunk.operations[at];
            if operation.answer.as_ref().is_some_and(|(answer, _)| answer.changed()) {
                at += 1;
                continue;
            }
            let mut fewer = shrunk.clone();
            fewer.operations.remove(at);
            if fewer.is_linearizable() { at += 1 } else { shrunk = fewer }
        }
        shrunk
    }

    /// What had been called and answered by a time.
    fn until(&self, time: usize) -> Self {
        let cut = |operation: &Operation| Operation {
            answer: operation.answer.clone().filter(|(_, answered)| *answered <= time),
            ..operation.clone()
        };
        let called = self.operations.iter().filter(|operation| operation.called <= time);
        Self { operations: called.map(cut).collect() }
    }
}

/// What the model answers.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// What a load gives, as far as the model knows it.
    Loaded(State),
    Other(Answer),
}

fn fits(written: &HashMap<Revision, &Record>, wanted: &Wanted, given: &Answer) -> bool {
    match (wanted, given) {
        (Wanted::Loaded(None), Answer::Loaded(None)) => true,
        (Wanted::Loaded(Some((revision, expires_at))), Answer::Loaded(Some(found))) => {
            let record =
                written.get(revision).map(|record| Record { expires_at: *expires_at, ..(*record).clone() });
            record.as_ref() == Some(found)
        }
        (Wanted::Other(wanted), given) => wanted == given,
        (Wanted::Loaded(_), _) => false,
    }
}

/// The rules of one operation on one session.
fn step(state: State, call: &Call) -> (State, Wanted) {
    let (next, answer) = match (call, state) {
        (Call::Load { .. }, _) => return (state, Wanted::Loaded(state)),
        (Call::Create { .. }, Some(_)) => (state, Answer::Created(Created::Occupied)),
        (Call::Create { record, .. }, None) => (stored(record), Answer::Created(Created::Stored)),
        (Call::Save { .. }, None) => (None, Answer::Saved(Saved::Missing)),
        (Call::Save { record, .. }, Some((revision, _))) if revision == record.revision => {
            (state, Answer::Saved(Saved::Stored))
        }
        (Call::Save { expected, .. }, Some((revision, _))) if revision != *expected => {
            (state, Answer::Saved(Saved::Conflict))
        }
        (Call::Save { record, .. }, Some(_)) => (stored(record), Answer::Saved(Saved::Stored)),
        (Call::Touch { .. }, None) => (None, Answer::Touched(Touched::Missing)),
        (Call::Touch { expected, .. }, Some((revision, _))) if revision != *expected => {
            (state, Answer::Touched(Touched::Conflict))
        }
        (Call::Touch { expires_at, .. }, Some((revision, current))) => {
            (Some((revision, current.max(*expires_at))), Answer::Touched(Touched::Stored))
        }
        (Call::Delete { .. }, _) => (None, Answer::Deleted(state.is_some())),
    };
    (next, Wanted::Other(answer))
}

/// A record that was over before the history began leaves nothing behind.
fn stored(record: &Record) -> State {
    (record.expires_at > Timestamp::EPOCH).then_some((record.revision, record.expires_at))
}
