//! Connections: too few of them, and many writers on one file.

use std::time::{Duration, Instant};

use session_conformance::servers::PgBouncer;
use session_core::{Created, ErrorKind, Record, Saved, SessionStore as _, Timestamp};
use session_sql::sqlx::mysql::MySqlPoolOptions;
use session_sql::sqlx::postgres::PgPoolOptions;
use session_sql::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use session_sql::sqlx::{self, Connection as _, Executor as _, SqliteConnection};
use session_sql::{SqlConfig, SqlStore};

use crate::child;
use crate::common::{installed, key, mariadb, open, open_with, postgres, record, sqlite};

#[tokio::test]
async fn a_pool_that_is_in_use_is_unavailable_in_time_and_works_again_afterwards() {
    let Some(server) = postgres(&[]) else { return };
    let pool = PgPoolOptions::new().max_connections(1).connect(&server.url()).await.unwrap();
    let config = SqlConfig::default().with_timeout(Duration::from_millis(500));
    let store = SqlStore::with_postgres_pool(pool.clone(), config).unwrap();
    store.prepare().await.unwrap();

    let taken = pool.acquire().await.unwrap();
    let start = Instant::now();
    let error = store.load(key()).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout), "{error}");
    assert!(error.is_retryable() && start.elapsed() < Duration::from_secs(10));
    drop(taken);
    assert_eq!(store.load(key()).await.unwrap(), None);
}

#[tokio::test]
async fn behind_a_pooler_that_mixes_them_up_prepared_statements_are_refused_with_advice() {
    let Some(server) = postgres(&[]) else { return };
    open(&server.url()).prepare().await.unwrap();
    // Every statement of every client is on one connection.
    let pooler = PgBouncer::start(&server, &[("default_pool_size", "1")]);
    let Some(pooler) = installed("postgres", pooler) else { return };
    let first = open(&pooler.url());
    assert_eq!(first.load(key()).await.unwrap(), None);
    let error = open(&pooler.url()).load(key()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error:?}");
    assert!(error.to_string().contains("with_prepared_statements"), "{error}");

    let config = SqlConfig::default().with_prepared_statements(false);
    let (one, other) = (open_with(&pooler.url(), config.clone()), open_with(&pooler.url(), config));
    let (key, record) = (key(), record(b"x"));
    assert_eq!(one.create(key, &record).await.unwrap(), Created::Stored);
    assert_eq!(other.load(key).await.unwrap(), Some(record));
}

/// The server's clock stands in another year than the host's.
#[tokio::test]
async fn the_clock_of_a_server_that_is_years_off_judges_expiry_and_tells_the_time() {
    let Some(server) = mariadb(&[]) else { return };
    let pool = MySqlPoolOptions::new().after_connect(|connection, _| {
        Box::pin(async move { connection.execute("SET timestamp = 2000000000").await.map(drop) })
    });
    let pool = pool.connect(&server.url()).await.unwrap();
    let store = SqlStore::with_mysql_pool(pool, SqlConfig::default()).unwrap();
    store.prepare().await.unwrap();
    let now = store.now().await.unwrap();
    // What the statement measures of its wait is off by less than a quarter of an hour.
    assert!((now.as_millis() - 2_000_000_000_000).abs() <= 900_000, "{now}");
    for (offset, is_live) in [(-3_600_000, false), (3_600_000, true)] {
        let expires_at = Timestamp::from_millis(now.as_millis() + offset);
        let (key, record) = (key(), Record { expires_at, ..record(b"x") });
        assert_eq!(store.create(key, &record).await.unwrap(), Created::Stored);
        assert_eq!(store.load(key).await.unwrap().is_some(), is_live);
    }
}

/// So many tasks that create, load and save so many sessions each.
async fn write_and_read(store: &SqlStore, tasks: usize, sessions: usize) {
    let tasks: Vec<_> = (0..tasks)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..sessions {
                    let (key, first, second) = (key(), record(b"first"), record(b"second"));
                    assert_eq!(store.create(key, &first).await.unwrap(), Created::Stored);
                    assert_eq!(store.load(key).await.unwrap().unwrap().revision, first.revision);
                    assert_eq!(store.save(key, first.revision, &second).await.unwrap(), Saved::Stored);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_one_process_take_turns_instead_of_finding_the_file_locked() {
    let (_directory, url) = sqlite();
    let options: SqliteConnectOptions = url.parse().unwrap();
    // Without a busy timeout the first two writers that meet would fail.
    let options =
        options.create_if_missing(true).journal_mode(SqliteJournalMode::Wal).busy_timeout(Duration::ZERO);
    let pool = SqlitePoolOptions::new().max_connections(8).connect_with(options).await.unwrap();
    let store = SqlStore::with_sqlite_pool(pool, SqlConfig::default()).unwrap();
    store.prepare().await.unwrap();
    write_and_read(&store, 16, 50).await;
}

/// Without a write-ahead log a reader and the writer keep each other out of the file. They wait as long as the pool's
/// connections were told to.
#[tokio::test(flavor = "multi_thread")]
async fn an_sqlite_pool_without_a_write_ahead_log_serves_too_and_stays_as_it_is() {
    for mode in [SqliteJournalMode::Delete, SqliteJournalMode::Truncate] {
        let (_directory, url) = sqlite();
        let options: SqliteConnectOptions = url.parse().unwrap();
        let options =
            options.create_if_missing(true).journal_mode(mode).busy_timeout(Duration::from_secs(60));
        let pool = SqlitePoolOptions::new().max_connections(8).connect_with(options).await.unwrap();
        let config = SqlConfig::default().with_timeout(Duration::from_secs(100));
        let store = SqlStore::with_sqlite_pool(pool.clone(), config).unwrap();
        store.prepare().await.unwrap();
        write_and_read(&store, 8, 10).await;
        let found: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&pool).await.unwrap();
        assert_eq!(found, if mode == SqliteJournalMode::Delete { "delete" } else { "truncate" });
    }
}

/// A pool that was told not to wait at all, with a reader in the file for ever: an error, in time, and no lost session.
#[tokio::test]
async fn an_sqlite_pool_whose_file_is_locked_says_so() {
    let (_directory, url) = sqlite();
    let options: SqliteConnectOptions = url.parse().unwrap();
    let options =
        options.create_if_missing(true).journal_mode(SqliteJournalMode::Delete).busy_timeout(Duration::ZERO);
    let pool = SqlitePoolOptions::new().max_connections(2).connect_with(options.clone()).await.unwrap();
    let store = SqlStore::with_sqlite_pool(pool, SqlConfig::default()).unwrap();
    store.prepare().await.unwrap();
    let (key, first, second) = (key(), record(b"first"), record(b"second"));
    assert_eq!(store.create(key, &first).await.unwrap(), Created::Stored);

    let mut reader = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT count(*) FROM sessions").execute(&mut reader).await.unwrap();
    let error = store.save(key, first.revision, &second).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    assert!(error.is_retryable() && error.to_string().contains("lock"), "{error}");
    assert_eq!(store.load(key).await.unwrap().as_ref(), Some(&first));
    sqlx::raw_sql("COMMIT").execute(&mut reader).await.unwrap();
    assert_eq!(store.save(key, first.revision, &second).await.unwrap(), Saved::Stored);
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_several_processes_never_find_the_file_locked() {
    let (_directory, url) = sqlite();
    open(&url).prepare().await.unwrap();
    let children: Vec<_> = (0..4).map(|_| child::command("write", &url).spawn().unwrap()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}
