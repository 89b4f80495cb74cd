//! The suite's check of histories, while a cluster is turned over: slots move with their sessions, masters die.
//! Errors are allowed, wrong answers are not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed test says so by panicking

mod support;

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

use session_conformance::history::{Answer, Call, Recorder};
use session_conformance::servers::redis::{RedisCluster, RedisProgram, RedisServer, Reply, wait};
use session_core::{Created, Owner, Record, Revision, Saved, SessionKey, SessionStore as _, Timestamp};
use session_redis::{RedisConfig, RedisStore};

use crate::support::found;

const TASKS: usize = 4;
/// Sessions of a round: few, so that the tasks get into each other's way.
const KEYS: usize = 3;
/// Operations of a task in a round.
const OPERATIONS: usize = 25;
/// A task that has seen so many errors ends its round: what may or may not have happened makes the check longer.
const ERRORS: usize = 4;

fn cluster(replicas: usize, silence: Duration) -> Option<RedisCluster> {
    let program = found(RedisProgram::redis())?;
    Some(RedisCluster::start(&program, 3, replicas, silence).unwrap())
}

/// The work of several clients, in rounds on new sessions, each round with a history of its own.
struct Clients {
    stores: Vec<RedisStore>,
    /// The sessions of this round.
    keys: Mutex<Vec<SessionKey>>,
    /// Those of all rounds.
    all: Mutex<Vec<SessionKey>>,
    owners: [Owner; 2],
    answers: AtomicUsize,
    errors: AtomicUsize,
}

impl Clients {
    fn new(config: &RedisConfig) -> Self {
        Self {
            stores: (0..2).map(|_| RedisStore::new(config.clone()).unwrap()).collect(),
            keys: Mutex::default(),
            all: Mutex::default(),
            owners: ["ann", "bob"].map(|name| Owner::new(name).unwrap()),
            answers: AtomicUsize::new(0),
            errors: AtomicUsize::new(0),
        }
    }

    /// Works until the upheaval is over; every history must be linearizable.
    async fn work_during(&self, upheaval: impl FnOnce() + Send) {
        std::thread::scope(|threads| {
            let upheaval = threads.spawn(upheaval);
            let mut rounds = 0;
            while !upheaval.is_finished() || rounds == 0 {
                tokio::task::block_in_place(|| {
                    tokio::runtime::Handle::current().block_on(self.round());
                });
                rounds += 1;
            }
            upheaval.join().unwrap();
        });
    }

    async fn round(&self) {
        let keys: Vec<_> = (0..KEYS).map(|_| SessionKey::generate().unwrap()).collect();
        self.keys.lock().unwrap().clone_from(&keys);
        self.all.lock().unwrap().extend_from_slice(&keys);
        let (recorder, seen) = (Recorder::new(), Mutex::new(HashMap::new()));
        let tasks = (0..TASKS).map(|task| self.task(task, &keys, &seen, &recorder));
        futures_util::future::join_all(tasks).await;
        if let Err(violation) = recorder.history().check() {
            panic!("answers that operations one after the other could not have given:\n{violation}");
        }
    }

