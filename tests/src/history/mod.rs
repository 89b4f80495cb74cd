//! Concurrent histories of a store, and whether they are linearizable (rule Y1).
//!
//! A [`Recorder`] runs operations on any handles of a storage and writes down when each was called and answered.
//! [`History::check`] then searches for an order, in keeping with those times, in which a map of sessions would
//! have given the same answers. An operation that ended in an error, or whose future was dropped, is *pending*: it
//! may have taken effect at any time after its call, or never. So the same check serves for tests in which servers
//! are killed, connections cut and primaries changed.
//!
//! A session stays under its key, so each key has a history of its own, and linearizability is local: the whole is
//! linearizable exactly when each of these is (Herlihy and Wing, 1990). Nothing is lost by looking at one key at a
//! time, and the search, which is exponential in the number of operations under way at once, becomes short. Of random
//! histories of 12 tasks with 50 operations each over 3 keys, 2,000 are checked in a second; searched as one, they
//! were 37. One history of 16 tasks over 8 keys took up to 6 seconds, and takes 0.6 ms. So the cases of Y1 have twice
//! the tasks at the same time, and tests of failovers may run many over many keys.
//!
//! Records in a history either expire far in the future, or are over before the history begins (a save of
//! [`Timestamp::EPOCH`](session_core::Timestamp::EPOCH) is a delete): no session ends by itself while it runs.

mod check;
mod record;
mod search;
mod violation;

pub use record::{Answer, Call, History, Operation, Recorder};
pub use violation::Violation;
