//! A database that is killed under load: nothing that was acknowledged is lost, nothing is torn, and the same handle
//! goes on when it is back.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use session_core::{Created, Record, Revision, Saved, SessionKey, SessionStore as _};
use session_sql::{SqlConfig, SqlStore};
use tokio::task::JoinSet;

use crate::child;
use crate::common::{mariadb, open, open_with, postgres, record, sqlite};

/// A record whose payload tells its revision, over several pages.
fn marked() -> Record {
    let mut record = record(&[]);
    let mark = record.revision.as_u64().to_le_bytes();
    record.payload = mark.repeat(2_500).into();
    record
}

fn is_whole(record: &Record) -> bool {
    record.payload[..] == record.revision.as_u64().to_le_bytes().repeat(2_500)[..]
}

/// What a writer knows of each of its sessions: the revision that was acknowledged last, and one whose answer did
/// not come.
type Known = HashMap<SessionKey, (Option<Revision>, Option<Revision>)>;

/// Creates and saves until the database fails.
async fn write(store: SqlStore, acknowledged: Arc<AtomicUsize>) -> Known {
    let mut known = Known::new();
    loop {
        let (key, first, second) = (crate::common::key(), marked(), marked());
        known.insert(key, (None, Some(first.revision)));
        match store.create(key, &first).await {
            Ok(outcome) => assert_eq!(outcome, Created::Stored),
            Err(_) => return known,
        }
        known.insert(key, (Some(first.revision), Some(second.revision)));
        match store.save(key, first.revision, &second).await {
            Ok(outcome) => assert_eq!(outcome, Saved::Stored),
            Err(_) => return known,
        }
        known.insert(key, (Some(second.revision), None));
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

async fn killed_under_load(url: &str, kill: impl FnOnce(), restart: impl FnOnce()) {
    let store = open_with(url, SqlConfig::default().with_timeout(Duration::from_secs(3)));
    store.prepare().await.unwrap();
    let start = Instant::now();
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let mut writers: JoinSet<Known> = (0..8).map(|_| write(store.clone(), acknowledged.clone())).collect();
    while acknowledged.load(Ordering::Relaxed) < 200 {
        assert!(
            !writers.is_empty() && start.elapsed() < Duration::from_secs(120),
            "the writers do not get on"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    kill();
    let mut known = Known::new();
    while let Some(writer) = writers.join_next().await {
        known.extend(writer.unwrap());
    }
    restart();
    for (key, (stored, unsure)) in known {
        let found = store.load(key).await.expect("the handle does not work again");
        match &found {
            None => assert!(stored.is_none(), "an acknowledged session is lost"),
            Some(found) => {
                assert!(is_whole(found), "a session is torn");
                let revision = Some(found.revision);
                assert!(revision == stored || revision == unsure, "an acknowledged save is lost");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_killed_under_load_loses_nothing_that_was_acknowledged() {
    let Some(server) = postgres(&[]) else { return };
    killed_under_load(&server.url(), || server.process().kill().unwrap(), || server.restart().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_killed_under_load_loses_nothing_that_was_acknowledged() {
    let Some(server) = mariadb(&[]) else { return };
    killed_under_load(&server.url(), || server.process().kill().unwrap(), || server.restart().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_while_it_writes_to_sqlite_loses_nothing_that_was_acknowledged() {
    let (_directory, url) = sqlite();
    let store = open(&url);
    store.prepare().await.unwrap();
    let mut child = child::command("write until killed", &url).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut stored = Vec::new();
    let mut read = |at_most: usize| {
        for line in lines.by_ref().map_while(Result::ok).take(at_most) {
            stored.extend(line.strip_prefix("stored ").map(|key| key.parse::<SessionKey>().unwrap()));
        }
    };
    read(300);
    child.kill().unwrap();
    // What it still told before it died.
    read(usize::MAX);
    child.wait().unwrap();
    assert!(stored.len() > 100, "only {} sessions were written", stored.len());
    for key in stored {
        let found = store.load(key).await.unwrap().expect("an acknowledged session is lost");
        assert_eq!(found.payload[..], [7; 2000]);
    }
}
