//! What is measured of a store, and which sessions a task may write.

use session_core::SessionKey;

use crate::rounds::Job;
use crate::sample::key;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Load,
    Save,
    /// What a request does: a save right after a load.
    LoadAndSave,
    Create,
    /// What a sign-in does: a save where the id lies beside the key, a move where it is the key.
    ChangeId,
    Touch,
}

/// Keys that no other task and no stored session has.
pub(crate) fn fresh(job: Job, n: usize) -> SessionKey {
    key(1 << 40 | (job.task as u64) << 32 | n as u64)
}

/// The stored sessions that only this task writes, by number.
pub(crate) fn share(job: Job, sessions: u64) -> impl Iterator<Item = u64> {
    (job.task as u64..sessions).step_by(job.tasks)
}
