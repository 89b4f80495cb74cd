//! What the examples `web` and `seeds` are made of, as a library, so that their tests can drive them without a socket.

pub mod app;
mod browser;
mod page;
pub mod program;
pub mod seeds;
pub mod stores;
