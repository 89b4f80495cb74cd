//! Notices a function of an update that uses its own session: on each run it would change what it is applied to.

use std::cell::RefCell;

use super::Session;
use crate::{Error, ErrorKind, Result};

/// How often the functions of updates run again because the session was changed meanwhile. More often than threads that
/// share a handle would meet; a function that has another thread change its session would run for ever.
pub(crate) const MOST_RUNS: u32 = 10_000;

thread_local! {
    /// The sessions whose updates run on this thread now, the innermost last, and whether one of their functions used the
    /// session. Of this thread alone: others may use the session meanwhile.
    static RUNNING: RefCell<Vec<(usize, bool)>> = const { RefCell::new(Vec::new()) };
}

/// Runs functions of the session's updates; an error if one of them used the session, whatever it made of that.
pub(crate) fn run<T>(session: &Session, functions: impl FnOnce() -> Result<T>) -> Result<T> {
    let running = Running::of(session);
    let result = functions();
    if running.was_used() { Err(used()) } else { result }
}

/// An error when the caller is a function of an update of this session.
pub(crate) fn check(session: &Session) -> Result<()> {
    let address = session.address();
    RUNNING.with_borrow_mut(|running| match running.iter_mut().rfind(|(running, _)| *running == address) {
        None => Ok(()),
        Some((_, used)) => {
            *used = true;
            Err(self::used())
        }
    })
}

struct Running;

impl Running {
    fn of(session: &Session) -> Self {
        RUNNING.with_borrow_mut(|running| running.push((session.address(), false)));
        Self
    }

    fn was_used(&self) -> bool {
        RUNNING.with_borrow(|running| running.last().is_some_and(|(_, used)| *used))
    }
}

/// Also when a function panics.
impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.with_borrow_mut(|running| running.pop());
    }
}

pub(crate) fn never_ends() -> Error {
    let message = format!("the session was changed {MOST_RUNS} times while functions of its updates ran");
    Error::new(ErrorKind::Contended, message)
}

fn used() -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        "the function of an update used its own session: it may use nothing but its argument",
    )
}
