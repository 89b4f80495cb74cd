//! What a process does when it dies at one of its system calls, what is there before and what must be there after.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use session_core::{
    ManualClock, Owner, Record, Revision, Saved, SessionKey, SessionStore as _, Timestamp, Touched,
};
use session_file::{FileConfig, FileStore};

use crate::support::record;

/// The live sessions; `None` for one whose file is damaged.
pub(crate) type State = BTreeMap<SessionKey, Option<Record>>;

#[derive(Clone, Debug)]
pub(crate) enum Act {
    Prepare,
    Create(SessionKey, Record),
    Save(SessionKey, Revision, Record),
    Touch(SessionKey, Revision, Timestamp),
    Delete(SessionKey),
    DeleteOwned(Owner, SessionKey),
    List(Owner),
    Sweep,
}

impl Act {
    /// Done again, it must not fail either.
    pub(crate) async fn run(&self, store: &FileStore) {
        match self {
            Self::Prepare => store.prepare().await.unwrap(),
            Self::Create(key, record) => drop(store.create(*key, record).await.unwrap()),
            Self::Save(key, expected, record) => {
                assert_eq!(store.save(*key, *expected, record).await.unwrap(), Saved::Stored);
            }
            Self::Touch(key, expected, expires_at) => {
                assert_eq!(store.touch(*key, *expected, *expires_at).await.unwrap(), Touched::Stored);
            }
            Self::Delete(key) => drop(store.delete(*key).await.unwrap()),
            Self::DeleteOwned(owner, keep) => {
                store.delete_owned(owner, Some(*keep)).await.unwrap();
            }
            Self::List(owner) => drop(store.list(Some(owner), None, 100).await.unwrap()),
            Self::Sweep => drop(store.delete_expired(100).await.unwrap()),
        }
    }
}

pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    given: Vec<Act>,
    /// What somebody else does to the files then.
    meddle: fn(&Path),
    pub(crate) act: Act,
    pub(crate) before: State,
    pub(crate) after: State,
    /// Every key that is ever used.
    pub(crate) keys: Vec<SessionKey>,
}

impl Scenario {
    /// Whether each session is changed by itself, and not all in one step.
    pub(crate) fn in_steps(&self) -> bool {
        matches!(self.act, Act::DeleteOwned(..) | Act::Sweep)
    }

    /// Whether a session is damaged before or after.
    pub(crate) fn damages(&self) -> bool {
        self.before.values().chain(self.after.values()).any(Option::is_none)
    }

    /// Makes the directory as it is before the act.
    pub(crate) async fn set_up(&self, directory: &Path) {
        if !self.given.is_empty() {
            // Long ago, so that what is over now was live when it was touched.
            let clock = Arc::new(ManualClock::new(LONG_AGO));
            let store = FileStore::new(FileConfig::new(directory).with_clock(clock)).unwrap();
            for act in &self.given {
                act.run(&store).await;
            }
        }
        (self.meddle)(directory);
    }
}

const LONG_AGO: Timestamp = Timestamp::from_millis(1_500_000_000_000);
const OVER: Timestamp = Timestamp::from_millis(1_600_000_000_000);
const SOON: Timestamp = Timestamp::from_millis(4_000_000_000_000);
const LATE: Timestamp = Timestamp::from_millis(4_100_000_000_000);

fn key(shard: u8, number: u8) -> SessionKey {
    format!("{number:02x}000000-0000-8000-8000-0000000000{shard:02x}").parse().unwrap()
}

fn rev(number: u64) -> Revision {
    Revision::from_u64(number)
}

/// The number of the revision makes the payload, too.
fn session(revision: u64, owner: &str, expires_at: Timestamp) -> Record {
    let owner = Some(owner).filter(|owner| !owner.is_empty());
    record(rev(revision), owner, expires_at, 500)
}

fn live<const N: usize>(sessions: [(SessionKey, &Record); N]) -> State {
    sessions.into_iter().map(|(key, record)| (key, Some(record.clone()))).collect()
}

fn scenario(name: &'static str, given: Vec<Act>, act: Act, before: State, after: State) -> Scenario {
    let mut keys: Vec<_> = before.keys().chain(after.keys()).copied().collect();
    for act in given.iter().chain([&act]) {
        if let Act::Create(key, _) = act {
            keys.push(*key);
        }
    }
    keys.sort_unstable();
    keys.dedup();
    Scenario { name, given, meddle: |_| {}, act, before, after, keys }
}

pub(crate) fn all() -> Vec<Scenario> {
    [creations(), saves(), small_changes(), of_many(), of_the_directory()].into_iter().flatten().collect()
}

fn creations() -> Vec<Scenario> {
    let a = key(0x10, 1);
    let new = session(2, "ann", SOON);
    let over = session(1, "bob", OVER);
    let create = || Act::Create(a, new.clone());
    vec![
        scenario("create", vec![Act::Prepare], create(), live([]), live([(a, &new)])),
        scenario(
            "create over an expired session of another owner",
            vec![Act::Prepare, Act::Create(a, over)],
            create(),
            live([]),
            live([(a, &new)]),
        ),
    ]
}

fn saves() -> Vec<Scenario> {
    let a = key(0x10, 1);
    let case = |name, old: Record, new: Record| {
        let given = vec![Act::Prepare, Act::Create(a, old.clone())];
        scenario(name, given, Act::Save(a, old.revision, new.clone()), live([(a, &old)]), live([(a, &new)]))
    };
    vec![
        case("save", session(1, "ann", SOON), session(2, "ann", LATE)),
        case("save with an owner at last", session(1, "", SOON), session(2, "ann", LATE)),
        case("save with another owner", session(1, "ann", SOON), session(2, "bob", LATE)),
        case("save without the owner", session(1, "ann", SOON), session(2, "", LATE)),
        case("save that ends sooner", session(1, "ann", LATE), session(2, "ann", SOON)),
        case("save that ends sooner with another owner", session(1, "ann", LATE), session(2, "bob", SOON)),
    ]
}

