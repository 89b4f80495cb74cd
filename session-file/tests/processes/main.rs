//! Several processes on one directory, and processes that are killed. The tests start this binary again as a child.

// Clippy knows tests by their attribute, which these do not have.
#![allow(clippy::unwrap_used, clippy::panic)]

#[cfg(target_os = "linux")]
mod acts;
mod child;
mod crash;
#[cfg(target_os = "linux")]
mod meet;
#[cfg(target_os = "linux")]
mod points;
mod race;
mod support;
#[cfg(target_os = "linux")]
mod synchronised;
#[cfg(target_os = "linux")]
mod traced;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    if let Some(role) = std::env::var_os(support::ROLE) {
        child::run(&role.to_string_lossy());
        return ExitCode::SUCCESS;
    }
    #[cfg_attr(not(target_os = "linux"), allow(unused_mut))]
    let mut tests = vec![
        Trial::test("a_process_killed_at_random_loses_no_acknowledged_write", crash::killed_at_random),
        Trial::test("increments_of_several_processes_add_up", race::increments),
        Trial::test("of_several_processes_one_saves_or_ends_a_session", race::saves_and_ends),
        Trial::test("of_several_processes_one_deletes_a_session_and_no_save_brings_it_back", race::deletions),
        Trial::test("of_several_processes_one_creates_a_session", race::creations),
        Trial::test("a_stopped_process_that_holds_a_lock_is_a_timeout_for_others", race::stopped),
        Trial::test("the_lock_of_a_killed_process_is_free", race::killed),
    ];
    #[cfg(target_os = "linux")]
    tests.extend(points::tests().into_iter().chain(synchronised::tests()));
    #[cfg(target_os = "linux")]
    tests.extend([
        Trial::test("no_save_passes_a_revocation", meet::saves_meet_a_revocation),
        Trial::test("no_revocation_misses_a_save", meet::a_revocation_meets_a_save),
    ]);
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}
