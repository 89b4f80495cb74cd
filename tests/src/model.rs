//! Random sequences of operations against a model of a store (rule Y2).

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use session_core::{Created, Owner, Record, Revision, Saved, SessionKey, Timestamp, Touched};
use tokio::runtime::Handle;

use crate::Capability::{OwnerIndex, SelfExpiring};
use crate::Rule::Y2;
use crate::random::lengthened;
use crate::store::Store;
use crate::test::{Outcome, Test};

const KEYS: usize = 4;
const OWNERS: usize = 2;

/// An operation, before keys, owners and revisions of a run are put in.
#[derive(Clone, Debug)]
enum Step {
    Create { key: usize, new: New },
    Load { key: usize },
    Save { key: usize, expected: Expected, new: New },
    Touch { key: usize, expected: Expected, expires: Expires },
    Delete { key: usize },
    List { owner: Option<usize>, limit: usize },
    DeleteOwned { owner: usize, keep: Option<usize> },
    DeleteExpired { limit: usize },
}

#[derive(Clone, Debug)]
struct New {
    owner: Option<usize>,
    expires: Expires,
    size: usize,
}

/// Never near now: what is live does not change while a sequence runs.
#[derive(Clone, Copy, Debug)]
enum Expires {
    Past,
    /// In this many milliseconds after an hour.
    Later(u64),
}

#[derive(Clone, Copy, Debug)]
enum Expected {
    Current,
    /// That of the write before the last one, of whatever key.
    Old,
    /// A save once more, or a touch at the revision that it expected, as if the answer had been lost.
    Again,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || 0..KEYS;
    let owner = || prop_oneof![Just(None), (0..OWNERS).prop_map(Some)];
    let expires = || prop_oneof![1 => Just(Expires::Past), 5 => (0_u64..100_000).prop_map(Expires::Later)];
    let new =
        move || {
            (owner(), expires(), select(vec![0_usize, 1, 7, 300, 5_000]))
                .prop_map(|(owner, expires, size)| New { owner, expires, size })
        };
    let expected =
        || prop_oneof![6 => Just(Expected::Current), 2 => Just(Expected::Old), 1 => Just(Expected::Again)];
    let keep = prop_oneof![Just(None), key().prop_map(Some)];
    let step = prop_oneof![
        4 => (key(), new()).prop_map(|(key, new)| Step::Create { key, new }),
        2 => key().prop_map(|key| Step::Load { key }),
        4 => (key(), expected(), new()).prop_map(|(key, expected, new)| Step::Save { key, expected, new }),
        3 => (key(), expected(), expires())
            .prop_map(|(key, expected, expires)| Step::Touch { key, expected, expires }),
        2 => key().prop_map(|key| Step::Delete { key }),
        2 => (owner(), 1_usize..4).prop_map(|(owner, limit)| Step::List { owner, limit }),
        1 => (0..OWNERS, keep).prop_map(|(owner, keep)| Step::DeleteOwned { owner, keep }),
        1 => (0_usize..4).prop_map(|limit| Step::DeleteExpired { limit }),
    ];
    vec(step, 1..40)
}

/// Runs sequences until one disagrees, and then the shortest one that was found to.
pub(crate) fn check(t: &Test, store: &Store, seed: u64) -> Outcome {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let cases = u32::try_from(48 * lengthened()).unwrap_or(u32::MAX);
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 2_000,
        max_shrink_time: 20_000,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let run = |steps: &[Step]| {
        t.log().clear();
        Handle::current().block_on(Model::new(t, store)?.run(steps))
    };
    let outcome =
        runner.run(&steps(), |steps| run(&steps).map_err(|failure| TestCaseError::fail(failure.got)));
    match outcome {
        Ok(()) => Ok(()),
        Err(TestError::Fail(_, shortest)) => {
            let failure = run(&shortest).err();
            t.log().note(&format!("SESSION_SEED={seed} finds this sequence again"));
            let (wanted, got) = failure.map_or_else(
                || {
                    (
                        "the same answer each time".into(),
                        format!("a failure that comes and goes: {shortest:?}"),
                    )
                },
                |failure| (failure.wanted, failure.got),
            );
            t.ensure(Y2, false, wanted, got)
        }
        Err(TestError::Abort(reason)) => t.ensure(Y2, false, "a sequence that can be run", reason),
    }
}

