//! The child: a store that is called over standard input.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};
use session_core::{Cursor, Result, SessionStore as _};
use session_file::{FileConfig, FileStore};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::sync::mpsc;

use crate::wire::{self, to_key, to_owner, to_record, to_revision, to_time};

/// Runs until the parent closes its end.
pub(crate) fn serve(directory: PathBuf) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = FileStore::new(FileConfig::new(directory)).unwrap();
        let (answers, mut answered) = mpsc::unbounded_channel::<String>();
        tokio::spawn(async move {
            let mut out = tokio::io::stdout();
            while let Some(line) = answered.recv().await {
                if out.write_all(line.as_bytes()).await.is_err() || out.flush().await.is_err() {
                    return;
                }
            }
        });
        let mut calls = BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(line)) = calls.next_line().await {
            let (store, answers) = (store.clone(), answers.clone());
            tokio::spawn(async move {
                let call: Value = serde_json::from_str(&line).unwrap();
                let answer = match answer(&store, &call).await {
                    Ok(answer) => json!({ "number": call["number"], "ok": answer }),
                    Err(error) => json!({ "number": call["number"], "error": wire::error(&error) }),
                };
                let _closed = answers.send(format!("{answer}\n"));
            });
        }
    });
    runtime.shutdown_background();
    ExitCode::SUCCESS
}

async fn answer(store: &FileStore, call: &Value) -> Result<Value> {
    let key = || to_key(&call["key"]);
    let record = || to_record(&call["record"]);
    let expected = || to_revision(&call["expected"]);
    Ok(match call["operation"].as_str().unwrap() {
        "prepare" => json!(store.prepare().await?),
        "create" => json!(format!("{:?}", store.create(key(), &record()).await?)),
        "load" => json!(store.load(key()).await?.as_ref().map(wire::record)),
        "save" => json!(format!("{:?}", store.save(key(), expected(), &record()).await?)),
        "touch" => {
            let done = store.touch(key(), expected(), to_time(&call["expires_at"])).await?;
            json!(format!("{done:?}"))
        }
        "delete" => json!(store.delete(key()).await?),
        "list" => {
            let (owner, cursor) = (to_owner(&call["owner"]), call["cursor"].as_str().map(Cursor::new));
            let limit = call["limit"].as_u64().unwrap() as usize;
            wire::page(&store.list(owner.as_ref(), cursor.as_ref(), limit).await?)
        }
        "delete_owned" => {
            let keep = call["keep"].as_str().map(|key| key.parse().unwrap());
            json!(store.delete_owned(&to_owner(&call["owner"]).unwrap(), keep).await?)
        }
        "delete_expired" => json!(store.delete_expired(call["limit"].as_u64().unwrap() as usize).await?),
        "now" => json!(store.now().await?.as_millis()),
        other => panic!("no such operation: {other}"),
    })
}
