//! The parent's end: a store whose operations happen in the child.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::{Value, json};
use session_core::{
    Created, Cursor, Error, ErrorKind, Owner, Page, Record, Result, Revision, Saved, SessionKey,
    SessionStore, Timestamp, Touched,
};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};

use crate::wire;

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>;

#[derive(Debug)]
pub(crate) struct Remote {
    calls: mpsc::UnboundedSender<String>,
    waiting: Waiting,
    number: AtomicU64,
    /// Killed when it is dropped.
    _child: Child,
}

impl Remote {
    pub(crate) fn start(directory: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(crate::CHILD, directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let (calls, mut called) = mpsc::unbounded_channel::<String>();
        tokio::spawn(async move {
            while let Some(line) = called.recv().await {
                if input.write_all(line.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
        let waiting = Waiting::default();
        let answered = Arc::clone(&waiting);
        tokio::spawn(async move {
            while let Ok(Some(line)) = output.next_line().await {
                let answer: Value = serde_json::from_str(&line).unwrap();
                let number = answer["number"].as_u64().unwrap();
                if let Some(waiter) = answered.lock().unwrap().remove(&number) {
                    let _gone = waiter.send(answer);
                }
            }
            // Whoever still waits learns that the child has ended.
            answered.lock().unwrap().clear();
        });
        Self { calls, waiting, number: AtomicU64::new(0), _child: child }
    }

    async fn call(&self, mut call: Value) -> Result<Value> {
        let ended = || Error::new(ErrorKind::Other, "the child has ended");
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        call["number"] = json!(number);
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().unwrap().insert(number, sender);
        self.calls.send(format!("{call}\n")).map_err(|_| ended())?;
        let mut answer = answer.await.map_err(|_| ended())?;
        if answer["error"].is_null() {
            Ok(answer["ok"].take())
        } else {
            Err(wire::to_error(&answer["error"]))
        }
    }
}

#[async_trait]
impl SessionStore for Remote {
    async fn prepare(&self) -> Result<()> {
        self.call(json!({ "operation": "prepare" })).await.map(drop)
    }

    async fn create(&self, key: SessionKey, record: &Record) -> Result<Created> {
        let call = json!({ "operation": "create", "key": key.to_string(), "record": wire::record(record) });
        Ok(match self.call(call).await?.as_str() {
            Some("Stored") => Created::Stored,
            Some("Occupied") => Created::Occupied,
            other => panic!("{other:?}"),
        })
    }

    async fn load(&self, key: SessionKey) -> Result<Option<Record>> {
        let found = self.call(json!({ "operation": "load", "key": key.to_string() })).await?;
        Ok(if found.is_null() { None } else { Some(wire::to_record(&found)) })
    }

    async fn save(&self, key: SessionKey, expected: Revision, record: &Record) -> Result<Saved> {
        let call = json!({
            "operation": "save", "key": key.to_string(), "expected": expected.as_u64(), "record": wire::record(record),
        });
        Ok(match self.call(call).await?.as_str() {
            Some("Stored") => Saved::Stored,
            Some("Conflict") => Saved::Conflict,
            Some("Missing") => Saved::Missing,
            other => panic!("{other:?}"),
        })
    }

    async fn touch(&self, key: SessionKey, expected: Revision, expires_at: Timestamp) -> Result<Touched> {
        let call = json!({
            "operation": "touch", "key": key.to_string(), "expected": expected.as_u64(),
            "expires_at": expires_at.as_millis(),
        });
        Ok(match self.call(call).await?.as_str() {
            Some("Stored") => Touched::Stored,
            Some("Conflict") => Touched::Conflict,
            Some("Missing") => Touched::Missing,
            other => panic!("{other:?}"),
        })
    }

    async fn delete(&self, key: SessionKey) -> Result<bool> {
        Ok(self.call(json!({ "operation": "delete", "key": key.to_string() })).await?.as_bool().unwrap())
    }

    async fn list(&self, owner: Option<&Owner>, cursor: Option<&Cursor>, limit: usize) -> Result<Page> {
        let (owner, cursor) = (owner.map(Owner::as_str), cursor.map(Cursor::as_str));
        let call = json!({ "operation": "list", "owner": owner, "cursor": cursor, "limit": limit });
        Ok(wire::to_page(&self.call(call).await?))
    }

    async fn delete_owned(&self, owner: &Owner, keep: Option<SessionKey>) -> Result<u64> {
        let keep = keep.map(|key| key.to_string());
        let call = json!({ "operation": "delete_owned", "owner": owner.as_str(), "keep": keep });
        Ok(self.call(call).await?.as_u64().unwrap())
    }

    async fn delete_expired(&self, limit: usize) -> Result<u64> {
        Ok(self.call(json!({ "operation": "delete_expired", "limit": limit })).await?.as_u64().unwrap())
    }

    async fn now(&self) -> Result<Timestamp> {
        Ok(wire::to_time(&self.call(json!({ "operation": "now" })).await?))
    }
}
