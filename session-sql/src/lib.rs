#![doc = include_str!("../README.md")]
#![cfg_attr(
    not(any(feature = "sqlite", feature = "postgres", feature = "mysql")),
    allow(dead_code, reason = "without a database there is nobody to use it")
)]

mod config;
mod connect;
mod dialect;
mod engine;
mod error;
mod lanes;
mod layout;
mod store;

pub use config::{Durability, SqlConfig};
pub use sqlx;
pub use store::SqlStore;
