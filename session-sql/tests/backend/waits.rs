//! A statement that waited for a lock judges expiry after the wait.

use std::time::Duration;

use session_core::{Created, Saved, SessionStore as _, Timestamp, Touched};
use session_sql::SqlStore;
use session_sql::sqlx::{self, AssertSqlSafe, Connection as _, Database, Executor, IntoArguments};
use session_sql::sqlx::{MySqlConnection, PgConnection, SqliteConnection};

use crate::common::{expiring, key, mariadb, open, postgres, record, sqlite};

/// How long the session lives, and how long somebody else holds its lock.
const LIVES: Duration = Duration::from_millis(1_000);
const HELD: Duration = Duration::from_millis(1_500);

/// Holds the locks of all rows past their expiry, with a change of what the store does not look at.
async fn held<C>(store: &SqlStore, connection: &mut C, begin: &'static str)
where
    C: sqlx::Connection,
    for<'c> &'c mut C: Executor<'c, Database = C::Database>,
    <C::Database as Database>::Arguments: IntoArguments<C::Database>,
{
    let (before, now, after) = (Timestamp::now(), store.now().await.unwrap(), Timestamp::now());
    assert!(before <= now && now <= after, "{now} is not between {before} and {after}");
    let keys = [key(), key(), key()];
    let records = keys.map(|_| expiring(b"old", LIVES));
    for (key, record) in keys.iter().zip(&records) {
        assert_eq!(store.create(*key, record).await.unwrap(), Created::Stored);
    }
    for sql in [begin, "UPDATE sessions SET created_at = created_at + 1"] {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await.unwrap();
    }
    let (saved, touched, deleted) = {
        let [save, touch, delete] = keys;
        let [r1, r2, _] = records;
        let late = record(b"late");
        let operations = async {
            tokio::join!(
                store.save(save, r1.revision, &late),
                store.touch(touch, r2.revision, late.expires_at),
                store.delete(delete),
            )
        };
        let release = async {
            tokio::time::sleep(HELD).await;
            sqlx::raw_sql("COMMIT").execute(&mut *connection).await.unwrap();
        };
        tokio::join!(operations, release).0
    };
    assert_eq!(saved.unwrap(), Saved::Missing);
    assert_eq!(touched.unwrap(), Touched::Missing);
    assert!(!deleted.unwrap(), "a delete counted an expired session");
    for key in keys {
        assert_eq!(store.load(key).await.unwrap(), None);
    }
}

#[tokio::test]
async fn on_sqlite() {
    let (_directory, url) = sqlite();
    let store = open(&url);
    store.prepare().await.unwrap();
    held(&store, &mut SqliteConnection::connect(&url).await.unwrap(), "BEGIN IMMEDIATE").await;
}

#[tokio::test]
async fn on_postgres() {
    let Some(server) = postgres(&[]) else { return };
    let store = open(&server.url());
    store.prepare().await.unwrap();
    held(&store, &mut PgConnection::connect(&server.url()).await.unwrap(), "BEGIN").await;
}

#[tokio::test]
async fn on_mariadb() {
    let Some(server) = mariadb(&["--default-time-zone=+05:45"]) else { return };
    let store = open(&server.url());
    store.prepare().await.unwrap();
    held(&store, &mut MySqlConnection::connect(&server.url()).await.unwrap(), "BEGIN").await;
}
