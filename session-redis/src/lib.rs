#![doc = include_str!("../README.md")]

mod address;
mod config;
mod error;
mod layout;
mod link;
mod listing;
mod router;
mod script;
mod store;

pub use config::RedisConfig;
pub use store::RedisStore;
