//! JSON text: one object whose members are the entries.
//!
//! What JSON has no words for is an object with one reserved member: `$bytes`, `$f64` or `$map`. Reader and writer
//! stand here rather than in a general crate because each number must come back exactly, whatever features other
//! crates switch on in a shared one, and because a frame is walked without being decoded.

mod read;
mod write;

pub(super) use read::{Frame, read_value};
pub(super) use write::{write_frame, write_value};

const BYTES: &str = "$bytes";
const F64: &str = "$f64";
const MAP: &str = "$map";
/// No member of a plain object begins with this.
const RESERVED: char = '$';
