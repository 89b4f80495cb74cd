//! The conformance suite on one directory with two processes: every second handle is in a child of its own.

// Clippy knows tests by their attribute, which these do not have.
#![allow(clippy::unwrap_used, clippy::panic)]

mod child;
mod remote;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use session_conformance::{Capability, Harness};
use session_core::{Error, ErrorKind, Result, SessionKey, SessionStore};
use session_file::{FileConfig, FileStore};
use tempfile::TempDir;

/// Makes this binary a child; holds the directory.
const CHILD: &str = "SESSION_FILE_TEST_CHILD";

struct TwoProcesses;

struct Place {
    directory: TempDir,
    opened: AtomicUsize,
}

impl Place {
    fn sessions(&self) -> PathBuf {
        self.directory.path().join("sessions")
    }

    fn away(&self) -> PathBuf {
        self.directory.path().join("away")
    }
}

fn fail(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Other, "the harness could not do its part").with_source(error)
}

#[async_trait]
impl Harness for TwoProcesses {
    const BACKEND: &'static str = "file";
    const CAPABILITIES: &'static [Capability] = &[
        Capability::Durable,
        Capability::Shared,
        Capability::OwnerIndex,
        Capability::Pause,
        Capability::Damage,
    ];
    type Namespace = Place;

    async fn namespace(&self) -> Result<Place> {
        Ok(Place { directory: TempDir::new().map_err(fail)?, opened: AtomicUsize::new(0) })
    }

    async fn open(&self, place: &Place) -> Result<Arc<dyn SessionStore>> {
        if place.opened.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            Ok(Arc::new(remote::Remote::start(&place.sessions())))
        } else {
            Ok(Arc::new(FileStore::new(FileConfig::new(place.sessions()))?))
        }
    }

    async fn pause(&self, place: &Place) -> Result<()> {
        std::fs::rename(place.sessions(), place.away()).map_err(fail)
    }

    async fn resume(&self, place: &Place) -> Result<()> {
        std::fs::rename(place.away(), place.sessions()).map_err(fail)
    }

    async fn damage(&self, place: &Place, key: SessionKey) -> Result<()> {
        let shard = format!("{:02x}", key.as_bytes()[15]);
        let path = place.sessions().join("sessions").join(shard).join(key.to_string());
        let mut bytes = std::fs::read(&path).map_err(fail)?;
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        std::fs::write(&path, bytes).map_err(fail)
    }
}

fn main() -> ExitCode {
    match std::env::var_os(CHILD) {
        Some(directory) => child::serve(directory.into()),
        None => session_conformance::main(|| Ok(TwoProcesses)),
    }
}
