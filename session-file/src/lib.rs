#![doc = include_str!("../README.md")]

#[cfg(not(unix))]
compile_error!("session-file needs the files, renames and locks of a Unix-like system");

mod config;
mod dir;
mod engine;
mod error;
mod index;
mod layout;
mod list;
mod lock;
mod prepare;
mod record;
mod store;
mod sweep;
mod write;

pub use config::{Durability, FileConfig};
pub use store::FileStore;
