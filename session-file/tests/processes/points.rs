//! A process that is killed at each of its system calls that may change something.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use libtest_mimic::Trial;
use session_core::{ErrorKind, Owner, Record, SessionKey, SessionStore as _};
use session_file::{FileConfig, FileStore};

use crate::acts::{self, Act, Scenario, State};
use crate::crash::{files, listed, same};
use crate::support::{runtime, store};
use crate::traced::Traced;

/// A test for each thing that a process may be doing.
pub(crate) fn tests() -> Vec<Trial> {
    let named = |scenario: Scenario| {
        let name = format!("killed_at_any_call::{}", scenario.name.replace(' ', "_"));
        Trial::test(name, move || {
            match kill_at_every_call(&scenario) {
                Some(kills) => assert!(kills > 0, "it was never killed"),
                None => eprintln!("skipped: a process may not trace its own child here"),
            }
            Ok(())
        })
    };
    acts::all().into_iter().map(named).collect()
}

/// How often it was killed.
fn kill_at_every_call(scenario: &Scenario) -> Option<usize> {
    let mut left_behind = BTreeSet::new();
    for point in 1.. {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("sessions");
        let place =
            Place { scenario, directory: &directory, point: format!("{}, call {point}", scenario.name) };
        runtime().block_on(scenario.set_up(&directory));
        if !place.run_to(scenario.name, point)? {
            assert_eq!(place.state(), scenario.after, "{}", place.point);
            place.check_recovery();
            return Some(point - 1);
        }
        // Recovery may be killed too: once for each set of files that a kill leaves behind.
        if directory.join("format").exists() && left_behind.insert(files(&directory)) {
            place.kill_recovery_at_every_call();
        }
        place.check_recovery();
    }
    None
}

struct Place<'a> {
    scenario: &'a Scenario,
    directory: &'a Path,
    point: String,
}

