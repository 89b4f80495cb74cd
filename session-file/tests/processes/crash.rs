//! A process under load, killed with `SIGKILL` at random, again and again, on one directory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use libtest_mimic::Failed;
use session_core::{Owner, Record, Revision, SessionKey, SessionStore as _, Timestamp};
use session_file::FileStore;

use crate::support::{Process, Random, record, runtime, store};

/// `SESSION_CASES=10` makes it 1,000 kills.
const KILLS: u64 = 100;

pub(crate) fn killed_at_random() -> Result<(), Failed> {
    let setting = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let kills = KILLS * setting("SESSION_CASES").unwrap_or(1);
    let seed = setting("SESSION_SEED").unwrap_or_else(|| Revision::generate().unwrap().as_u64());
    eprintln!("seed {seed} (SESSION_SEED repeats the choices, not the instants)");
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("sessions");
    let mut random = Random(seed);
    let mut model = Model::default();
    for _ in 0..kills {
        let mut process = Process::start("load", &directory, &random.next().to_string());
        std::thread::sleep(Duration::from_micros(random.below(40_000)));
        process.kill();
        let lines = process.rest();
        let runtime = runtime();
        runtime.block_on(async {
            let store = store(&directory);
            store.prepare().await.unwrap();
            model.follow(&store, &lines).await;
            model.check(&store).await;
            while store.delete_expired(100).await.unwrap() > 0 {}
        });
        model.check_files(&directory);
    }
    eprintln!("{kills} kills, {} acknowledged writes, {} under way", model.acknowledged, model.cut_off);
    Ok(())
}

/// Longer than the short lives that the child gives.
const SHORT: Duration = Duration::from_millis(35);

/// What the directory must hold.
#[derive(Default)]
struct Model {
    records: HashMap<SessionKey, Record>,
    /// Every key that was ever deleted.
    gone: BTreeSet<SessionKey>,
    acknowledged: u64,
    cut_off: u64,
}

/// What one operation makes of one key.
type Change = (SessionKey, Option<Record>);

impl Model {
    /// Applies what was acknowledged. Of what was under way it finds out whether it took effect.
    async fn follow(&mut self, store: &FileStore, lines: &[String]) {
        let mut under_way = BTreeMap::<&str, &str>::new();
        for line in lines {
            let (kind, rest) = line.split_once(' ').unwrap();
            let (task, what) = rest.split_once(' ').unwrap();
            match (kind, what) {
                ("B", what) => assert_eq!(under_way.insert(task, what), None, "{line}"),
                ("A", how) => {
                    let what = under_way.remove(task).unwrap();
                    self.acknowledged += 1;
                    match self.changes(what) {
                        _ if how == "gone" => self.forget(what),
                        changes => self.apply(changes),
                    }
                }
                _ => panic!("a child said {line}"),
            }
        }
        for what in under_way.into_values() {
            self.cut_off += 1;
            self.resolve(store, what).await;
        }
    }

    fn changes(&self, what: &str) -> Vec<Change> {
        let words: Vec<_> = what.split(' ').collect();
        let key = |text: &str| text.parse::<SessionKey>().unwrap();
        match words[..] {
            ["put", at, ref rest @ ..] => vec![(key(at), Some(parse(rest)))],
            ["delete", at] => vec![(key(at), None)],
            ["touch", at, expires_at] => {
                let expires_at = Timestamp::from_millis(expires_at.parse().unwrap());
                let old = &self.records[&key(at)];
                vec![(key(at), Some(Record { expires_at: old.expires_at.max(expires_at), ..old.clone() }))]
            }
            ["revoke", owner] => {
                let owner: Owner = owner.parse().unwrap();
                let owned = self.records.iter().filter(|(_, record)| record.owner.as_ref() == Some(&owner));
                owned.map(|(key, _)| (*key, None)).collect()
            }
            _ => panic!("a child said {what}"),
        }
    }

    fn apply(&mut self, changes: Vec<Change>) {
        for (key, record) in changes {
            match record {
                Some(record) => drop(self.records.insert(key, record)),
                None => {
                    self.records.remove(&key);
                    self.gone.insert(key);
                }
            }
        }
    }

    /// A touch that found its session expired.
    fn forget(&mut self, what: &str) {
        let key = what.split(' ').nth(1).unwrap().parse().unwrap();
        let record = self.records.remove(&key).unwrap();
        assert!(record.expires_at <= Timestamp::now(), "a touch missed a live session");
        self.gone.insert(key);
    }

