//! Whether an owner with many sessions costs more, and what it takes to list and to end them.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use serde_json::json;
use session_core::{Created, Cursor, Owner, Record, Revision, Saved, SessionStore as _, Timestamp};
use session_memory::MemoryStore;

use crate::operation::{Operation, fresh, share};
use crate::report::{Report, median, time};
use crate::rounds::{Contender, Contest, Effort, Job, Tally, repeat};
use crate::sample::key;

const SESSIONS: u64 = 10_000;

pub(crate) async fn run(effort: Effort, report: &mut Report) -> Result<()> {
    for operation in [Operation::Save, Operation::Create] {
        let title = format!("owners: {operation:?}, {SESSIONS} sessions of 577 B");
        let each = Owned { name: "an owner each", of: 1, operation, store: RwLock::default() };
        let all = Owned { name: "one owner of all", of: SESSIONS, operation, store: RwLock::default() };
        let contenders: Vec<Arc<dyn Contender>> = vec![Arc::new(each), Arc::new(all)];
        let (operations, rounds) = effort.pick((32_000, 3), (160_000, 11));
        report.contest(Contest { title, contenders, tasks: 1, operations, rounds }).await?;
    }
    let title = format!("owners: list and end {SESSIONS} sessions of one owner");
    if report.wants(&title) { end_all(effort, &title, report).await } else { Ok(()) }
}

async fn end_all(effort: Effort, title: &str, report: &mut Report) -> Result<()> {
    let owner = owner(0, SESSIONS)?;
    let (mut listed, mut ended) = (Vec::new(), Vec::new());
    for _ in 0..effort.pick(3, 11) {
        let store = filled(SESSIONS).await?;
        let start = Instant::now();
        let (mut count, mut cursor) = (0, None::<Cursor>);
        loop {
            let page = store.list(Some(&owner), cursor.as_ref(), 256).await?;
            count += page.sessions.len();
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        listed.push(start.elapsed().as_nanos() as f64 / SESSIONS as f64);
        ensure!(count as u64 == SESSIONS, "{count} were listed");
        let start = Instant::now();
        let count = store.delete_owned(&owner, Some(key(0))).await?;
        ended.push(start.elapsed().as_nanos() as f64 / SESSIONS as f64);
        ensure!(count == SESSIONS - 1, "{count} were ended");
    }
    let rows = [("list, in pages of 256", &listed), ("end all but one", &ended)];
    let raw = rows.map(|(name, nanos)| json!({ "name": name, "ns_per_session": nanos }));
    let rows = rows.map(|(name, nanos)| vec![name.to_owned(), time(median(nanos))]);
    report.table(title, &["", "a session"], rows.into(), raw.into());
    Ok(())
}

fn owner(n: u64, of: u64) -> Result<Owner> {
    Ok(Owner::new(format!("user-{}", n / of))?)
}

fn record(n: u64, of: u64) -> Result<Record> {
    Ok(Record {
        revision: Revision::from_u64(n),
        owner: Some(owner(n % SESSIONS, of)?),
        created_at: Timestamp::from_millis(1_800_000_000_000),
        expires_at: Timestamp::from_millis(4_000_000_000_000).saturating_add(Duration::from_millis(n)),
        payload: [7; 577].into(),
    })
}

async fn filled(of: u64) -> Result<MemoryStore> {
    let store = MemoryStore::default();
    for n in 0..SESSIONS {
        ensure!(store.create(key(n), &record(n, of)?).await? == Created::Stored);
    }
    Ok(store)
}

/// A store each of whose owners has so many sessions.
struct Owned {
    name: &'static str,
    of: u64,
    operation: Operation,
    store: RwLock<Option<MemoryStore>>,
}

#[async_trait]
impl Contender for Owned {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn reset(&self) -> Result<()> {
        let store = filled(self.of).await?;
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = Some(store);
        Ok(())
    }

    async fn run(&self, job: Job) -> Result<Tally> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner).clone().context("not reset")?;
        let mut own: Vec<_> = share(job, SESSIONS).map(|n| (key(n), n)).collect();
        let record = |n: usize| record(SESSIONS + n as u64, self.of);
        match self.operation {
            Operation::Create => repeat!(job, |n| {
                ensure!(store.create(fresh(job, n), &record(n)?).await? == Created::Stored);
            }),
            _ => repeat!(job, |n| {
                let (at, record) = (n % own.len(), record(n)?);
                let (key, revision) = own[at];
                let saved = store.save(key, Revision::from_u64(revision), &record).await?;
                ensure!(saved == Saved::Stored);
                own[at].1 = record.revision.as_u64();
            }),
        }
    }
}
