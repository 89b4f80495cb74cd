//! Databases that say no: the error says why, and holds no password.

use session_core::{Created, Error, ErrorKind, SessionStore as _};
use session_sql::sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use session_sql::{SqlConfig, SqlStore};

use crate::common::{key, mariadb, open, open_with, postgres, record, run, sqlite};

fn is(error: &Error, kind: ErrorKind, word: &str) {
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.to_string().contains(word), "{error} does not contain {word:?}");
}

/// Makes a session, makes `url`'s database read-only by `sql`, and meets it at `read_only_url`.
async fn read_only(url: &str, sql: &str, read_only_url: &str) {
    let store = open(url);
    store.prepare().await.unwrap();
    let (key, record) = (key(), record(b"x"));
    assert_eq!(store.create(key, &record).await.unwrap(), Created::Stored);
    run(url, sql).await.unwrap();

    let store = open(read_only_url);
    is(&store.create(self::key(), &record).await.unwrap_err(), ErrorKind::Unavailable, "read-only");
    assert_eq!(store.load(key).await.unwrap().as_ref(), Some(&record));
}

#[tokio::test]
async fn a_read_only_sqlite_file_says_so_and_still_loads() {
    let (_directory, url) = sqlite();
    read_only(&url, "SELECT 1", &format!("{url}?mode=ro")).await;
}

#[tokio::test]
async fn a_full_sqlite_file_says_so_and_keeps_what_it_has() {
    let (_directory, url) = sqlite();
    let options: SqliteConnectOptions = url.parse().unwrap();
    let options = options.create_if_missing(true).pragma("max_page_count", "40");
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
    let store = SqlStore::with_sqlite_pool(pool, SqlConfig::default()).unwrap();
    store.prepare().await.unwrap();
    fills_up(&store).await;
}

#[tokio::test]
async fn postgres_says_why_it_refuses() {
    let Some(server) = postgres(&[]) else { return };
    let url = server.url();
    read_only(&url, "ALTER DATABASE postgres SET default_transaction_read_only = on", &url).await;

    run(&url, "BEGIN READ WRITE; CREATE USER poor PASSWORD 'hunter2'; COMMIT").await.unwrap();
    let poor = open(&url.replace("session@", "poor:hunter2@"));
    denied(&poor.load(key()).await.unwrap_err());
    let elsewhere = open(&url.replace("/postgres", "/nowhere").replace("session@", "session:hunter2@"));
    denied(&elsewhere.load(key()).await.unwrap_err());
}

#[tokio::test]
async fn mariadb_says_why_it_refuses() {
    let options =
        ["--innodb-file-per-table=0", "--innodb-data-file-path=ibdata1:48M", "--max-allowed-packet=8M"];
    let Some(server) = mariadb(&options) else { return };
    let url = server.url();

    let config = SqlConfig::default().with_max_payload(16 << 20);
    let store = open_with(&url, config.clone());
    store.prepare().await.unwrap();
    let large = record(&vec![7; 10 << 20]);
    is(&store.create(key(), &large).await.unwrap_err(), ErrorKind::TooLarge, "max_allowed_packet");
    // In a statement's text a byte takes two digits.
    let unprepared = open_with(&url, config.with_prepared_statements(false));
    let large = record(&vec![7; 6 << 20]);
    is(&unprepared.create(key(), &large).await.unwrap_err(), ErrorKind::TooLarge, "max_allowed_packet");
    let (key, half) = (key(), record(&vec![7; 3 << 20]));
    assert_eq!(unprepared.create(key, &half).await.unwrap(), Created::Stored);
    assert_eq!(unprepared.load(key).await.unwrap(), Some(half));
    assert!(unprepared.delete(key).await.unwrap());

    read_only(&url, "SET GLOBAL tx_read_only = 1", &url).await;
    run(&url, "SET GLOBAL tx_read_only = 0").await.unwrap();
    denied(&open(&url.replace("root@", "poor:hunter2@")).load(key).await.unwrap_err());
    // On connections of its own, which may write again.
    fills_up(&open(&url)).await;
}

/// Creates until there is no more room.
pub(crate) async fn fills_up(store: &SqlStore) {
    let (key, first) = (key(), record(b"x"));
    assert_eq!(store.create(key, &first).await.unwrap(), Created::Stored);
    let large = record(&[7; 20_000]);
    let full = loop {
        if let Err(error) = store.create(self::key(), &large).await {
            break error;
        }
    };
    is(&full, ErrorKind::Unavailable, "full");
    assert_eq!(store.load(key).await.unwrap(), Some(first));
}

fn denied(error: &Error) {
    is(error, ErrorKind::InvalidConfig, "refuses this user");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
}

#[tokio::test]
async fn what_cannot_be_reached_is_unavailable_at_once() {
    // A port that nobody listens on.
    let port = session_conformance::servers::free_port().unwrap();
    for url in [
        format!("postgres://me:hunter2@127.0.0.1:{port}/x"),
        format!("mysql://me:hunter2@127.0.0.1:{port}/x"),
    ] {
        let store = open(&url);
        let error = store.load(key()).await.unwrap_err();
        is(&error, ErrorKind::Unavailable, "connection");
        assert!(!format!("{error:?} {store:?}").contains("hunter2"));
    }
    let error = open("sqlite:/nowhere/at/all.db").load(key()).await.unwrap_err();
    is(&error, ErrorKind::Unavailable, "cannot be opened");
}

#[tokio::test]
async fn what_is_no_database_is_refused_before_anything_is_opened() {
    for url in ["", "oracle://me:hunter2@host/x", "sqlite:x?mode=odd", "postgres://[", "mysql://host:port/x"]
    {
        let error = SqlStore::connect(url, SqlConfig::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}: {error:?}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
    let config = SqlConfig::default().with_table("sessions; DROP TABLE users");
    assert_eq!(SqlStore::connect("sqlite::memory:", config).unwrap_err().kind(), ErrorKind::InvalidConfig);
}