    async fn task(
        &self,
        task: usize,
        keys: &[SessionKey],
        seen: &Mutex<HashMap<SessionKey, Revision>>,
        recorder: &Recorder,
    ) {
        let store = &self.stores[task % self.stores.len()];
        let mut errors = 0;
        for _ in 0..OPERATIONS {
            let call = self.call(keys, &seen.lock().unwrap());
            match recorder.run(task, store, call.clone()).await {
                Ok(answer) => {
                    self.answers.fetch_add(1, Ordering::Relaxed);
                    if let Some((key, revision)) = learned(&call, &answer) {
                        seen.lock().unwrap().insert(key, revision);
                    }
                }
                Err(error) => {
                    assert!(error.is_retryable(), "{call:?}: {error:?}");
                    self.errors.fetch_add(1, Ordering::Relaxed);
                    errors += 1;
                    if errors == ERRORS {
                        return;
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(random() % 4)).await;
        }
    }

    fn call(&self, keys: &[SessionKey], seen: &HashMap<SessionKey, Revision>) -> Call {
        let key = keys[pick(keys.len())];
        let expected = seen.get(&key).copied().unwrap_or(Revision::from_u64(0));
        let record = self.record();
        match pick(100) {
            0..15 => Call::Create { key, record },
            15..45 => Call::Load { key },
            45..77 => Call::Save { key, expected, record },
            77..90 => Call::Touch { key, expected, expires_at: record.expires_at },
            _ => Call::Delete { key },
        }
    }

    fn record(&self) -> Record {
        Record {
            revision: Revision::generate().unwrap(),
            owner: self.owners.get(pick(3)).cloned(),
            created_at: Timestamp::now(),
            expires_at: Timestamp::now().saturating_add(Duration::from_secs(600 + random() % 600)),
            payload: random().to_le_bytes().into(),
        }
    }

    /// When all is quiet again: the owners' sessions are listed, exactly.
    async fn indexes_are_right(&self) {
        let store = &self.stores[0];
        let keys = self.all.lock().unwrap().clone();
        let mut live = Vec::new();
        for key in keys {
            live.extend(store.load(key).await.unwrap().map(|record| (key, record)));
        }
        for owner in &self.owners {
            let mut owned: Vec<_> =
                live.iter().filter(|(_, record)| record.owner.as_ref() == Some(owner)).cloned().collect();
            owned.sort_unstable_by_key(|(key, _)| *key);
            let mut listed = Vec::new();
            let mut cursor = None;
            loop {
                let page = store.list(Some(owner), cursor.as_ref(), 50).await.unwrap();
                listed.extend(page.sessions);
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(listed, owned);
        }
    }

    fn report(&self, what: &str) {
        let (answers, errors) = (self.answers.load(Ordering::Relaxed), self.errors.load(Ordering::Relaxed));
        println!("{answers} answers, {errors} errors; {what}");
    }
}

/// The revision at which a key was seen.
fn learned(call: &Call, answer: &Answer) -> Option<(SessionKey, Revision)> {
    match (call, answer) {
        (Call::Load { key }, Answer::Loaded(Some(record))) => Some((*key, record.revision)),
        (Call::Create { key, record }, Answer::Created(Created::Stored))
        | (Call::Save { key, record, .. }, Answer::Saved(Saved::Stored)) => Some((*key, record.revision)),
        _ => None,
    }
}

fn random() -> u64 {
    Revision::generate().unwrap().as_u64()
}

fn pick(below: usize) -> usize {
    usize::try_from(random() % below as u64).unwrap()
}

/// The node and the slot in which a session lies now.
fn place(cluster: &RedisCluster, key: SessionKey) -> Option<(usize, String)> {
    let pattern = format!("*{key}");
    for (at, node) in cluster.nodes().iter().enumerate() {
        let names = node.command(&[b"KEYS", pattern.as_bytes()]).map(Reply::list).unwrap_or_default();
        if let Some(name) = names.first() {
            let slot = node.command(&[b"CLUSTER", b"KEYSLOT", name.text().as_bytes()]).unwrap().text();
            return Some((at, slot));
        }
    }
    None
}

fn id(node: &RedisServer) -> String {
    node.command(&[b"CLUSTER", b"MYID"]).unwrap().text()
}

/// Moves a slot with all its keys, as `redis-cli --cluster reshard` does, with time between the steps in which the
/// slot lies on both servers.
fn move_slot(cluster: &RedisCluster, from: usize, to: usize, slot: &str) {
    let between = Duration::from_millis(4);
    let (source, target) = (&cluster.nodes()[from], &cluster.nodes()[to]);
    let set = |node: &RedisServer, how: &str, id: &str| {
        let command = ["CLUSTER", "SETSLOT", slot, how, id];
        node.command(&command.map(str::as_bytes)).unwrap();
    };
    let (source_id, target_id) = (id(source), id(target));
    set(target, "IMPORTING", &source_id);
    set(source, "MIGRATING", &target_id);
    sleep(between);
    loop {
        let keys = source.command(&["CLUSTER", "GETKEYSINSLOT", slot, "1"].map(str::as_bytes));
        let Some(key) = keys.unwrap().list().pop() else { break };
        let port = target.port().to_string();
        let command = [b"MIGRATE" as &[u8], b"127.0.0.1", port.as_bytes(), key_bytes(&key), b"0", b"5000"];
        source.command(&command).unwrap();
        sleep(between);
    }
    set(target, "NODE", &target_id);
    sleep(between);
    for node in [source].into_iter().chain(cluster.nodes()) {
        set(node, "NODE", &target_id);
    }
}

fn key_bytes(name: &Reply) -> &[u8] {
    match name {
        Reply::Bytes(bytes) => bytes,
        other => panic!("not a name: {other:?}"),
    }
}

/// How often the servers have answered with this error.
fn answered(cluster: &RedisCluster, error: &str) -> u64 {
    let one = |node: &RedisServer| {
        let stats = node.command(&[b"INFO", b"errorstats"]).unwrap().text();
        let prefix = format!("errorstat_{error}:count=");
        stats.lines().find_map(|line| line.strip_prefix(&prefix)?.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    cluster.nodes().iter().map(one).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_slots_move_with_their_sessions_every_answer_is_right() {
    const MOVES: usize = 150;
    let Some(cluster) = cluster(0, Duration::from_secs(30)) else { return };
    let clients = Clients::new(&RedisConfig::new(cluster.url()));
    clients
        .work_during(|| {
            let mut moves = 0;
            while moves < MOVES {
                let key = { clients.keys.lock().unwrap().get(pick(KEYS)).copied() };
                let Some((from, slot)) = key.and_then(|key| place(&cluster, key)) else {
                    sleep(Duration::from_millis(1));
                    continue;
                };
                move_slot(&cluster, from, (from + 1 + pick(2)) % 3, &slot);
                moves += 1;
            }
        })
        .await;
    let [moved, ask, again] = ["MOVED", "ASK", "TRYAGAIN"].map(|error| answered(&cluster, error));
    clients.report(&format!("{MOVES} slots moved: {moved} MOVED, {ask} ASK, {again} TRYAGAIN"));
    assert!(moved > 20 && ask > 20, "the moves were hardly noticed");
    clients.indexes_are_right().await;
    let (answers, errors) = (clients.answers.into_inner(), clients.errors.into_inner());
    assert!(errors * 10 < answers, "{errors} errors, {answers} answers");
}

fn says(node: &RedisServer, what: &str) -> bool {
    node.command(&[b"INFO", b"replication"]).is_ok_and(|info| info.text().contains(what))
}

/// A write that a master has acknowledged can be lost when the master dies: so the clients ask for the replica's word
/// (`WAIT`), and a write without it is an error. What a reader may see before that word is there is not protected by
/// it; a master that is killed, as here, has sent its last writes on before it could show them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_masters_die_and_their_replicas_take_over_every_answer_is_right() {
    let Some(cluster) = cluster(1, Duration::from_secs(1)) else { return };
    let config = RedisConfig::new(cluster.url()).with_wait(1, Duration::from_millis(300));
    let clients = Clients::new(&config);
    let deaths = AtomicUsize::new(0);
    clients
        .work_during(|| {
            // Each pair twice: the master dies, its replica takes over, and dies when the other one is its replica.
            for (dies, follows) in [(0, 3), (1, 4), (3, 0), (2, 5)] {
                let (dies, follows) = (&cluster.nodes()[dies], &cluster.nodes()[follows]);
                sleep(Duration::from_millis(700));
                dies.process().kill().unwrap();
                wait(|| Ok(says(follows, "role:master"))).unwrap();
                dies.restart().unwrap();
                wait(|| Ok(says(dies, "role:slave") && says(dies, "master_link_status:up"))).unwrap();
                deaths.fetch_add(1, Ordering::Relaxed);
            }
            sleep(Duration::from_millis(700));
        })
        .await;
    clients.report(&format!("{} masters died", deaths.into_inner()));
    clients.indexes_are_right().await;
    assert!(clients.errors.into_inner() > 0, "nobody noticed");
}
