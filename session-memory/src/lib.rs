#![doc = include_str!("../README.md")]

mod capacity;
mod config;
mod error;
mod layout;
mod owners;
mod store;
mod table;

pub use config::{MemoryConfig, WhenFull};
pub use store::{MemoryStore, Usage};
