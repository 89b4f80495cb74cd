//! The conformance suite on a directory.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use session_conformance::{Capability, Harness};
use session_core::{Error, ErrorKind, Result, SessionKey, SessionStore};
use session_file::{FileConfig, FileStore};
use tempfile::TempDir;

struct File;

fn fail(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Other, "the harness could not change the directory").with_source(error)
}

fn sessions(namespace: &TempDir) -> PathBuf {
    namespace.path().join("sessions")
}

fn away(namespace: &TempDir) -> PathBuf {
    namespace.path().join("away")
}

#[async_trait]
impl Harness for File {
    const BACKEND: &'static str = "file";
    const CAPABILITIES: &'static [Capability] = &[
        Capability::Durable,
        Capability::Shared,
        Capability::OwnerIndex,
        Capability::Pause,
        Capability::Damage,
    ];
    type Namespace = TempDir;

    async fn namespace(&self) -> Result<TempDir> {
        TempDir::new().map_err(fail)
    }

    async fn open(&self, namespace: &TempDir) -> Result<Arc<dyn SessionStore>> {
        Ok(Arc::new(FileStore::new(FileConfig::new(sessions(namespace)))?))
    }

    /// A file system that is not mounted.
    async fn pause(&self, namespace: &TempDir) -> Result<()> {
        std::fs::rename(sessions(namespace), away(namespace)).map_err(fail)
    }

    async fn resume(&self, namespace: &TempDir) -> Result<()> {
        std::fs::rename(away(namespace), sessions(namespace)).map_err(fail)
    }

    /// One bit of the last byte.
    async fn damage(&self, namespace: &TempDir, key: SessionKey) -> Result<()> {
        let shard = format!("{:02x}", key.as_bytes()[15]);
        let path = sessions(namespace).join("sessions").join(shard).join(key.to_string());
        let mut bytes = std::fs::read(&path).map_err(fail)?;
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        std::fs::write(&path, bytes).map_err(fail)
    }
}

fn main() -> ExitCode {
    session_conformance::main(|| Ok(File))
}
