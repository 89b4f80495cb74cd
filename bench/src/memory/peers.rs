//! tower-sessions' store in memory, and the one on moka, which is for an older tower-sessions.

use std::sync::RwLock;

use crate::operation::Operation;
use crate::rounds::Contender;
use crate::sample;
use crate::tower::{of_before, of_today};

pub(crate) fn memory_store(operation: Operation, sessions: u64) -> impl Contender {
    of_today::Tower {
        name: "tower-sessions memory",
        operation,
        sessions,
        data: sample::session_of_1_kb(),
        open: || Ok((tower_sessions::MemoryStore::default(), ())),
        filled: RwLock::default(),
    }
}

pub(crate) fn moka_store(operation: Operation, sessions: u64) -> impl Contender {
    of_before::Tower {
        name: "tower-sessions moka",
        operation,
        sessions,
        data: sample::session_of_1_kb(),
        open: || Ok((tower_sessions_moka_store::MokaStore::new(None), ())),
        filled: RwLock::default(),
    }
}
