//! Locks between tasks and between processes.
//!
//! The lock of a shard is the `flock` of its directory: the kernel releases it when its process dies, it cannot be
//! separated from what it guards, and no file can be deleted from under it. A mutex in front of it keeps the tasks
//! of one handle in a queue instead of asking the kernel again and again.
//!
//! An operation holds the lock of one shard at a time, so waiting cannot go round in a circle.

use std::fs::{File, TryLockError};
use std::io;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rustix::io::Errno;
use session_core::Result;

use crate::dir::Root;
use crate::error::{self, Doing as _};
use crate::layout;

const SHARDS: usize = 256;

/// The queues of one handle.
#[derive(Debug)]
pub(crate) struct Queues(Box<[Mutex<()>]>);

impl Queues {
    pub(crate) fn new() -> Self {
        Self((0..SHARDS).map(|_| Mutex::new(())).collect())
    }

    /// Waits for the lock of a shard. Its directory is made if it is missing.
    pub(crate) fn lock(&self, root: &Root, number: u8, sync: bool, deadline: Instant) -> Result<Shard<'_>> {
        let queue = self.0[usize::from(number)].try_lock_until(deadline);
        let queue = queue.ok_or_else(error::locked_too_long)?;
        let path = layout::shard_dir(number);
        loop {
            let dir = match root.open_dir(&path) {
                Err(Errno::NOENT) if !root.exists(layout::FORMAT).doing("look for the store")? => {
                    return Err(not_a_store());
                }
                Err(Errno::NOENT) => root.make_dir(&path, sync).doing("make a directory")?,
                other => other.doing("open a directory")?,
            };
            let dir = File::from(dir);
            wait_for(&dir, deadline)?;
            // The directory may have been removed while this waited: then the lock guards nothing.
            if rustix::fs::fstat(&dir).doing("look at a directory")?.st_nlink > 0 {
                return Ok(Shard { number, dir, _queue: queue });
            }
        }
    }
}

/// A locked shard.
#[derive(Debug)]
pub(crate) struct Shard<'a> {
    pub(crate) number: u8,
    /// Closing it releases the lock.
    pub(crate) dir: File,
    _queue: MutexGuard<'a, ()>,
}

/// The kernel's wait for a lock has no end, so this asks at growing intervals.
pub(crate) fn wait_for(dir: &File, deadline: Instant) -> Result<()> {
    const SHORTEST: Duration = Duration::from_micros(20);
    const LONGEST: Duration = Duration::from_millis(1);
    let mut pause = SHORTEST;
    loop {
        match dir.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                return Err(error::locked_too_long());
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(pause),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(TryLockError::Error(error)) => return Err(error).doing("lock a directory"),
        }
        pause = (pause * 2).min(LONGEST);
    }
}

pub(crate) fn not_a_store() -> session_core::Error {
    session_core::Error::new(
        session_core::ErrorKind::Unavailable,
        "the directory holds no session store: mount it or put it back, or call prepare to begin an empty one",
    )
}