    /// All of it or nothing; a revocation for each session.
    async fn resolve(&mut self, store: &FileStore, what: &str) {
        let changes = self.changes(what);
        if what.starts_with("revoke") {
            for change in changes {
                if self.took_effect(store, what, std::slice::from_ref(&change)).await {
                    self.apply(vec![change]);
                }
            }
        } else if self.took_effect(store, what, &changes).await {
            self.apply(changes);
        }
    }

    async fn took_effect(&self, store: &FileStore, what: &str, changes: &[Change]) -> bool {
        let now = Timestamp::now();
        let live = |record: Option<&Record>| record.filter(|record| record.expires_at > now).cloned();
        let (mut before, mut after) = (true, true);
        for (key, record) in changes {
            let found = store.load(*key).await.unwrap();
            before &= found == live(self.records.get(key));
            after &= found == live(record.as_ref());
        }
        assert!(before || after, "`{what}` was cut off and left neither the old state nor the new one");
        after
    }

    async fn check(&mut self, store: &FileStore) {
        // The short lives are over by then, so that none ends between two looks.
        tokio::time::sleep(SHORT).await;
        let now = Timestamp::now();
        self.records.retain(|_, record| record.expires_at > now);
        let mut expected: Vec<_> = self.records.iter().map(|(key, record)| (*key, record.clone())).collect();
        expected.sort_unstable_by_key(|(key, _)| *key);
        for (key, record) in &expected {
            let found = store.load(*key).await.unwrap();
            assert_eq!(found.as_ref(), Some(record), "an acknowledged write of {key} is not there");
        }
        for key in &self.gone {
            assert_eq!(store.load(*key).await.unwrap(), None, "the session {key} came back");
        }
        same(&listed(store, None).await, &expected);
        let owners: BTreeSet<_> = expected.iter().filter_map(|(_, record)| record.owner.clone()).collect();
        for owner in owners {
            let owned = expected.iter().filter(|(_, record)| record.owner.as_ref() == Some(&owner));
            same(&listed(store, Some(&owner)).await, &owned.cloned().collect::<Vec<_>>());
        }
    }

    /// After a sweep: one file and one due entry a session, one owner entry if it has one, and nothing else.
    fn check_files(&self, directory: &Path) {
        let mut sessions = files(&directory.join("sessions"));
        let mut expected: Vec<_> = self.records.keys().map(ToString::to_string).collect();
        sessions.sort_unstable();
        expected.sort_unstable();
        assert_eq!(sessions, expected, "the files of sessions");
        let key_of = |name: &String| name[name.len() - 36..].to_owned();
        let index = |name: &str| {
            let names = files(&directory.join(name)).into_iter().filter(|name| name != "complete");
            let mut keys: Vec<_> = names.map(|name| key_of(&name)).collect();
            keys.sort_unstable();
            keys
        };
        assert_eq!(index("due"), expected, "the expiry index");
        expected.retain(|key| self.records[&key.parse().unwrap()].owner.is_some());
        assert_eq!(index("owners"), expected, "the owner index");
        assert_eq!(files(&directory.join("damaged")), [""; 0], "damaged files");
    }
}

fn parse(words: &[&str]) -> Record {
    let [revision, expires_at, owner, len] = words else { panic!("a child said {words:?}") };
    let owner = Some(*owner).filter(|owner| *owner != "-");
    let revision = Revision::from_u64(revision.parse().unwrap());
    record(revision, owner, Timestamp::from_millis(expires_at.parse().unwrap()), len.parse().unwrap())
}

pub(crate) fn same(listed: &[(SessionKey, Record)], expected: &[(SessionKey, Record)]) {
    for session in listed {
        assert!(expected.contains(session), "listed, and should not be: {session:?}");
    }
    for session in expected {
        assert!(listed.contains(session), "not listed, and should be: {session:?}");
    }
    assert_eq!(listed.len(), expected.len(), "a session is listed twice");
}

pub(crate) async fn listed(store: &FileStore, owner: Option<&Owner>) -> Vec<(SessionKey, Record)> {
    let (mut sessions, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.list(owner, cursor.as_ref(), 7).await.unwrap();
        sessions.extend(page.sessions);
        cursor = page.next;
        if cursor.is_none() {
            return sessions;
        }
    }
}

/// The names of all files below a directory.
pub(crate) fn files(directory: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            names.extend(files(&entry.path()));
        } else {
            names.push(entry.file_name().into_string().unwrap());
        }
    }
    names
}
