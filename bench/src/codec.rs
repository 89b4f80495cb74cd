//! Whole sessions to bytes and back. What a request pays, which reads single entries, is in the suite `memory`.

mod entries;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use serde_json::{Map, Value as Json, json};
use session_core::{Codec, Codecs, Value};

use crate::report::Report;
use crate::rounds::{Contender, Contest, Effort, Job, Tally, repeat};
use crate::sample;

pub(crate) async fn run(effort: Effort, report: &mut Report) -> Result<()> {
    let formats = || -> Result<Vec<Box<dyn Format>>> {
        Ok(vec![
            Box::new(SerdeJson),
            Box::new(RmpSerde),
            Box::new(Ours::new("our bincode", Codec::bincode())?),
            Box::new(Ours::new("our JSON", Codec::json())?),
            Box::new(Ours::new("our MessagePack", Codec::msgpack())?),
        ])
    };
    let title = "bytes of a session of 577 B as JSON";
    if report.wants(title) {
        sizes(formats()?, title, report)?;
    }
    for (title, decode) in [("encode all eleven entries", false), ("decode all eleven entries", true)] {
        let contender = |format: Box<dyn Format>| -> Result<Arc<dyn Contender>> {
            Ok(Arc::new(Whole { encoded: format.encode()?, format, decode }))
        };
        report
            .contest(Contest {
                title: title.to_owned(),
                contenders: formats()?.into_iter().map(contender).collect::<Result<_>>()?,
                tasks: 1,
                operations: effort.pick(20_000, 100_000),
                rounds: effort.pick(3, 11),
            })
            .await?;
    }
    entries::run(effort, report).await
}

fn sizes(formats: Vec<Box<dyn Format>>, title: &str, report: &mut Report) -> Result<()> {
    let sizes: Vec<_> =
        formats.iter().map(|one| Ok((one.name(), one.encode()?.len()))).collect::<Result<_>>()?;
    let rows = sizes.iter().map(|(name, bytes)| vec![(*name).to_owned(), bytes.to_string()]);
    let raw = sizes.iter().map(|(name, bytes)| json!({ "name": name, "bytes": bytes }));
    report.table(title, &["", "bytes"], rows.collect(), raw.collect());
    Ok(())
}

/// The sample, in and out of one format.
trait Format: Send + Sync {
    fn name(&self) -> &'static str;
    fn encode(&self) -> Result<Vec<u8>>;
    /// How many entries there were.
    fn decode(&self, encoded: &[u8]) -> Result<usize>;
}

struct Whole {
    format: Box<dyn Format>,
    encoded: Vec<u8>,
    decode: bool,
}

#[async_trait]
impl Contender for Whole {
    fn name(&self) -> &'static str {
        self.format.name()
    }

    async fn reset(&self) -> Result<()> {
        Ok(())
    }

    async fn run(&self, job: Job) -> Result<Tally> {
        if self.decode {
            repeat!(job, |_n| ensure!(self.format.decode(black_box(&self.encoded))? == 11))
        } else {
            repeat!(job, |_n| ensure!(!black_box(self.format.encode()?).is_empty()))
        }
    }
}

thread_local! {
    static JSON: Map<String, Json> = sample::session();
}

/// A map of JSON values as text: actix-session and others.
struct SerdeJson;

impl Format for SerdeJson {
    fn name(&self) -> &'static str {
        "serde_json map"
    }

    fn encode(&self) -> Result<Vec<u8>> {
        JSON.with(|map| Ok(serde_json::to_vec(map)?))
    }

    fn decode(&self, encoded: &[u8]) -> Result<usize> {
        Ok(black_box(serde_json::from_slice::<Map<String, Json>>(encoded)?).len())
    }
}

/// A map of JSON values as MessagePack: the stores of tower-sessions.
struct RmpSerde;

impl Format for RmpSerde {
    fn name(&self) -> &'static str {
        "rmp-serde map"
    }

    fn encode(&self) -> Result<Vec<u8>> {
        JSON.with(|map| Ok(rmp_serde::to_vec(map)?))
    }

    fn decode(&self, encoded: &[u8]) -> Result<usize> {
        Ok(black_box(rmp_serde::from_slice::<Map<String, Json>>(encoded)?).len())
    }
}

struct Ours {
    name: &'static str,
    codecs: Codecs,
    entries: BTreeMap<String, Value>,
}

impl Ours {
    fn new(name: &'static str, codec: Codec) -> Result<Self> {
        Ok(Self { name, codecs: Codecs::new(codec), entries: sample::entries()? })
    }
}

impl Format for Ours {
    fn name(&self) -> &'static str {
        self.name
    }

    fn encode(&self) -> Result<Vec<u8>> {
        Ok(self.codecs.encode_entries(sample::key(0), &self.entries)?.to_vec())
    }

    fn decode(&self, encoded: &[u8]) -> Result<usize> {
        Ok(black_box(self.codecs.decode_entries(sample::key(0), encoded)?).len())
    }
}
