//! Throw-away servers for the tests of backends that talk to one.
//!
//! Each starts on a free port, in a temporary directory, as a child that ends with the test process however that
//! ends. Nothing here needs a container or root.

mod listening;
mod mariadb;
mod pgbouncer;
mod postgres;
mod process;
pub mod redis;

pub use mariadb::MariaDb;
pub use pgbouncer::PgBouncer;
pub use postgres::Postgres;
pub use process::{Process, Spec, find, free_port, port_answers};

/// The URL of a server that is already there, if the environment names one for a backend: `SESSION_POSTGRES_URL` for
/// `postgres`.
///
/// Such a server has other users: what a test puts there has a random name, and only that is removed.
#[must_use]
pub fn given(backend: &str) -> Option<String> {
    let variable = format!("SESSION_{}_URL", backend.to_uppercase().replace('-', "_"));
    std::env::var(variable).ok().filter(|url| !url.is_empty())
}
