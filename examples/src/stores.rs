//! Which storage a URL names: one line for each.

use std::sync::Arc;

use session_core::{Error, ErrorKind, Result, SessionStore};
use session_file::{FileConfig, FileStore};
use session_memory::MemoryStore;
use session_redis::{RedisConfig, RedisStore};
use session_sql::{SqlConfig, SqlStore};

const SUPPORTED: &str = "memory:, file:DIR, sqlite:FILE, postgres:, mysql:, redis:, rediss:, redis+unix:, redis+sentinel:, redis+cluster:";

/// A store and what to call it on the page.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The store.
    pub store: Arc<dyn SessionStore>,
    /// Its name, for people.
    pub name: &'static str,
}

/// Opens the storage that `url` names.
///
/// # Errors
/// When the URL names no storage that this example knows, or the storage cannot be opened.
pub async fn open(url: &str) -> Result<Opened> {
    match scheme(url) {
        "memory" => Ok(opened(MemoryStore::default(), "memory")),
        "file" => Ok(opened(FileStore::new(FileConfig::new(rest(url)))?, "file")),
        "sqlite" => Ok(opened(SqlStore::connect(url, SqlConfig::default())?, "sqlite")),
        "postgres" => Ok(opened(SqlStore::connect(url, SqlConfig::default())?, "postgres")),
        "mysql" => Ok(opened(SqlStore::connect(url, SqlConfig::default())?, "mysql")),
        "redis" | "rediss" | "redis+unix" | "redis+sentinel" | "redis+cluster" | "rediss+sentinel"
        | "rediss+cluster" => Ok(opened(RedisStore::new(RedisConfig::new(url))?, "redis")),
        _ => Err(Error::new(
            ErrorKind::InvalidConfig,
            // The URL may hold a password: only its scheme is shown.
            format!("unknown storage {:?}; supported: {SUPPORTED}", scheme(url)),
        )),
    }
}

fn opened(store: impl SessionStore, name: &'static str) -> Opened {
    Opened { store: Arc::new(store), name }
}

fn scheme(url: &str) -> &str {
    url.split_once(':').map_or(url, |(scheme, _)| scheme)
}

/// What follows the scheme.
fn rest(url: &str) -> &str {
    url.split_once(':').map_or("", |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_storage_is_an_error_that_lists_the_known_ones_and_shows_no_password() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let error = runtime.block_on(open("carrier-pigeon://me:secret@host")).unwrap_err().to_string();
        assert!(error.contains("carrier-pigeon") && error.contains(SUPPORTED), "{error}");
        assert!(!error.contains("secret"), "{error}");
        assert!(runtime.block_on(open("memory:")).is_ok());
    }
}
