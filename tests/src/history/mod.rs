//! Concurrent histories of a store, and whether they are linearizable (rule Y1).
//!
//! A [`Recorder`] runs operations on any handles of a storage and writes down when each was called and answered.
//! [`History::check`] then searches for an order, in keeping with those times, in which one map of sessions would
//! have given the same answers. An operation that ended in an error, or whose future was dropped, is *pending*: it
//! may have taken effect at any time after its call, or never. So the same check serves for tests in which servers
//! are killed, connections cut and primaries changed.
//!
//! Records in a history either expire far in the future, or are over before the history begins (a save of
//! [`Timestamp::EPOCH`](session_core::Timestamp::EPOCH) is a delete): no session ends by itself while it runs.

mod check;
mod record;
mod search;
mod violation;

pub use record::{Answer, Call, History, Operation, Recorder};
pub use violation::Violation;
