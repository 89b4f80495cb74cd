#![doc = include_str!("../README.md")]

mod timers;
mod together;

pub use timers::Timers;
pub use together::{Carrier, MOST, Place, Reply, Together, Told, Turn};
