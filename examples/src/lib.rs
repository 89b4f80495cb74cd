//! What the example `web` is made of, as a library, so that its tests can drive it without a socket.

pub mod app;
mod browser;
mod page;
mod seeds;
pub mod stores;
