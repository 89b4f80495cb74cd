#![doc = include_str!("../README.md")]

mod address;
mod cluster;
mod config;
mod error;
mod layout;
mod link;
mod listing;
mod many;
mod operations;
mod owned;
mod prepare;
mod recent;
mod router;
mod script;
mod sentinel;
mod slot;
mod store;

pub use config::RedisConfig;
pub use store::RedisStore;
