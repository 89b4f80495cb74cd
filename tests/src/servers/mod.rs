//! Throw-away servers for the tests of backends that talk to one.
//!
//! Each starts on a free port, in a temporary directory, as a child that ends with the test process however that
//! ends. Nothing here needs a container or root.

mod mariadb;
mod postgres;
mod process;
pub mod redis;

pub use mariadb::MariaDb;
pub use postgres::Postgres;
pub use process::{Process, Spec, find, free_port, port_answers};
