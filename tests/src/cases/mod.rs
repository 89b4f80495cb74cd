//! The table of cases: a file for each group, a line for each claim.

use crate::case::Entry;

mod bytes;
mod clock;
mod create;
mod delete;
mod expiry;
mod faults;
mod handles;
mod histories;
mod list;
mod load;
mod many;
mod owner;
mod save;
mod sessions;
mod touch;

/// Every case, by group.
pub(crate) const GROUPS: &[&[Entry]] = &[
    create::CASES,
    load::CASES,
    save::CASES,
    touch::CASES,
    delete::CASES,
    list::CASES,
    owner::CASES,
    expiry::CASES,
    bytes::CASES,
    many::CASES,
    handles::CASES,
    clock::CASES,
    faults::CASES,
    histories::CASES,
    sessions::CASES,
    crate::browser::CASES,
];
