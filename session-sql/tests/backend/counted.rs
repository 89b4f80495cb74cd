//! What reaches SQLite, as the driver's log has it: there is no server that would count.

use std::fmt;
use std::sync::{Mutex, Once, PoisonError};

use session_core::{Created, Revision, Saved, SessionStore as _, Timestamp, Touched};
use session_sql::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use session_sql::{SqlConfig, SqlStore};
use tokio::task::JoinSet;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::common::{key, record, sqlite};
use crate::plans::each_operation;

/// No other test's table is called so.
const TABLE: &str = "counted";

/// The statements that name the table.
static SENT: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Log;

impl Subscriber for Log {
    fn enabled(&self, of: &Metadata<'_>) -> bool {
        of.target() == "sqlx::query"
    }

    fn event(&self, event: &Event<'_>) {
        let mut texts = Texts::default();
        event.record(&mut texts);
        let statement = if texts.statement.is_empty() { texts.summary } else { texts.statement };
        if statement.contains(&format!("\"{TABLE}\"")) {
            SENT.lock().unwrap_or_else(PoisonError::into_inner).push(statement.trim().to_owned());
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The summary has the first words only; a statement that is no longer than these has no text of its own.
#[derive(Default)]
struct Texts {
    statement: String,
    summary: String,
}

impl Visit for Texts {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "db.statement" => value.clone_into(&mut self.statement),
            "summary" => value.clone_into(&mut self.summary),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

fn sent() -> Vec<String> {
    std::mem::take(&mut SENT.lock().unwrap_or_else(PoisonError::into_inner))
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_is_sent_one_statement_an_operation_and_fewer_when_many_come_at_once() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Log).unwrap());
    let (_directory, url) = sqlite();
    let options: SqliteConnectOptions = url.parse().unwrap();
    let options = options.create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
    let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await.unwrap();
    let store = SqlStore::with_sqlite_pool(pool, SqlConfig::default().with_table(TABLE)).unwrap();
    store.prepare().await.unwrap();

    sent();
    each_operation(&store).await;
    let statements = sent();
    let verbs: Vec<_> = statements.iter().filter_map(|statement| statement.split(' ').next()).collect();
    assert_eq!(verbs, ["INSERT", "SELECT", "UPDATE", "UPDATE", "DELETE"], "{statements:#?}");

    let touch = async |store: &SqlStore| {
        let revision = Revision::generate().unwrap();
        assert_eq!(store.touch(key(), revision, Timestamp::MAX).await.unwrap(), Touched::Missing);
    };
    touch(&store).await;
    let statements = sent();
    assert!(
        matches!(&statements[..], [update, look] if update.starts_with("UPDATE") && look.starts_with("SELECT"))
    );
    let mut all = JoinSet::new();
    for _ in 0..200 {
        let store = store.clone();
        all.spawn(async move { touch(&store).await });
    }
    while let Some(one) = all.join_next().await {
        one.unwrap();
    }
    // One look for each, and few updates; more when the machine is busy elsewhere.
    let statements = sent();
    let looks = statements.iter().filter(|statement| statement.starts_with("SELECT")).count();
    assert!(looks == 200 && statements.len() < 300, "{looks} looks of {} statements", statements.len());

    for _ in 0..200 {
        let store = store.clone();
        all.spawn(async move {
            let (key, first, second) = (key(), record(b"first"), record(b"second"));
            assert_eq!(store.create(key, &first).await.unwrap(), Created::Stored);
            assert_eq!(store.save(key, first.revision, &second).await.unwrap(), Saved::Stored);
            assert_eq!(store.load(key).await.unwrap(), Some(second));
        });
    }
    while let Some(one) = all.join_next().await {
        one.unwrap();
    }
    // Of 600 operations; more when the machine is busy elsewhere.
    let statements = sent();
    assert!(statements.len() < 400, "{} statements were sent", statements.len());
}
