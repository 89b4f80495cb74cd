//! The table of cases: a file for each group, a line for each claim.

use crate::case::Entry;

mod create;
mod load;
mod save;

/// Every case, by group.
pub(crate) const GROUPS: &[&[Entry]] = &[create::CASES, load::CASES, save::CASES];
