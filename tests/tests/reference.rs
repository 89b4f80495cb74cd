//! The reference store keeps every rule: whatever fails here is the suite's own mistake.

#[allow(dead_code)] // most of it is for the broken stores
mod support;

use std::process::ExitCode;

use support::{Bench, Sound};

fn main() -> ExitCode {
    session_conformance::main(|| Ok(Bench::of::<Sound>()))
}
