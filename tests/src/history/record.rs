//! What was called, what was answered, and when.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use session_core::{Created, Record, Result, Revision, Saved, SessionKey, SessionStore, Timestamp, Touched};

/// An operation to run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are the arguments of the method of the same name
#[non_exhaustive]
pub enum Call {
    /// [`SessionStore::create`].
    Create { key: SessionKey, record: Record },
    /// [`SessionStore::load`].
    Load { key: SessionKey },
    /// [`SessionStore::save`].
    Save { key: SessionKey, expected: Revision, record: Record },
    /// [`SessionStore::touch`].
    Touch { key: SessionKey, expected: Revision, expires_at: Timestamp },
    /// [`SessionStore::delete`].
    Delete { key: SessionKey },
}

impl Call {
    /// The key that the operation is about.
    pub(super) fn key(&self) -> SessionKey {
        match self {
            Self::Create { key, .. }
            | Self::Load { key }
            | Self::Save { key, .. }
            | Self::Touch { key, .. }
            | Self::Delete { key } => *key,
        }
    }

    /// The record that the operation would write.
    pub(super) fn record(&self) -> Option<&Record> {
        match self {
            Self::Create { record, .. } | Self::Save { record, .. } => Some(record),
            Self::Load { .. } | Self::Touch { .. } | Self::Delete { .. } => None,
        }
    }
}

/// What the store answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// Of [`Call::Create`].
    Created(Created),
    /// Of [`Call::Load`].
    Loaded(Option<Record>),
    /// Of [`Call::Save`].
    Saved(Saved),
    /// Of [`Call::Touch`].
    Touched(Touched),
    /// Of [`Call::Delete`].
    Deleted(bool),
}

impl Answer {
    /// Whether an operation with this answer changed anything.
    pub(crate) fn changed(&self) -> bool {
        matches!(
            self,
            Self::Created(Created::Stored)
                | Self::Saved(Saved::Stored)
                | Self::Touched(Touched::Stored)
                | Self::Deleted(true)
        )
    }
}

/// An operation of a history. Times count calls and answers; they are not durations.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Operation {
    /// Who called: any number.
    pub task: usize,
    /// What was called.
    pub call: Call,
    /// When it was called.
    pub called: usize,
    /// What the store answered and when; `None` while pending, and for ever after an error.
    pub answer: Option<(Answer, usize)>,
}

/// Operations of any number of tasks and handles, in the order of their calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    pub(super) operations: Vec<Operation>,
}

impl History {
    /// The operations, in the order of their calls.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }
}

/// Runs operations and writes them down. Clones write into the same history.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<Written>>);

#[derive(Debug, Default)]
struct Written {
    now: usize,
    history: History,
}

impl Written {
    fn tick(&mut self) -> usize {
        self.now += 1;
        self.now
    }
}

impl Recorder {
    /// A recorder of an empty history. The store must not hold any of the keys that the history is about.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one operation for `task` on a handle.
    ///
    /// # Errors
    /// The store's error. The operation is then pending: it may or may not have taken effect.
    ///
    /// # Cancellation
    /// An operation whose future is dropped is pending, too.
    pub async fn run(&self, task: usize, store: &dyn SessionStore, call: Call) -> Result<Answer> {
        let at = {
            let mut written = self.lock();
            let called = written.tick();
            written.history.operations.push(Operation { task, call: call.clone(), called, answer: None });
            written.history.operations.len() - 1
        };
        let answer = answer(store, &call).await?;
        let mut written = self.lock();
        let now = written.tick();
        if let Some(operation) = written.history.operations.get_mut(at) {
            operation.answer = Some((answer.clone(), now));
        }
        Ok(answer)
    }

    /// The history so far.
    #[must_use]
    pub fn history(&self) -> History {
        self.lock().history.clone()
    }
}

async fn answer(store: &dyn SessionStore, call: &Call) -> Result<Answer> {
    Ok(match call {
        Call::Create { key, record } => Answer::Created(store.create(*key, record).await?),
        Call::Load { key } => Answer::Loaded(store.load(*key).await?),
        Call::Save { key, expected, record } => Answer::Saved(store.save(*key, *expected, record).await?),
        Call::Touch { key, expected, expires_at } => {
            Answer::Touched(store.touch(*key, *expected, *expires_at).await?)
        }
        Call::Delete { key } => Answer::Deleted(store.delete(*key).await?),
    })
}
