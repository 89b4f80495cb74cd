//! Notices a function of an update that uses its own session: on each run it would change what it is applied to.

use std::cell::RefCell;

use super::Session;

thread_local! {
    /// The sessions whose updates run on this thread now, the innermost last.
    static RUNNING: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// While it lives, functions of this session's updates run on this thread.
pub(crate) struct Running(usize);

impl Running {
    pub(crate) fn of(session: &Session) -> Self {
        let address = session.address();
        RUNNING.with_borrow_mut(|running| running.push(address));
        Self(address)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.with_borrow_mut(|running| {
            if let Some(at) = running.iter().rposition(|address| *address == self.0) {
                running.remove(at);
            }
        });
    }
}

/// Whether the caller is a function of an update of this session.
pub(super) fn is_running(session: &Session) -> bool {
    RUNNING.with_borrow(|running| !running.is_empty() && running.contains(&session.address()))
}
