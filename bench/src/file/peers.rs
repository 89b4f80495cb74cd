//! The stores for tower-sessions that keep files.

use std::sync::RwLock;

use tempfile::TempDir;
use tower_sessions_file_based_store::FileStore;
use tower_sessions_file_store::FileSessionStorage;

use crate::operation::Operation;
use crate::rounds::Contender;
use crate::sample;
use crate::tower::of_today::Tower;

/// Its saves truncate the file and write it again: a reader may see half.
pub(crate) fn file_store(operation: Operation, sessions: u64) -> impl Contender {
    Tower {
        name: "tower-sessions-file-store (not atomic)",
        operation,
        sessions,
        data: sample::session_of_1_kb(),
        open: || {
            let directory = TempDir::new()?;
            Ok((FileSessionStorage::new_in_folder(directory.path().to_owned()), directory))
        },
        filled: RwLock::default(),
    }
}

pub(crate) fn file_based_store(operation: Operation, sessions: u64) -> impl Contender {
    Tower {
        name: "tower-sessions-file-based-store",
        operation,
        sessions,
        data: sample::session_of_1_kb(),
        open: || {
            let directory = TempDir::new()?;
            Ok((FileStore::in_dir(directory.path())?, directory))
        },
        filled: RwLock::default(),
    }
}
