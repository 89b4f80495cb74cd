//! The model of a browser (rule I9): random interleavings in memory, the exceptions one by one, and mutants.

#![allow(clippy::unwrap_used, clippy::panic, reason = "clippy does not take the helpers of a test for tests")]

mod exceptions;
mod mutants;
mod runs;
mod wrong;

use std::future::Future;
use std::sync::Arc;

use session_conformance::browser::Browser;
use session_memory::{MemoryConfig, MemoryStore};

/// The model on the memory store.
pub(crate) fn in_memory() -> Browser {
    Browser::with_new_stores(|clock| Arc::new(MemoryStore::new(MemoryConfig::default().with_clock(clock))))
}

/// Runs in a runtime whose time passes only when nothing else can happen.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(future)
}
