#![doc = include_str!("../README.md")]

pub mod browser;
mod case;
mod cases;
mod failure;
mod harness;
pub mod history;
mod model;
mod race;
mod random;
mod rule;
mod runner;
#[cfg(feature = "servers")]
pub mod servers;
mod store;
mod test;

pub use case::{Case, cases};
pub use failure::Failure;
pub use harness::{Capability, Harness, Missing};
pub use rule::Rule;
pub use runner::main;
