//! Random histories: Y1 by many tasks at once, Y2 one operation after the other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use session_core::{Record, Revision, SessionKey, Timestamp};

use crate::Rule::{Y1, Y2};
use crate::case::{Entry, case};
use crate::history::{Answer, Call, Recorder};
use crate::model;
use crate::race::{Work, all};
use crate::random::{Random, lengthened, seed};
use crate::test::{Outcome, Test};

pub(super) const CASES: &[Entry] = &[
    case!(histories::of_many_tasks_are_linearizable: Y1),
    case!(histories::of_many_tasks_on_one_key_are_linearizable: Y1),
    case!(histories::with_callers_that_go_away_are_linearizable: Y1),
    case!(histories::agree_with_a_model: Y2),
];

async fn of_many_tasks_are_linearizable(t: &Test) -> Outcome {
    linearizable(t, &Plan { rounds: 12, keys: 3, tasks: 8, operations: 16, impatient: false }).await
}

async fn of_many_tasks_on_one_key_are_linearizable(t: &Test) -> Outcome {
    linearizable(t, &Plan { rounds: 12, keys: 1, tasks: 6, operations: 16, impatient: false }).await
}

async fn with_callers_that_go_away_are_linearizable(t: &Test) -> Outcome {
    linearizable(t, &Plan { rounds: 8, keys: 3, tasks: 8, operations: 12, impatient: true }).await
}

struct Plan {
    rounds: u64,
    keys: usize,
    tasks: usize,
    operations: usize,
    /// Whether some operations are given up on.
    impatient: bool,
}

async fn linearizable(t: &Test, plan: &Plan) -> Outcome {
    let seed = seed().map_err(|error| t.log().failure(Y1, "a random seed", error))?;
    let mut random = Random::new(seed);
    let stores = t.raw_stores(2).await?;
    for _ in 0..plan.rounds * lengthened() {
        let mut keys = Vec::new();
        for _ in 0..plan.keys {
            keys.push(t.key()?);
        }
        let recorder = Recorder::new();
        let board = Arc::new(Board::default());
        let mut work: Vec<Work> = Vec::new();
        for task in 0..plan.tasks {
            let store = Arc::clone(&stores[task % stores.len()]);
            let (recorder, board, keys) = (recorder.clone(), Arc::clone(&board), keys.clone());
            let mut chooser =
                Chooser { random: Random::new(random.next()), keys, template: t.record()?, board };
            let (operations, impatient, log) = (plan.operations, plan.impatient, t.log());
            work.push(Box::pin(async move {
                for _ in 0..operations {
                    let call = chooser.call();
                    let run = recorder.run(task, &*store, call.clone());
                    let answer = if impatient && chooser.random.below(4) == 0 {
                        let patience = [0, 3, 20, 60, 150, 400][chooser.random.below(6)];
                        tokio::time::timeout(Duration::from_micros(patience), run).await
                    } else {
                        Ok(run.await)
                    };
                    match answer {
                        Ok(Ok(answer)) => chooser.board.learn(&call, &answer),
                        Ok(Err(error)) => {
                            let got = format!("{error} (SESSION_SEED={seed})");
                            return Err(log.failure(Y1, "an answer", got));
                        }
                        Err(_) => {}
                    }
                    if chooser.random.below(3) == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                Ok(())
            }));
        }
        all(work).await?;
        // The search may take a moment of its own: not on a thread that serves others.
        let checked = tokio::task::block_in_place(|| recorder.history().check());
        if let Err(violation) = checked {
            t.log().note(&format!(
                "random operations by {} tasks over {} keys; SESSION_SEED={seed} chooses the same again",
                plan.tasks, plan.keys
            ));
            let wanted = "answers that the operations could have given one after the other";
            return t.ensure(Y1, false, wanted, violation);
        }
    }
    Ok(())
}

/// The revisions that the tasks have seen, so that compare-and-set has a chance to succeed.
#[derive(Default)]
struct Board(Mutex<HashMap<SessionKey, Vec<Revision>>>);

impl Board {
    fn learn(&self, call: &Call, answer: &Answer) {
        let seen = match (call, answer) {
            (Call::Load { key }, Answer::Loaded(Some(record))) => Some((*key, record.revision)),
            (Call::Create { key, record }, answer) | (Call::Save { key, record, .. }, answer)
                if answer.changed() =>
            {
                Some((*key, record.revision))
            }
            _ => None,
        };
        if let Some((key, revision)) = seen {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().push(revision);
        }
    }

    /// Mostly the newest one that was seen, sometimes an older one.
    fn revision(&self, key: SessionKey, random: &mut Random) -> Option<Revision> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = seen.get(&key)?;
        if random.below(5) == 0 { seen.get(random.below(seen.len())).copied() } else { seen.last().copied() }
    }
}

struct Chooser {
    random: Random,
    keys: Vec<SessionKey>,
    template: Record,
    board: Arc<Board>,
}

impl Chooser {
    fn record(&mut self) -> Record {
        let bits = self.random.next();
        let ahead = Duration::from_secs(bits % 1000);
        let expires_at = match bits % 9 {
            0 => Timestamp::EPOCH,
            _ => self.template.expires_at.saturating_add(ahead),
        };
        Record {
            revision: Revision::from_u64(self.random.next()),
            expires_at,
            payload: bits.to_le_bytes().into(),
            ..self.template.clone()
        }
    }

    fn call(&mut self) -> Call {
        let key = self.keys[self.random.below(self.keys.len())];
        let expected = self.board.revision(key, &mut self.random).unwrap_or(Revision::from_u64(0));
        let record = self.record();
        match self.random.below(100) {
            0..15 => Call::Create { key, record },
            15..45 => Call::Load { key },
            45..77 => Call::Save { key, expected, record },
            77..91 => {
                let ahead = Duration::from_secs(self.random.next() % 2000);
                Call::Touch { key, expected, expires_at: self.template.expires_at.saturating_add(ahead) }
            }
            _ => Call::Delete { key },
        }
    }
}

async fn agree_with_a_model(t: &Test) -> Outcome {
    let seed = seed().map_err(|error| t.log().failure(Y2, "a random seed", error))?;
    let store = t.store().await?;
    tokio::task::block_in_place(|| model::check(t, &store, seed))
}
