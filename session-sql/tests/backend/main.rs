//! What the SQL store alone has: schemas, query plans, locks, pools, and databases that fail for real.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy does not take the helpers of a test for tests"
)]

mod child;
mod common;
mod counted;
mod crash;
mod cut;
mod full;
mod given;
mod plans;
mod pools;
mod refusals;
mod schema;
#[path = "../support/mod.rs"]
mod support;
mod together;
mod waits;
