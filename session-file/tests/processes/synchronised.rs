//! What is forced to the disk before what: the calls of a process whose store survives a power failure.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use nix::libc;

use crate::acts::{self, Act, Scenario};
use crate::support::runtime;
use crate::traced::{Call, Traced};

/// Two tests for each thing that a process may be doing.
pub(crate) fn tests() -> Vec<Trial> {
    let named = |way: &str, check: fn(&Scenario), scenario: Scenario| {
        Trial::test(format!("{way}::{}", scenario.name.replace(' ', "_")), move || {
            check(&scenario);
            Ok(())
        })
    };
    let survives = acts::all().into_iter().map(|scenario| named("survives_power_loss", in_order, scenario));
    let spares = acts::all().into_iter().map(|scenario| named("synchronises_nothing", not_at_all, scenario));
    survives.chain(spares).collect()
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    /// A name that was not there: a file or a directory.
    Made(PathBuf),
    Written(PathBuf),
    Synchronised(PathBuf),
    Renamed(PathBuf, PathBuf),
    Removed(PathBuf),
}

/// What the act does below the directory that holds the store; `None` where a process may not trace its own child.
fn changes(role: &str, scenario: &Scenario) -> Option<Vec<Change>> {
    let parent = tempfile::tempdir().unwrap();
    // As the kernel names it.
    let parent = parent.path().canonicalize().unwrap();
    let directory = parent.join("sessions");
    runtime().block_on(scenario.set_up(&directory));
    let mut child = Traced::start(role, &directory, scenario.name)?;
    child.go();
    let mut changes = Vec::new();
    while let Some(call) = child.next_call() {
        changes.extend(change(&child, &call, &parent));
    }
    assert_eq!(child.finish(), ["done"], "{}: a child failed", scenario.name);
    Some(changes)
}

/// Looks before the call is made, so what a call makes is what is not there yet.
fn change(child: &Traced, call: &Call, parent: &Path) -> Option<Change> {
    let [first, second, third, fourth, ..] = call.arguments;
    let ours = |path: PathBuf| path.starts_with(parent).then_some(path);
    let made = |path: PathBuf| ours(path).filter(|path| path.symlink_metadata().is_err()).map(Change::Made);
    match call.number {
        libc::SYS_openat if call.makes_a_file() => made(child.path_at(first, second)),
        libc::SYS_mkdirat => made(child.path_at(first, second)),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_mkdir => made(child.path_at(u64::MAX, first)),
        libc::SYS_write | libc::SYS_pwrite64 => ours(child.path_of(first)).map(Change::Written),
        libc::SYS_fsync | libc::SYS_fdatasync => ours(child.path_of(first)).map(Change::Synchronised),
        libc::SYS_renameat | libc::SYS_renameat2 => {
            let (from, to) = (child.path_at(first, second), child.path_at(third, fourth));
            ours(from).map(|from| Change::Renamed(from, to))
        }
        libc::SYS_unlinkat => ours(child.path_at(first, second)).map(Change::Removed),
        _ => None,
    }
}

/// At each instant, `lost` is what a power failure may undo: the content of files, and the names in directories.
///
/// A file is whole and its index entries are there before it gets its name. What an index held goes after what stands
/// for it, and an answer comes after everything.
fn in_order(scenario: &Scenario) {
    let Some(changes) = changes("synchronised act", scenario) else {
        return eprintln!("skipped: a process may not trace its own child here");
    };
    let mut lost = BTreeSet::new();
    let above = |path: &Path| path.parent().unwrap().to_owned();
    for (at, change) in changes.iter().enumerate() {
        let why = || format!("{}: {lost:?} may be lost at {:?}", scenario.name, &changes[..=at]);
        match change {
            Change::Made(path) => drop(lost.insert(above(path))),
            Change::Written(path) => drop(lost.insert(path.clone())),
            Change::Synchronised(path) => drop(lost.remove(path)),
            Change::Renamed(from, to) => {
                let both = BTreeSet::from([above(from), above(to)]);
                assert!(lost.is_subset(&both), "{}", why());
                lost.extend(both);
            }
            Change::Removed(path) => {
                let in_an_index = path
                    .components()
                    .any(|part| ["owners", "due"].map(OsStr::new).contains(&part.as_os_str()));
                assert!(!in_an_index || lost.is_empty(), "{}", why());
            }
        }
    }
    assert_eq!(lost, BTreeSet::new(), "{}: this may be lost after the answer: {changes:?}", scenario.name);
    // A list only removes an entry that no session stands for.
    let synchronises = changes.iter().any(|change| matches!(change, Change::Synchronised(_)));
    assert_eq!(synchronises, !matches!(scenario.act, Act::List(_)), "{}: {changes:?}", scenario.name);
}

/// Nobody who does not ask for it pays for it.
fn not_at_all(scenario: &Scenario) {
    let Some(changes) = changes("act", scenario) else {
        return eprintln!("skipped: a process may not trace its own child here");
    };
    assert!(!changes.is_empty(), "{}: nothing was seen", scenario.name);
    let synchronised = changes.iter().find(|change| matches!(change, Change::Synchronised(_)));
    assert_eq!(synchronised, None, "{}", scenario.name);
}
