//! One map of sessions, and whether a history could be its.

use std::collections::{BTreeMap, HashMap};

use session_core::{Created, Record, Renamed, Revision, Saved, SessionKey, Timestamp};

use super::record::{Answer, Call, History, Operation};
use super::search::{Span, linearizable};
use super::violation::Violation;

/// The sessions, by key: revision, and expiry, which a touch moves. The rest of a record goes with its revision.
type State = BTreeMap<SessionKey, (Revision, Timestamp)>;

impl History {
    /// Whether one map of sessions could have given these answers.
    ///
    /// # Errors
    /// A [`Violation`] with the fewest operations that were found to show that it could not.
    pub fn check(&self) -> Result<(), Violation> {
        // Keys that no rename connects have nothing to do with each other.
        match self.parts().into_iter().find(|part| !part.is_linearizable()) {
            None => Ok(()),
            Some(part) => Err(Violation::new(part.shrunk())),
        }
    }

    fn parts(&self) -> Vec<Self> {
        let mut groups: Vec<Vec<SessionKey>> = Vec::new();
        for operation in &self.operations {
            let mut joined: Vec<_> = operation.call.keys().collect();
            groups.retain_mut(|group| {
                let apart = !group.iter().any(|key| joined.contains(key));
                if !apart {
                    joined.append(group);
                }
                apart
            });
            groups.push(joined);
        }
        let part = |group: Vec<SessionKey>| {
            let of_group = |operation: &&Operation| operation.call.keys().any(|key| group.contains(&key));
            Self { operations: self.operations.iter().filter(of_group).cloned().collect() }
        };
        groups.into_iter().map(part).collect()
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
        linearizable(&spans, State::new(), |state, at| {
            let operation = operations[at];
            let (next, answer) = step(state, &operation.call);
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

/// What a load would give, as far as the model knows it.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Loaded(Option<(Revision, Timestamp)>),
    /// A rename that changes nothing for two reasons, one being that the new key is taken: either is an answer.
    OrOccupied(Renamed),
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
        (Wanted::OrOccupied(wanted), Answer::Renamed(given)) => {
            given == wanted || *given == Renamed::Occupied
        }
        (Wanted::Loaded(_) | Wanted::OrOccupied(_), _) => false,
    }
}

/// The rules of one operation on one map.
fn step(state: &State, call: &Call) -> (State, Wanted) {
    let mut next = state.clone();
    let answer = match call {
        Call::Load { key } => return (next, Wanted::Loaded(state.get(key).copied())),
        Call::Create { key, record } => Answer::Created(if state.contains_key(key) {
            Created::Occupied
        } else {
            put(&mut next, *key, record);
            Created::Stored
        }),
        Call::Save { key, expected, record } => Answer::Saved(match state.get(key) {
            None => Saved::Missing,
            Some((revision, _)) if *revision == record.revision => Saved::Stored,
            Some((revision, _)) if revision != expected => Saved::Conflict,
            Some(_) => {
                put(&mut next, *key, record);
                Saved::Stored
            }
        }),
        Call::Rename { from, expected, to, record } => {
            Answer::Renamed(match (state.get(from), state.get(to)) {
                (None, Some((revision, _))) if *revision == record.revision => Renamed::Stored,
                (None, Some(_)) => return (next, Wanted::OrOccupied(Renamed::Missing)),
                (None, None) => Renamed::Missing,
                (Some((revision, _)), Some(_)) if revision != expected => {
                    return (next, Wanted::OrOccupied(Renamed::Conflict));
                }
                (Some((revision, _)), None) if revision != expected => Renamed::Conflict,
                (Some(_), Some(_)) => Renamed::Occupied,
                (Some(_), None) => {
                    next.remove(from);
                    put(&mut next, *to, record);
                    Renamed::Stored
                }
            })
        }
        Call::Touch { key, expires_at } => Answer::Touched(match next.get_mut(key) {
            None => false,
            Some((_, current)) => {
                *current = (*expires_at).max(*current);
                true
            }
        }),
        Call::Delete { key } => Answer::Deleted(next.remove(key).is_some()),
    };
    (next, Wanted::Other(answer))
}

/// A record that was over before the history began leaves nothing behind.
fn put(state: &mut State, key: SessionKey, record: &Record) {
    if record.expires_at <= Timestamp::EPOCH {
        state.remove(&key);
    } else {
        state.insert(key, (record.revision, record.expires_at));
    }
}
