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

    // The table was dropped, and its version was not.
    run(url, "DROP TABLE half").await.unwrap();
    half.prepare().await.unwrap();
    assert_eq!(half.create(key(), &record(b"x")).await.unwrap(), Created::Stored);

    // Somebody else's, of the same name.
    run(url, "CREATE TABLE other (session_key CHAR(32), data CHAR(32))").await.unwrap();
    let other = open_with(url, SqlConfig::default().with_table("other"));
    let error = other.prepare().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error:?}");
    assert!(error.to_string().contains("with_table"), "{error}");

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

/// What a user may do who may not create tables, and was granted the use of `user`'s part of the tables.
async fn prepared_by_who_may_not_create(url: &str, by: &str, user: &str) {
    for table in ["granted", "unversioned", "bare"] {
        let config = SqlConfig::default().with_table(table);
        let owned = open_with(url, config.clone());
        let tables = match table {
            // Somebody's migrations made the table alone.
            "bare" => owned.schema_sql().split_once(";\n").unwrap().0,
            _ => owned.schema_sql(),
        };
        run(url, tables).await.unwrap();
        run(url, &format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {user}")).await.unwrap();
        if table == "granted" {
            run(url, &format!("GRANT SELECT ON {table}_schema TO {user}")).await.unwrap();
        }
        let store = open_with(by, config);
        for _ in 0..2 {
            store.prepare().await.unwrap();
        }
        assert_eq!(store.create(key(), &record(b"x")).await.unwrap(), Created::Stored, "{table}");
    }
    let absent = open_with(by, SqlConfig::default().with_table("absent"));
    let error = absent.prepare().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error:?}");
    // MariaDB tells nobody whether there is a table that they may not read.
    let says = if url.starts_with("mysql") { "grants" } else { "schema_sql" };
    assert!(error.to_string().contains(says), "{error}");
    // A newer release is told by its version all the same.
    run(url, "INSERT INTO granted_schema VALUES (2)").await.unwrap();
    let newer = open_with(by, SqlConfig::default().with_table("granted"));
    assert!(newer.prepare().await.unwrap_err().to_string().contains("version 2"));
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
    run(&server.url(), "CREATE USER web").await.unwrap();
    prepared_by_who_may_not_create(&server.url(), &server.url().replace("session@", "web@"), "web").await;
}

#[tokio::test]
async fn mariadb_is_prepared_by_ten_processes_at_once_and_from_any_state() {
    let Some(server) = mariadb(&[]) else { return };
    raced(&server.url()).await;
    found(&server.url()).await;
    // The database test is everybody's on a new server.
    run(&server.url(), "CREATE USER web@'127.0.0.1'; DELETE FROM mysql.db; FLUSH PRIVILEGES").await.unwrap();
    let web = server.url().replace("root@", "web@");
    prepared_by_who_may_not_create(&server.url(), &web, "web@'127.0.0.1'").await;
}