/// A map of sessions, and the names that the numbers in the steps stand for.
struct Model<'a> {
    t: &'a Test,
    store: &'a Store,
    keys: Vec<SessionKey>,
    owners: Vec<Owner>,
    sessions: BTreeMap<SessionKey, Record>,
    /// Records that are over and that no sweep has taken yet.
    over: usize,
    /// The revisions written, and what was asked for last.
    revisions: Vec<Revision>,
    last: Option<(Revision, Record)>,
}

impl<'a> Model<'a> {
    fn new(t: &'a Test, store: &'a Store) -> Outcome<Self> {
        let keys = (0..KEYS).map(|_| t.key()).collect::<Outcome<_>>()?;
        let owners = (0..OWNERS).map(|_| t.owner("owner")).collect::<Outcome<_>>()?;
        let (sessions, revisions) = (BTreeMap::new(), vec![t.revision()?, t.revision()?]);
        Ok(Self { t, store, keys, owners, sessions, over: 0, revisions, last: None })
    }

    async fn run(mut self, steps: &[Step]) -> Outcome {
        // What earlier sequences left, so that counts begin at nothing.
        while self.store.delete_expired(1000).await? > 0 {}
        let mut outcome = Ok(());
        for step in steps {
            outcome = self.step(step).await;
            if outcome.is_err() {
                break;
            }
        }
        if outcome.is_ok() {
            for key in self.keys.clone() {
                let found = self.store.load(key).await?;
                self.agree(found, self.live(key).cloned())?;
            }
        }
        for key in &self.keys {
            self.store.delete(*key).await?;
        }
        outcome
    }

    fn live(&self, key: SessionKey) -> Option<&Record> {
        self.sessions.get(&key).filter(|record| record.expires_at > Timestamp::EPOCH)
    }

    fn agree<T: PartialEq + std::fmt::Debug>(&self, got: T, wanted: T) -> Outcome {
        self.t.want(Y2, got, wanted)
    }

    fn time(&self, expires: Expires) -> Timestamp {
        match expires {
            Expires::Past => Timestamp::EPOCH,
            Expires::Later(millis) => {
                Timestamp::now().saturating_add(Duration::from_millis(3_600_000 + millis))
            }
        }
    }

    fn record(&self, new: &New) -> Outcome<Record> {
        let owner = new.owner.map(|at| self.owners[at].clone());
        let payload = vec![b'x'; new.size].into();
        Ok(Record { owner, expires_at: self.time(new.expires), payload, ..self.t.record()? })
    }

    fn expected(&self, key: SessionKey, expected: Expected) -> Revision {
        let old = self.revisions[self.revisions.len() - 2];
        match (expected, &self.last) {
            (Expected::Again, Some((last, _))) => *last,
            (Expected::Current | Expected::Again, _) => {
                self.sessions.get(&key).map_or(old, |record| record.revision)
            }
            (Expected::Old, _) => old,
        }
    }

    /// The revision to expect and the record to write.
    fn chosen(&self, key: SessionKey, expected: Expected, new: &New) -> Outcome<(Revision, Record)> {
        let revision = self.expected(key, expected);
        match (expected, &self.last) {
            (Expected::Again, Some((_, record))) => Ok((revision, record.clone())),
            _ => Ok((revision, self.record(new)?)),
        }
    }

    async fn step(&mut self, step: &Step) -> Outcome {
        match step {
            Step::Create { key, new } => self.create(self.keys[*key], new).await,
            Step::Load { key } => {
                let key = self.keys[*key];
                self.agree(self.store.load(key).await?, self.live(key).cloned())
            }
            Step::Save { key, expected, new } => self.save(self.keys[*key], *expected, new).await,
            Step::Touch { key, expected, expires } => {
                self.touch(self.keys[*key], *expected, self.time(*expires)).await
            }
            Step::Delete { key } => {
                let key = self.keys[*key];
                let wanted = self.live(key).is_some();
                self.agree(self.store.delete(key).await?, wanted)?;
                self.forget(key);
                Ok(())
            }
            Step::List { owner, limit } => self.list(*owner, *limit).await,
            Step::DeleteOwned { owner, keep } => self.delete_owned(*owner, *keep).await,
            Step::DeleteExpired { limit } => self.delete_expired(*limit).await,
        }
    }

    async fn create(&mut self, key: SessionKey, new: &New) -> Outcome {
        let record = self.record(new)?;
        let wanted = if self.live(key).is_some() { Created::Occupied } else { Created::Stored };
        self.agree(self.store.create(key, &record).await?, wanted)?;
        if wanted == Created::Stored {
            self.put(key, record);
        }
        Ok(())
    }