impl Place<'_> {
    /// Kills a child at its `n`th call and looks at what is left: whether there was such a call.
    fn run_to(&self, act: &str, n: usize) -> Option<bool> {
        let mut child = Traced::start("act", self.directory, act)?;
        if !child.run_to(n) {
            assert_eq!(child.finish(), ["done"], "{}: a child failed", self.point);
            return Some(false);
        }
        let instant = self.seen_by_a_reader();
        let acknowledged = child.kill() == ["done"];
        let left = self.state();
        for (key, record) in instant {
            assert_eq!(
                left.get(&key).cloned().flatten(),
                record,
                "{}: a reader saw something else",
                self.point
            );
        }
        if acknowledged && act == self.scenario.name {
            assert_eq!(left, self.scenario.after, "{}: an acknowledged write is not there", self.point);
        }
        self.check_state(&left);
        Some(true)
    }

    /// What readers see while the writer holds its locks: nobody needs to wait for a session that is live or gone.
    fn seen_by_a_reader(&self) -> Vec<(SessionKey, Option<Record>)> {
        let config = FileConfig::new(self.directory).with_timeout(Duration::from_millis(20));
        let store = FileStore::new(config).unwrap();
        runtime().block_on(async {
            let mut seen = Vec::new();
            for key in &self.scenario.keys {
                match store.load(*key).await {
                    Ok(record) => seen.push((*key, record)),
                    // The file of an expired or a damaged session, or a directory that is not a store yet.
                    Err(error) => assert!(
                        matches!(
                            error.kind(),
                            ErrorKind::Timeout | ErrorKind::Corrupt | ErrorKind::Unavailable
                        ),
                        "{}: {error}",
                        self.point
                    ),
                }
            }
            seen
        })
    }

    /// What is live once the locks are free.
    fn state(&self) -> State {
        let store = store(self.directory);
        runtime().block_on(async {
            let mut state = State::new();
            for key in &self.scenario.keys {
                match store.load(*key).await {
                    Ok(None) => {}
                    Ok(record) => drop(state.insert(*key, record)),
                    Err(error) if error.kind() == ErrorKind::Corrupt => drop(state.insert(*key, None)),
                    Err(error) => panic!("{}: {error}", self.point),
                }
            }
            state
        })
    }

    fn check_state(&self, state: &State) {
        let Scenario { before, after, keys, .. } = self.scenario;
        if self.scenario.in_steps() {
            for key in keys {
                let found = state.get(key);
                assert!(
                    found == before.get(key) || found == after.get(key),
                    "{}: {key} is {found:?}",
                    self.point
                );
            }
        } else {
            assert!(state == before || state == after, "{}: neither old nor new: {state:?}", self.point);
        }
    }

    /// The next process goes on as if nothing had been, whether it prepares first or does the same again.
    fn check_recovery(&self) {
        let copy = tempfile::tempdir().unwrap();
        if self.directory.exists() {
            copy_tree(self.directory, copy.path());
        }
        let elsewhere = Place { directory: copy.path(), point: self.point.clone(), ..*self };
        if copy.path().join("format").exists() {
            let left = self.state();
            elsewhere.check_lists(&left);
            elsewhere.act(&self.scenario.act);
            assert_eq!(
                elsewhere.state(),
                self.scenario.after,
                "{}: done again, it does not take effect",
                self.point
            );
            elsewhere.check_clean("after doing it again");
        }
        self.act(&Act::Prepare);
        let left = self.state();
        self.check_state(&left);
        self.check_clean("after preparing");
        let live = |mut state: State| {
            state.retain(|_, record| record.is_some());
            state
        };
        assert_eq!(live(self.state()), live(left), "{}: the recovery changed a session", self.point);
    }

    fn kill_recovery_at_every_call(&self) {
        for n in 1.. {
            let copy = tempfile::tempdir().unwrap();
            copy_tree(self.directory, copy.path());
            let point = format!("{}, then at call {n} of prepare", self.point);
            let place = Place { directory: copy.path(), point, ..*self };
            if !place.run_to("prepare", n).unwrap() {
                return;
            }
            place.act(&Act::Prepare);
            place.check_clean("after preparing again");
        }
    }

    fn act(&self, act: &Act) {
        runtime().block_on(act.run(&store(self.directory)));
    }

    /// No file is there that no live session stands for, once the directory was prepared and swept.
    fn check_clean(&self, when: &str) {
        self.act(&Act::Prepare);
        self.act(&Act::Sweep);
        let state = self.state();
        let keys: Vec<_> = state.keys().map(SessionKey::to_string).collect();
        assert_eq!(self.keys_in("sessions"), keys, "{} {when}: the files of sessions", self.point);
        if let Act::List(_) = self.scenario.act {
            // Its entry was put there by somebody else, and goes when it is seen.
            self.check_lists(&state);
        }
        // Whose a damaged one was, and how long it should have lived, nobody can tell.
        if !self.scenario.damages() {
            self.check_indexes(&state, &keys, when);
        }
        // After the indexes, since a list removes entries that no session stands for.
        self.check_lists(&state);
    }

    fn check_indexes(&self, state: &State, keys: &[String], when: &str) {
        assert_eq!(self.keys_in("due"), keys, "{} {when}: the expiry index", self.point);
        let owned =
            state.iter().filter(|(_, record)| record.as_ref().is_some_and(|record| record.owner.is_some()));
        let owned: Vec<_> = owned.map(|(key, _)| key.to_string()).collect();
        assert_eq!(self.keys_in("owners"), owned, "{} {when}: the owner index", self.point);
    }

    /// The keys in the names of files, or the names without one.
    fn keys_in(&self, path: &str) -> Vec<String> {
        let mut names = files(&self.directory.join(path));
        names.retain(|name| name != "complete");
        names.iter_mut().for_each(|name| drop(name.drain(..name.len().saturating_sub(36))));
        names.sort_unstable();
        names
    }

    /// Of everything, and of each owner.
    fn check_lists(&self, state: &State) {
        let live: Vec<_> = state.iter().filter_map(|(key, record)| Some((*key, record.clone()?))).collect();
        let store = store(self.directory);
        runtime().block_on(async {
            same(&listed(&store, None).await, &live);
            for owner in ["ann", "bob", "eve"] {
                let owner: Owner = owner.parse().unwrap();
                let owned = live.iter().filter(|(_, record)| record.owner.as_ref() == Some(&owner));
                same(&listed(&store, Some(&owner)).await, &owned.cloned().collect::<Vec<_>>());
            }
        });
    }
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::set_permissions(to, std::fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
