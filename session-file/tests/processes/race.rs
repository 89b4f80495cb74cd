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

/// What the children say they did, by key. Reads them one after the other, since what they say is short.
fn done(processes: Vec<Process>) -> HashMap<SessionKey, Vec<String>> {
    let mut done = HashMap::<SessionKey, Vec<String>>::new();
    for line in processes.into_iter().flat_map(Process::finish) {
        let (key, what) = line.split_once(' ').unwrap();
        done.entry(key.parse().unwrap()).or_default().push(what.to_owned());
    }
    done
}

/// `[S4]`, `[E6]` A save of what is over is the compare-and-set form of delete.
pub(crate) fn saves_and_ends() -> Outcome {
    let (_parent, directory) = prepared();
    let keys = give(&directory, 300, true);
    let roles = ["save", "save", "save", "end"];
    let mut processes: Vec<_> = roles.map(|role| Process::start(role, &directory, "")).into();
    let ended = done(processes.split_off(3));
    let saved = done(processes);
    let store = store(&directory);
    let runtime = runtime();
    let mut live = Vec::new();
    for key in keys {
        let won = |by: &HashMap<SessionKey, Vec<String>>| by.get(&key).cloned().unwrap_or_default();
        let (saved, ended) = (won(&saved), won(&ended));
        assert_eq!(saved.len() + ended.len(), 1, "one process wins a session, here: {saved:?}, {ended:?}");
        let found = runtime.block_on(store.load(key)).unwrap();
        let found: Vec<_> = found.into_iter().map(|record| record.revision.as_u64().to_string()).collect();
        assert_eq!(found, saved, "what the winner wrote is there");
        live.extend((!saved.is_empty()).then_some(key));
    }
    live.sort_unstable();
    let owner = "owner".parse().unwrap();
    for owner in [None, Some(&owner)] {
        let page = runtime.block_on(store.list(owner, None, 1_000)).unwrap();
        let mut listed: Vec<_> = page.sessions.iter().map(|(key, _)| *key).collect();
        listed.sort_unstable();
        assert_eq!(listed, live, "what is left are the sessions that a save won");
    }
    Ok(())
}

/// `[S3]`, `[D1]` However a save races it, who deletes a session leaves nothing.
pub(crate) fn deletions() -> Outcome {
    let (_parent, directory) = prepared();
    let keys = give(&directory, 300, true);
    let roles = ["delete", "delete", "save", "save"];
    let mut processes: Vec<_> = roles.map(|role| Process::start(role, &directory, "")).into();
    let saved = done(processes.split_off(2));
    let deleted = done(processes);
    let store = store(&directory);
    let runtime = runtime();
    for key in &keys {
        assert_eq!(deleted[key].len(), 1, "one process deletes a session");
        assert!(saved.get(key).is_none_or(|saved| saved.len() == 1), "one process saves a session");
        assert_eq!(runtime.block_on(store.load(*key)).unwrap(), None, "a deleted session is there");
    }
    let owner = "owner".parse().unwrap();
    for owner in [None, Some(&owner)] {
        assert!(runtime.block_on(store.list(owner, None, 1_000)).unwrap().sessions.is_empty());
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
    let shard = directory.join("sessions").join(format!("{:02x}", key.as_bytes()[15]));
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
