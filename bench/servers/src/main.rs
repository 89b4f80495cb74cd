//! Web servers whose sessions are those of tower-sessions on a database. The benchmarks start this program with a URL.

#[path = "../../src/http/listen.rs"]
mod listen;
#[path = "../../src/sample.rs"]
#[allow(dead_code, reason = "written for the benchmarks")]
mod sample;
#[path = "../../src/http/tower.rs"]
mod tower;

use std::str::FromStr as _;

use anyhow::{Context as _, Result, bail};
use axum::Router;
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tower_sessions_redis_store::RedisStore;
use tower_sessions_redis_store::fred::prelude::{Builder, ClientLike as _, Config};
use tower_sessions_redis_store::fred::types::config::ConnectionConfig;
use tower_sessions_sqlx_store::{PostgresStore, SqliteStore};

#[tokio::main]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).context("usage: session-bench-servers URL")?;
    listen::listen(open(&url).await?).await
}

/// Pools have sqlx's defaults, ten connections; Redis has one connection, as for our store.
async fn open(url: &str) -> Result<Router> {
    match url.split(':').next() {
        Some("sqlite") => {
            let options = SqliteConnectOptions::from_str(url)?.create_if_missing(true);
            let options = options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Normal);
            let store = SqliteStore::new(SqlitePoolOptions::new().connect_with(options).await?);
            store.migrate().await?;
            Ok(tower::app(store))
        }
        Some("postgres") => {
            let store = PostgresStore::new(PgPoolOptions::new().connect(url).await?);
            store.migrate().await?;
            Ok(tower::app(store))
        }
        Some("redis") => {
            let mut builder = Builder::from_config(Config::from_url(url)?);
            builder.with_connection_config(|config: &mut ConnectionConfig| config.tcp.nodelay = Some(true));
            let client = builder.build()?;
            client.init().await?;
            Ok(tower::app(RedisStore::new(client)))
        }
        _ => bail!("{url}: no such store"),
    }
}
