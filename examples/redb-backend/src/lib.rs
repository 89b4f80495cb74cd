//! Sessions in a [redb](https://docs.rs/redb) database: one file, ordered tables, one writer at a time.
//!
//! This is the worked example of the guide `docs/write-a-backend.md`.

mod error;
mod layout;
mod store;

pub use store::RedbStore;