    async fn save(&mut self, key: SessionKey, expected: Expected, new: &New) -> Outcome {
        let (expected, record) = self.chosen(key, expected, new)?;
        let (wanted, write) = match self.live(key).map(|found| found.revision) {
            None => (Saved::Missing, false),
            Some(revision) if revision == record.revision => (Saved::Stored, false),
            Some(revision) if revision != expected => (Saved::Conflict, false),
            Some(_) => (Saved::Stored, true),
        };
        self.agree(self.store.save(key, expected, &record).await?, wanted)?;
        self.last = Some((expected, record.clone()));
        if write {
            self.put(key, record);
        }
        Ok(())
    }

    async fn touch(&mut self, key: SessionKey, expected: Expected, expires_at: Timestamp) -> Outcome {
        let expected = self.expected(key, expected);
        let wanted = match self.live(key).map(|found| found.revision) {
            None => Touched::Missing,
            Some(revision) if revision != expected => Touched::Conflict,
            Some(_) => Touched::Stored,
        };
        self.agree(self.store.touch(key, expected, expires_at).await?, wanted)?;
        if let Some(record) = self.sessions.get_mut(&key).filter(|_| wanted == Touched::Stored) {
            record.expires_at = record.expires_at.max(expires_at);
        }
        Ok(())
    }

    async fn list(&self, owner: Option<usize>, limit: usize) -> Outcome {
        let owner = owner.map(|at| &self.owners[at]);
        if owner.is_some() && !self.t.has(OwnerIndex) {
            return Ok(());
        }
        let pages = self.store.pages(owner, limit).await?;
        let short = pages.iter().all(|page| page.len() <= limit);
        self.t.ensure(Y2, short, format!("at most {limit} sessions a page"), "a page with more")?;
        // The namespace may be shared with what other cases left; these keys are this sequence's own.
        let mut listed: Vec<_> =
            pages.into_iter().flatten().filter(|(key, _)| self.keys.contains(key)).collect();
        listed.sort_by_key(|(key, _)| *key);
        let wanted: Vec<_> = self
            .sessions
            .iter()
            .filter(|(key, record)| {
                self.live(**key).is_some() && (owner.is_none() || owner == record.owner.as_ref())
            })
            .map(|(key, record)| (*key, record.clone()))
            .collect();
        self.agree(listed, wanted)
    }

    async fn delete_owned(&mut self, owner: usize, keep: Option<usize>) -> Outcome {
        if !self.t.has(OwnerIndex) {
            return Ok(());
        }
        let (owner, keep) = (&self.owners[owner], keep.map(|at| self.keys[at]));
        let ended: Vec<_> = self
            .sessions
            .iter()
            .filter(|(key, record)| record.owner.as_ref() == Some(owner) && keep != Some(**key))
            .filter(|(key, _)| self.live(**key).is_some())
            .map(|(key, _)| *key)
            .collect();
        self.agree(self.store.delete_owned(owner, keep).await?, ended.len() as u64)?;
        for key in ended {
            self.sessions.remove(&key);
        }
        // Whether it took expired records along is the store's own business: count anew from nothing.
        while self.store.delete_expired(1000).await? > 0 {}
        self.sessions.retain(|_, record| record.expires_at > Timestamp::EPOCH);
        self.over = 0;
        Ok(())
    }

    async fn delete_expired(&mut self, limit: usize) -> Outcome {
        let removed = self.store.delete_expired(limit).await?;
        if self.t.has(SelfExpiring) {
            return self.agree(removed, 0);
        }
        // A store may clear an expired record away when it comes across it, so there may be fewer.
        let most = u64::try_from(self.over.min(limit)).unwrap_or(u64::MAX);
        self.t.ensure(Y2, removed <= most, format!("at most {most}"), removed)?;
        self.over -= usize::try_from(removed).unwrap_or(0);
        Ok(())
    }

    fn put(&mut self, key: SessionKey, record: Record) {
        self.forget(key);
        self.revisions.push(record.revision);
        self.over += usize::from(record.expires_at <= Timestamp::EPOCH);
        self.sessions.insert(key, record);
    }

    fn forget(&mut self, key: SessionKey) {
        // An expired record may stay for the sweep or not, so it keeps its place in the upper bound.
        self.sessions.remove(&key);
    }
}
