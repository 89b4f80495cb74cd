#![doc = include_str!("../README.md")]
// With all databases together nothing may be unused; what one alone does not need, another does.
#![cfg_attr(
    not(all(feature = "sqlite", feature = "postgres", feature = "mysql")),
    allow(unused, reason = "parts that serve the databases that were not chosen")
)]

mod batch;
mod config;
mod connect;
mod dialect;
mod engine;
mod error;
mod lanes;
mod layout;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod literal;
mod statements;
mod steps;
mod store;

pub use config::{Durability, SqlConfig};
pub use sqlx;
pub use store::SqlStore;