fn small_changes() -> Vec<Scenario> {
    let a = key(0x10, 1);
    let (old, late) = (session(1, "ann", SOON), session(1, "ann", LATE));
    let created = || vec![Act::Prepare, Act::Create(a, old.clone())];
    let between = Timestamp::from_millis(SOON.as_millis() + 1);
    let touched = || [created(), vec![Act::Touch(a, rev(1), between)]].concat();
    let before_second = Record { expires_at: between, ..old.clone() };
    let damaged = |name, meddle| Scenario {
        meddle,
        ..scenario(name, created(), Act::Delete(a), [(a, None)].into(), live([]))
    };
    vec![
        scenario("touch", created(), Act::Touch(a, rev(1), LATE), live([(a, &old)]), live([(a, &late)])),
        scenario(
            "second touch",
            touched(),
            Act::Touch(a, rev(1), LATE),
            live([(a, &before_second)]),
            live([(a, &late)]),
        ),
        scenario("delete", created(), Act::Delete(a), live([(a, &old)]), live([])),
        scenario(
            "delete of a touched session",
            touched(),
            Act::Delete(a),
            live([(a, &before_second)]),
            live([]),
        ),
        damaged("delete of a damaged session", |directory| damage(directory, key(0x10, 1), Part::Header)),
        damaged("delete of a session with a damaged payload", |directory| {
            damage(directory, key(0x10, 1), Part::Payload);
        }),
    ]
}

fn of_many() -> Vec<Scenario> {
    let [a, b, c, d, e] = [key(0x10, 1), key(0x10, 2), key(0x20, 3), key(0x30, 4), key(0x40, 5)];
    let ann = session(1, "ann", LATE);
    let bob = session(2, "bob", LATE);
    let over = session(3, "ann", OVER);
    let touched = Record { expires_at: SOON, ..over.clone() };
    let owned = vec![
        Act::Prepare,
        Act::Create(a, ann.clone()),
        Act::Create(b, ann.clone()),
        Act::Create(c, ann.clone()),
        Act::Create(d, bob.clone()),
        Act::Create(e, over.clone()),
    ];
    let revoke = Act::DeleteOwned("ann".parse().unwrap(), b);
    let due = vec![
        Act::Prepare,
        Act::Create(a, over.clone()),
        Act::Create(b, over.clone()),
        Act::Touch(b, rev(3), SOON),
        Act::Create(c, over.clone()),
        Act::Touch(c, rev(3), SOON),
        Act::Create(d, bob.clone()),
        Act::Create(e, over),
    ];
    let kept = live([(b, &touched), (c, &touched), (d, &bob)]);
    let mut before = kept.clone();
    before.insert(e, None);
    let swept = scenario("sweep", due, Act::Sweep, before, kept);
    vec![
        scenario(
            "delete_owned",
            owned,
            revoke,
            live([(a, &ann), (b, &ann), (c, &ann), (d, &bob)]),
            live([(b, &ann), (d, &bob)]),
        ),
        Scenario { meddle: |directory| damage(directory, key(0x40, 5), Part::Header), ..swept },
    ]
}

fn of_the_directory() -> Vec<Scenario> {
    let (a, b) = (key(0x10, 1), key(0x20, 2));
    let (ann, bob) = (session(1, "ann", LATE), session(2, "bob", LATE));
    let given = || vec![Act::Prepare, Act::Create(a, ann.clone()), Act::Create(b, bob.clone())];
    let both = || live([(a, &ann), (b, &bob)]);
    let rebuilt = Scenario {
        meddle: |directory| std::fs::remove_dir_all(directory.join("owners")).unwrap(),
        ..scenario("prepare without an index", given(), Act::Prepare, both(), both())
    };
    let stale = Scenario {
        meddle: |directory| {
            let name = |key: SessionKey| {
                let names = std::fs::read_dir(directory.join("owners")).unwrap().flatten();
                let files = names
                    .filter(|dir| dir.path().is_dir())
                    .flat_map(|dir| std::fs::read_dir(dir.path()).unwrap());
                files
                    .flatten()
                    .find(|file| file.file_name().to_str().unwrap().ends_with(&key.to_string()))
                    .unwrap()
                    .path()
            };
            let entry = name(key(0x10, 1)).to_str().unwrap().to_owned();
            let gone = entry.replace(&key(0x10, 1).to_string(), &key(0x10, 9).to_string());
            std::fs::write(gone, "").unwrap();
        },
        ..scenario(
            "list past an entry without a session",
            given(),
            Act::List("ann".parse().unwrap()),
            both(),
            both(),
        )
    };
    vec![scenario("the first prepare", vec![], Act::Prepare, live([]), live([])), rebuilt, stale]
}

/// What of a session's file is damaged: a delete sees the one, only a load the other.
#[derive(Clone, Copy, Debug)]
enum Part {
    Header,
    Payload,
}

/// Flips a bit of a session's file.
fn damage(directory: &Path, key: SessionKey, part: Part) {
    let path = directory.join(format!("sessions/{:02x}/{key}", key.as_bytes()[15]));
    let mut bytes = std::fs::read(&path).unwrap();
    let at = match part {
        Part::Header => 40,
        Part::Payload => bytes.len() - 1,
    };
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}
