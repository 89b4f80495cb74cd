#![doc = include_str!("../README.md")]

mod together;

pub use together::{Carrier, MOST, Place, Reply, Together, Told, Turn};
