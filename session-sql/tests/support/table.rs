//! A table with a random name, which goes when nobody needs it any more.

use std::time::Duration;

use session_core::{Result, Revision, SessionKey};
use session_sql::sqlx::{self, AssertSqlSafe, Connection as _};

/// Longer than a busy server takes to drop two small tables.
const DROPPED_WITHIN: Duration = Duration::from_secs(60);

pub(crate) struct Table {
    pub(crate) name: String,
    /// Where it is to be removed.
    url: Option<String>,
}

impl Table {
    /// A name that nobody else has.
    pub(crate) fn random(name: impl FnOnce(String) -> String) -> Result<Self> {
        let random = Revision::generate()?.as_u64();
        Ok(Self { name: name(format!("session_test_{random:016x}")), url: None })
    }

    /// The table is removed from the database at `url` when this is dropped.
    pub(crate) fn dropped_at(mut self, url: String) -> Self {
        self.url = Some(url);
        self
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        let Some(url) = self.url.take() else { return };
        let name = self.name.clone();
        // In a thread of its own: a drop cannot wait in the runtime that it happens in.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let sql = format!("DROP TABLE IF EXISTS {name}, {name}_schema");
                tokio::time::timeout(DROPPED_WITHIN, execute(&url, sql, None)).await
            })
        });
        match dropped.join() {
            Ok(Ok(Ok(_))) => {}
            other => eprintln!("the tables {0} and {0}_schema are left behind: {other:?}", self.name),
        }
    }
}

/// Runs a statement, which may bind a key, on a connection of its own; how many rows it met.
pub(crate) async fn execute(url: &str, sql: String, key: Option<SessionKey>) -> sqlx::Result<u64> {
    macro_rules! on {
        ($connection:ty) => {{
            let mut connection = <$connection>::connect(url).await?;
            let statement = sqlx::query(AssertSqlSafe(sql));
            let statement = match key {
                Some(key) => statement.bind(*key.as_uuid()),
                None => statement,
            };
            return Ok(statement.execute(&mut connection).await?.rows_affected());
        }};
    }
    #[cfg(feature = "postgres")]
    if url.starts_with("postgres") {
        on!(sqlx::PgConnection)
    }
    #[cfg(feature = "mysql")]
    if url.starts_with("mysql") || url.starts_with("mariadb") {
        on!(sqlx::MySqlConnection)
    }
    let _ = key;
    Err(sqlx::Error::Configuration(format!("no driver for {sql}").into()))
}
