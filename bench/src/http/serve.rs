//! The servers that are started as `child serve WHAT`: without sessions, on our stores, and on tower-sessions' own
//! store in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, bail};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use session_core::SessionManager;
use session_http::{Session, SessionLayer};
use session_memory::MemoryStore;
use session_redis::{RedisConfig, RedisStore};
use session_sql::{SqlConfig, SqlStore};

use super::{listen, tower};
use crate::sample;

pub(crate) fn child(arguments: &[String]) -> Result<()> {
    let [what] = arguments else { bail!("a store is wanted") };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async { listen::listen(open(what).await?).await })
}

/// Everything with its defaults.
async fn open(what: &str) -> Result<Router> {
    let manager = match what.split(':').next() {
        Some("none") => return Ok(without_sessions()),
        Some("tower") => return Ok(tower::app(tower_sessions::MemoryStore::default())),
        Some("memory") => SessionManager::new(MemoryStore::default()),
        Some("redis") => SessionManager::new(RedisStore::new(RedisConfig::new(what))?),
        Some("sqlite" | "postgres") => SessionManager::new(SqlStore::connect(what, SqlConfig::default())?),
        _ => bail!("{what}: no such store"),
    };
    manager.prepare().await?;
    Ok(ours(manager))
}

/// The same answers, and a count for all visitors together.
fn without_sessions() -> Router {
    let count = |State(visits): State<Arc<AtomicU64>>| async move {
        (visits.fetch_add(1, Ordering::Relaxed) + 1).to_string()
    };
    Router::new()
        .route("/untouched", get(|| async { "hello" }))
        .route("/read", get(|| async { sample::READ_VALUE.to_owned() }))
        .route("/counter", get(count))
        .with_state(Arc::default())
}

pub(crate) fn ours(manager: SessionManager) -> Router {
    Router::new()
        .route("/untouched", get(|| async { "hello" }))
        .route("/read", get(read))
        .route("/counter", get(counter))
        .route("/visits", get(visits))
        .route("/fill", get(fill))
        .layer(SessionLayer::new(manager))
}

fn failed(error: session_core::Error) -> StatusCode {
    eprintln!("{error:?}");
    StatusCode::INTERNAL_SERVER_ERROR
}

async fn read(session: Session) -> Result<String, StatusCode> {
    Ok(session.get(sample::READ).map_err(failed)?.unwrap_or_default())
}

async fn counter(session: Session) -> Result<String, StatusCode> {
    let visits = session.update(sample::VISITS, |visits: Option<u64>| visits.unwrap_or(0) + 1);
    Ok(visits.map_err(failed)?.to_string())
}

async fn visits(session: Session) -> Result<String, StatusCode> {
    Ok(session.get::<u64>(sample::VISITS).map_err(failed)?.unwrap_or(0).to_string())
}

async fn fill(session: Session) -> Result<(), StatusCode> {
    for (name, value) in sample::visitor() {
        session.insert(&name, &value).map_err(failed)?;
    }
    session.insert(sample::VISITS, &0_u64).map_err(failed)
}
