//! What only a store on a file system has: modes, links, damage, indexes that are files, disks that are full.

// Clippy does not see that helpers of tests are tests too.
#![allow(clippy::unwrap_used, clippy::panic)]

mod clock;
mod damage;
mod directory;
mod index;
mod readers;
mod safety;
mod support;
