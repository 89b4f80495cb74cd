//! Making the schema, and meeting one that is not ours.

use session_core::{Created, ErrorKind, SessionStore as _};
use session_sql::SqlConfig;

use crate::child;
use crate::common::{key, mariadb, number, open, open_with, postgres, record, run, sqlite};

/// Prepares `url`'s database from ten processes at once, and once more.
async fn raced(url: &str) {
    let children: Vec<_> = (0..10).map(|_| child::command("prepare", url).spawn().unwrap()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let store = open(url);
    store.prepare().await.unwrap();
    assert_eq!(store.create(key(), &record(b"x")).await.unwrap(), Created::Stored);
    assert_eq!(number(url, "SELECT count(*) FROM sessions_schema").await, 1);
    assert_eq!(number(url, "SELECT max(version) FROM sessions_schema").await, 1);
}

/// Goes through the states in which a schema can be found.
async fn found(url: &str) {
    // By somebody's own migrations, which may run twice.
    let own = open_with(url, SqlConfig::default().with_table("migrated"));
    run(url, own.schema_sql()).await.unwrap();
    run(url, own.schema_sql()).await.unwrap();
    assert_eq!(own.create(key(), &record(b"x")).await.unwrap(), Created::Stored);
    own.prepare().await.unwrap();
    assert_eq!(number(url, "SELECT count(*) FROM migrated").await, 1, "prepare began anew");

    // Half of it: the process ended in between.
    let half = open_with(url, SqlConfig::default().with_table("half"));
    let first = half.schema_sql().split_once(";\n").unwrap().0;
    run(url, first).await.unwrap();
    half.prepare().await.unwrap();
    assert_eq!(number(url, "SELECT max(version) FROM half_schema").await, 1);

    // Not at all.
    let absent = open_with(url, SqlConfig::default().with_table("absent"));
    let error = absent.load(key()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("prepare"), "{error}");

    // Of a newer release.
    run(url, "INSERT INTO migrated_schema VALUES (2)").await.unwrap();
    let error = own.prepare().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("version 2"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_sqlite_file_is_prepared_by_several_at_once() {
    for _ in 0..20 {
        let (_directory, url) = sqlite();
        let stores: Vec<_> = (0..4).map(|_| open(&url)).collect();
        let tasks: Vec<_> =
            stores.into_iter().map(|store| tokio::spawn(async move { store.prepare().await })).collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn sqlite_is_prepared_by_ten_processes_at_once_and_from_any_state() {
    let (_directory, url) = sqlite();
    raced(&url).await;
    found(&url).await;
}

#[tokio::test]
async fn postgres_is_prepared_by_ten_processes_at_once_and_from_any_state() {
    let Some(server) = postgres(&[]) else { return };
    raced(&server.url()).await;
    found(&server.url()).await;
    // A user that may use the table and nothing else.
    let grant = "CREATE USER web; GRANT SELECT, INSERT, UPDATE, DELETE ON sessions TO web; \
                 GRANT SELECT ON sessions_schema TO web";
    run(&server.url(), grant).await.unwrap();
    open(&server.url().replace("session@", "web@")).prepare().await.unwrap();
}

#[tokio::test]
async fn mariadb_is_prepared_by_ten_processes_at_once_and_from_any_state() {
    let Some(server) = mariadb(&[]) else { return };
    raced(&server.url()).await;
    found(&server.url()).await;
    let grant = "CREATE USER web@'127.0.0.1'; GRANT SELECT, INSERT, UPDATE, DELETE ON test.sessions TO web@'127.0.0.1'; \
                 GRANT SELECT ON test.sessions_schema TO web@'127.0.0.1'";
    run(&server.url(), grant).await.unwrap();
    open(&server.url().replace("root@", "web@")).prepare().await.unwrap();
}
