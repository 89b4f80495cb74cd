//! Several processes on one directory, and processes that are killed. The tests start this binary again as a child.

// Clippy knows tests by their attribute, which these do not have.
#![allow(clippy::unwrap_used, clippy::panic)]

mod child;
mod crash;
mod race;
mod support;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    if let Some(role) = std::env::var_os(support::ROLE) {
        child::run(&role.to_string_lossy());
        return ExitCode::SUCCESS;
    }
    let tests = vec![
        Trial::test("a_process_killed_at_random_loses_no_acknowledged_write", crash::killed_at_random),
        Trial::test("increments_of_several_processes_add_up", race::increments),
        Trial::test("of_several_processes_one_renames_or_deletes_a_session", race::renames_and_deletes),
        Trial::test("of_several_processes_one_creates_a_session", race::creations),
        Trial::test("a_stopped_process_that_holds_a_lock_is_a_timeout_for_others", race::stopped),
        Trial::test("the_lock_of_a_killed_process_is_free", race::killed),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}
