//! Processes that want the same session.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use libtest_mimic::Failed;
use session_core::{Created, ErrorKind, Record, Revision, SessionKey, SessionStore as _};
use session_file::{FileConfig, FileStore};

use crate::support::{Process, in_an_hour, new_key, prepared, record, runtime, store};

type Outcome = Result<(), Failed>;

pub(crate) fn increments() -> Outcome {
    const PROCESSES: usize = 4;
    const EACH: u64 = 200;
    let (_parent, directory) = prepared();
    let key = new_key();
    let zero = Record {
        payload: 0_u64.to_le_bytes().as_slice().into(),
        ..record(Revision::generate().unwrap(), None, in_an_hour(), 0)
    };
    let store = store(&directory);
    assert_eq!(runtime().block_on(store.create(key, &zero)).unwrap(), Created::Stored);
    let start = || Process::start("count", &directory, &format!("{key} {EACH}"));
    let processes: Vec<_> = (0..PROCESSES).map(|_| start()).collect();
    processes.into_iter().for_each(|process| drop(process.finish()));
    let end = runtime().block_on(store.load(key)).unwrap().unwrap();
    let number = u64::from_le_bytes(end.payload[..].try_into().unwrap());
    assert_eq!(number, PROCESSES as u64 * EACH, "increments were lost or made twice");
    Ok(())
}

/// Sessions in the store, and their list for the children.
fn give(directory: &Path, count: usize, stored: bool) -> Vec<SessionKey> {
    let store = store(directory);
    let runtime = runtime();
    let (mut keys, mut list) = (Vec::new(), String::new());
    for _ in 0..count {
        let (key, new) = (new_key(), record(Revision::generate().unwrap(), Some("owner"), in_an_hour(), 100));
        if stored {
            assert_eq!(runtime.block_on(store.create(key, &new)).unwrap(), Created::Stored);
        }
        writeln!(list, "{key} {}", new.revision.as_u64()).unwrap();
        keys.push(key);
    }
    std::fs::write(directory.with_extension("list"), list).unwrap();
    keys
}

/// What the children say they did, by key.
fn done(processes: Vec<Process>) -> HashMap<SessionKey, Vec<String>> {
    let mut done = HashMap::<SessionKey, Vec<String>>::new();
    for line in processes.into_iter().flat_map(Process::finish) {
        let (key, what) = line.split_once(' ').unwrap();
        done.entry(key.parse().unwrap()).or_default().push(what.to_owned());
    }
    done
}

pub(crate) fn renames_and_deletes() -> Outcome {
    let (_parent, directory) = prepared();
    let keys = give(&directory, 300, true);
    let roles = ["rename", "rename", "rename", "delete"];
    let done = done(roles.map(|role| Process::start(role, &directory, "")).into());
    let store = store(&directory);
    let runtime = runtime();
    let mut live = Vec::new();
    for key in &keys {
        let winners = done.get(key).map_or(&[][..], Vec::as_slice);
        assert_eq!(winners.len(), 1, "one process wins a session, here: {winners:?}");
        assert_eq!(runtime.block_on(store.load(*key)).unwrap(), None, "the old key is still there");
        live.extend(winners[0].parse::<SessionKey>());
    }
    live.sort_unstable();
    let owner = "owner".parse().unwrap();
    for owner in [None, Some(&owner)] {
        let page = runtime.block_on(store.list(owner, None, 1_000)).unwrap();
        let listed: Vec<_> = page.sessions.iter().map(|(key, _)| *key).collect();
        assert_eq!(listed, live, "what is left are the sessions that a rename won");
    }
    Ok(())
}

pub(crate) fn creations() -> Outcome {
    let (_parent, directory) = prepared();
    let keys = give(&directory, 300, false);
    let done = done((0..4).map(|_| Process::start("create", &directory, "")).collect());
    let store = store(&directory);
    for key in keys {
        let stored = runtime().block_on(store.load(key)).unwrap().unwrap();
        assert_eq!(
            done[&key],
            [stored.revision.as_u64().to_string()],
            "one process creates, and its record counts"
        );
    }
    Ok(())
}

/// A process that holds the lock of the shard of a session.
fn holder(directory: &Path, key: SessionKey) -> Process {
    let shard = directory.join("sessions").join(format!("{:02x}", key.as_bytes()[0]));
    Process::start("hold", directory, shard.to_str().unwrap())
}

pub(crate) fn stopped() -> Outcome {
    let (_parent, directory) = prepared();
    let [key] = give(&directory, 1, true)[..] else { unreachable!() };
    let _holder = holder(&directory, key);
    let config = FileConfig::new(&directory).with_timeout(Duration::from_millis(100));
    let store = FileStore::new(config).unwrap();
    let runtime = runtime();
    let error = runtime.block_on(store.delete(key)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    let read = runtime.block_on(store.load(key)).unwrap();
    assert!(read.is_some(), "readers do not wait for a lock");
    Ok(())
}

pub(crate) fn killed() -> Outcome {
    let (_parent, directory) = prepared();
    let [key] = give(&directory, 1, true)[..] else { unreachable!() };
    let mut holder = holder(&directory, key);
    holder.kill();
    assert!(runtime().block_on(store(&directory).delete(key)).unwrap());
    Ok(())
}
