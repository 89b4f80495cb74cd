//! Where the sessions of the servers are: a database for each, on one server of it.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, anyhow};
use session_conformance::servers::redis::{RedisProgram, RedisServer};
use tempfile::TempDir;

use crate::sql::{self, Database};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Memory,
    Redis,
    Valkey,
    Sqlite,
    Postgres,
}

impl Backend {
    /// With what an answered write survives, which is the same for all contenders.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "Redis 7.0 (nothing on disk)",
            Self::Valkey => "Valkey 9.1 (nothing on disk)",
            Self::Sqlite => "SQLite (WAL, synchronous=NORMAL)",
            Self::Postgres => "PostgreSQL (fsync=off)",
        }
    }
}

pub(crate) struct Place {
    at: At,
    made: AtomicUsize,
    directory: TempDir,
}

enum At {
    Memory,
    Redis(RedisServer),
    Sql(sql::Place),
}

impl Place {
    pub(crate) fn start(backend: Backend) -> Result<Self> {
        let at = match backend {
            Backend::Memory => At::Memory,
            Backend::Redis | Backend::Valkey => {
                let program =
                    if backend == Backend::Redis { RedisProgram::redis() } else { RedisProgram::valkey() };
                let program = program.map_err(|missing| anyhow!("{missing}"))?;
                At::Redis(RedisServer::start(&program, &[])?)
            }
            Backend::Sqlite => At::Sql(sql::Place::start(Database::Sqlite)?),
            Backend::Postgres => At::Sql(sql::Place::start(Database::Postgres)?),
        };
        Ok(Self { at, made: AtomicUsize::new(0), directory: TempDir::new()? })
    }

    /// A new, empty database.
    pub(crate) async fn url(&self) -> Result<String> {
        match &self.at {
            At::Memory => Ok("memory".to_owned()),
            At::Redis(server) => {
                Ok(format!("{}/{}", server.url(), self.made.fetch_add(1, Ordering::Relaxed)))
            }
            At::Sql(place) => place.database().await,
        }
    }

    /// A file for a database whose driver takes no URL.
    pub(crate) fn path(&self) -> String {
        self.directory.path().join("sessions.db").display().to_string()
    }
}
