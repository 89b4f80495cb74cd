//! One entry of a stored session: read it, or change it and encode the session again. A program that knows the type of
//! all its sessions can decode a struct, which is less work than a map of values; we decode the one entry.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use session_core::{SessionId, SessionManager};
use session_memory::MemoryStore;

use crate::report::Report;
use crate::rounds::{Contender, Contest, Effort, Job, Tally, repeat};
use crate::sample;

const CHANGED: &str = "last_seen";

pub(crate) async fn run(effort: Effort, report: &mut Report) -> Result<()> {
    for (title, change) in [("read one of eleven entries", false), ("change one of eleven entries", true)] {
        let contenders: Vec<Arc<dyn Contender>> = vec![
            Arc::new(Whole::new("serde_json map", change, json_map)?),
            Arc::new(Whole::new("rmp-serde map", change, msgpack_map)?),
            Arc::new(Whole::new("bincode, typed struct", change, bincode_struct)?),
            Arc::new(Whole::new("postcard, typed struct", change, postcard_struct)?),
            Arc::new(Ours::new(change).await?),
        ];
        let (title, tasks) = (title.to_owned(), 1);
        let (operations, rounds) = effort.pick((20_000, 3), (100_000, 11));
        report.contest(Contest { title, contenders, tasks, operations, rounds }).await?;
    }
    Ok(())
}

/// The sample as a struct.
#[derive(Serialize, Deserialize)]
struct Typed {
    #[serde(rename = "_permanent")]
    permanent: bool,
    user_id: u64,
    username: String,
    display_name: String,
    roles: Vec<String>,
    csrf_token: String,
    cart: Vec<Article>,
    locale: String,
    theme: Theme,
    last_seen: i64,
    return_to: String,
}

#[derive(Serialize, Deserialize)]
struct Article {
    sku: String,
    qty: u32,
    price: u32,
}

#[derive(Serialize, Deserialize)]
struct Theme {
    dark: bool,
    font: u8,
    density: String,
    accent: String,
}

/// Decodes a session and gives what was last seen; when asked to, changes that and encodes the session.
type Entry = fn(&[u8], Option<i64>) -> Result<(i64, Vec<u8>)>;

fn of_map(mut map: Map<String, Json>, change: Option<i64>) -> Result<(i64, Map<String, Json>)> {
    let seen = map.get(CHANGED).and_then(Json::as_i64).context("no such entry")?;
    if let Some(change) = change {
        map.insert(CHANGED.to_owned(), change.into());
    }
    Ok((seen, map))
}

fn json_map(encoded: &[u8], change: Option<i64>) -> Result<(i64, Vec<u8>)> {
    let (seen, map) = of_map(serde_json::from_slice(encoded)?, change)?;
    Ok((seen, change.map(|_| serde_json::to_vec(&map)).transpose()?.unwrap_or_default()))
}

fn msgpack_map(encoded: &[u8], change: Option<i64>) -> Result<(i64, Vec<u8>)> {
    let (seen, map) = of_map(rmp_serde::from_slice(encoded)?, change)?;
    Ok((seen, change.map(|_| rmp_serde::to_vec(&map)).transpose()?.unwrap_or_default()))
}

fn bincode_struct(encoded: &[u8], change: Option<i64>) -> Result<(i64, Vec<u8>)> {
    let standard = bincode::config::standard();
    let (mut typed, _): (Typed, usize) = bincode::serde::decode_from_slice(encoded, standard)?;
    let seen = std::mem::replace(&mut typed.last_seen, change.unwrap_or_default());
    let typed = black_box(typed);
    let encoded = change.map(|_| bincode::serde::encode_to_vec(&typed, standard)).transpose()?;
    Ok((seen, encoded.unwrap_or_default()))
}

fn postcard_struct(encoded: &[u8], change: Option<i64>) -> Result<(i64, Vec<u8>)> {
    let mut typed: Typed = postcard::from_bytes(encoded)?;
    let seen = std::mem::replace(&mut typed.last_seen, change.unwrap_or_default());
    let typed = black_box(typed);
    Ok((seen, change.map(|_| postcard::to_stdvec(&typed)).transpose()?.unwrap_or_default()))
}

struct Whole {
    name: &'static str,
    change: bool,
    entry: Entry,
    encoded: Vec<u8>,
}

impl Whole {
    fn new(name: &'static str, change: bool, entry: Entry) -> Result<Self> {
        let sample = sample::session();
        let typed = || serde_json::from_value::<Typed>(Json::Object(sample.clone()));
        let encoded = match name.split([' ', ',']).next() {
            Some("serde_json") => serde_json::to_vec(&sample)?,
            Some("rmp-serde") => rmp_serde::to_vec(&sample)?,
            Some("bincode") => bincode::serde::encode_to_vec(typed()?, bincode::config::standard())?,
            _ => postcard::to_stdvec(&typed()?)?,
        };
        Ok(Self { name, change, entry, encoded })
    }
}

#[async_trait]
impl Contender for Whole {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn reset(&self) -> Result<()> {
        Ok(())
    }

    async fn run(&self, job: Job) -> Result<Tally> {
        let mut encoded = self.encoded.clone();
        let mut seen = (self.entry)(&encoded, None)?.0;
        if self.change {
            return repeat!(job, |n| {
                let next = 1_790_000_000_123 + n as i64;
                let (found, changed) = (self.entry)(black_box(&encoded), Some(next))?;
                ensure!(found == seen);
                (seen, encoded) = (next, changed);
            });
        }
        repeat!(job, |_n| ensure!(black_box((self.entry)(black_box(&encoded), None)?).0 == seen))
    }
}

/// With the way to a store in memory and back, which the others do not pay.
struct Ours {
    change: bool,
    manager: SessionManager,
    id: SessionId,
}

impl Ours {
    async fn new(change: bool) -> Result<Self> {
        let manager = SessionManager::new(MemoryStore::default());
        let session = manager.open(None).await?;
        for (name, value) in sample::session() {
            session.insert(&name, &value)?;
        }
        manager.commit(&session).await?.into_result()?;
        Ok(Self { change, manager, id: session.id().context("a committed session has an id")? })
    }
}

#[async_trait]
impl Contender for Ours {
    fn name(&self) -> &'static str {
        "ours, with a store in memory"
    }

    async fn reset(&self) -> Result<()> {
        Ok(())
    }

    async fn run(&self, job: Job) -> Result<Tally> {
        let session = self.manager.open(Some(&self.id)).await?;
        let mut last = session.get::<i64>(CHANGED)?.context("no such entry")?;
        if self.change {
            return repeat!(job, |n| {
                let session = self.manager.open(Some(&self.id)).await?;
                ensure!(session.get::<i64>(CHANGED)? == Some(last));
                last = 1_790_000_000_123 + n as i64;
                session.insert(CHANGED, &last)?;
                self.manager.commit(&session).await?.into_result()?;
            });
        }
        repeat!(job, |_n| {
            let session = self.manager.open(Some(&self.id)).await?;
            ensure!(session.get::<i64>(CHANGED)? == Some(last));
        })
    }
}
