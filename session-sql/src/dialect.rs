//! The statements. Dialects differ in text only; what a statement is for stands once, in [`Statements::new`].

use std::sync::Arc;

use crate::layout::Table;

/// The text of one statement.
pub(crate) type Sql = Arc<str>;

/// What the database calls things.
#[derive(Debug)]
pub(crate) struct Dialect {
    pub(crate) backend: &'static str,
    quote: char,
    /// The current millisecond as an integer, read anew for each row that is looked at: a statement that waited
    /// for another judges expiry after the wait. No session time zone reaches it.
    now: &'static str,
    /// The millisecond in which the statement began: one value, which an index can be searched with.
    start: &'static str,
    /// The larger of two numbers.
    greatest: &'static str,
    /// Keeps a comparison with `expires_at` from choosing the index on it: the key or the owner is always the
    /// better way in, and a fresh table has no statistics that would say so.
    no_index: &'static str,
    /// What makes an insert replace an expired record, where that can be one statement.
    upsert: &'static str,
    sweep: &'static str,
    schema: &'static str,
    /// Put before the schema when it is created, so that processes that race take turns.
    schema_lock: &'static str,
    /// Whether a statement that finds rows by owner can miss one that a rename moves past it meanwhile.
    misses_moved_rows: bool,
    numbered: bool,
}

/// Every statement of the store, for one table. `$1` to `$n` are bound in this order.
pub(crate) struct Statements {
    pub(crate) create: Sql,
    pub(crate) load: Sql,
    pub(crate) save: Sql,
    pub(crate) rename: Sql,
    pub(crate) touch: Sql,
    pub(crate) delete: Sql,
    pub(crate) list: Sql,
    pub(crate) list_owned: Sql,
    pub(crate) delete_owned: Sql,
    /// Looks for what `delete_owned` may have missed; `None` where it misses nothing.
    pub(crate) left_owned: Option<Sql>,
    pub(crate) delete_expired: Sql,
    /// Makes room where an expired record is in the way.
    pub(crate) clear: Sql,
    /// Which of two keys are live, at which revision: what a statement that changed nothing met.
    pub(crate) look: Sql,
    pub(crate) version: Sql,
    pub(crate) schema: String,
    pub(crate) prepare: Sql,
}

impl Statements {
    pub(crate) fn new(dialect: &Dialect, table: &Table) -> Self {
        let sql = |text: &str| -> Sql { dialect.text(table, text).into() };
        let schema = dialect.text(table, dialect.schema);
        Self {
            create: sql(&format!("{INSERT}{}", dialect.upsert)),
            load: sql("SELECT {columns} FROM {table} WHERE session_key = $1 AND {live}"),
            save: sql("UPDATE {table} \
                       SET revision = $1, owner = $2, created_at = $3, expires_at = $4, payload = $5 \
                       WHERE session_key = $6 AND revision = $7 AND {live}"),
            rename: sql("UPDATE {table} SET session_key = $1, \
                         revision = $2, owner = $3, created_at = $4, expires_at = $5, payload = $6 \
                         WHERE session_key = $7 AND revision = $8 AND {live}"),
            touch: sql("UPDATE {table} SET expires_at = {greatest}(expires_at, $1) \
                        WHERE session_key = $2 AND {live}"),
            delete: sql("DELETE FROM {table} WHERE session_key = $1 AND {live}"),
            list: sql("SELECT {columns} FROM {table} \
                       WHERE session_key > $1 AND {live} ORDER BY session_key LIMIT $2"),
            list_owned: sql("SELECT {columns} FROM {table} \
                             WHERE owner = $1 AND session_key > $2 AND {live} ORDER BY session_key LIMIT $3"),
            delete_owned: sql("DELETE FROM {table} WHERE owner = $1 AND session_key <> $2 AND {live}"),
            left_owned: dialect.misses_moved_rows.then(|| {
                sql("SELECT session_key, revision FROM {table} \
                     WHERE owner = $1 AND session_key <> $2 AND {live} LIMIT 1")
            }),
            delete_expired: sql(dialect.sweep),
            clear: sql("DELETE FROM {table} WHERE session_key = $1 AND expires_at <= {now}"),
            look: sql("SELECT session_key, revision FROM {table} WHERE session_key IN ($1, $2) AND {live}"),
            version: sql("SELECT COALESCE(MAX(version), 0) FROM {version_table}"),
            prepare: format!("{}{schema}", dialect.schema_lock).into(),
            schema,
        }
    }
}

const INSERT: &str = "INSERT INTO {table} {as_old}\
    (revision, owner, created_at, expires_at, payload, session_key) VALUES ($1, $2, $3, $4, $5, $6)";

/// PostgreSQL and SQLite: one statement that also replaces an expired record.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
const UPSERT: &str = " ON CONFLICT (session_key) DO UPDATE \
    SET revision = excluded.revision, owner = excluded.owner, created_at = excluded.created_at, \
    expires_at = excluded.expires_at, payload = excluded.payload \
    WHERE old.expires_at <= {now}";

impl Dialect {
    /// Fills a statement in. The table's name is the only thing that was not written here, and it was checked.
    fn text(&self, table: &Table, text: &str) -> String {
        let q = self.quote;
        let name = &table.name;
        let schema = table.schema.as_ref().map(|schema| format!("{q}{schema}{q}.")).unwrap_or_default();
        let mut text = text
            .replace("{live}", "{no_index}expires_at > {now}")
            .replace("{columns}", "session_key, revision, owner, created_at, expires_at, payload")
            .replace("{as_old}", if self.upsert.is_empty() { "" } else { "AS old " })
            .replace("{no_index}", self.no_index)
            .replace("{now}", self.now)
            .replace("{start}", self.start)
            .replace("{greatest}", self.greatest)
            .replace("{table}", &format!("{schema}{q}{name}{q}"))
            .replace("{bare_table}", &format!("{q}{name}{q}"))
            .replace("{version_table}", &format!("{schema}{q}{name}_schema{q}"))
            .replace("{expiry_index}", &format!("{q}{name}_expires_at{q}"))
            .replace("{owner_index}", &format!("{q}{name}_owner{q}"))
            .replace("{schema}", &schema);
        if !self.numbered {
            for number in 1..=8 {
                text = text.replace(&format!("${number}"), "?");
            }
        }
        text
    }
}

/// The clock of the process, which SQLite reads once for each statement, after it has the lock.
#[cfg(feature = "sqlite")]
pub(crate) const SQLITE: Dialect = Dialect {
    backend: "sqlite",
    quote: '"',
    now: "CAST(round(unixepoch('subsec') * 1000) AS INTEGER)",
    start: "CAST(round(unixepoch('subsec') * 1000) AS INTEGER)",
    greatest: "max",
    no_index: "+",
    upsert: UPSERT,
    sweep: "DELETE FROM {table} WHERE session_key IN \
            (SELECT session_key FROM {table} WHERE expires_at <= {start} ORDER BY expires_at LIMIT $1)",
    schema: r#"CREATE TABLE IF NOT EXISTS {table} (
    session_key BLOB NOT NULL PRIMARY KEY,
    revision INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    owner TEXT COLLATE BINARY,
    payload BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS {schema}{expiry_index} ON {bare_table} (expires_at);
CREATE INDEX IF NOT EXISTS {schema}{owner_index} ON {bare_table} (owner, session_key) WHERE owner IS NOT NULL;
CREATE TABLE IF NOT EXISTS {version_table} (version INTEGER NOT NULL PRIMARY KEY) STRICT;
INSERT INTO {version_table} (version) VALUES (1) ON CONFLICT DO NOTHING;
"#,
    schema_lock: "",
    misses_moved_rows: false,
    numbered: true,
};

/// The server's clock: `clock_timestamp`, since `now` stands still while a statement waits for a lock.
#[cfg(feature = "postgres")]
pub(crate) const POSTGRES: Dialect = Dialect {
    backend: "postgres",
    quote: '"',
    now: "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
    // As a subselect it is read once, and only so an index can be searched with it.
    start: "(SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint)",
    greatest: "greatest",
    no_index: "",
    upsert: UPSERT,
    // The array is read once, whatever plan is chosen; a join could read it again and pass the limit.
    sweep: "DELETE FROM {table} WHERE session_key = ANY (ARRAY(\
            SELECT session_key FROM {table} WHERE expires_at <= {start} \
            ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED))",
    schema: r#"CREATE TABLE IF NOT EXISTS {table} (
    session_key uuid NOT NULL PRIMARY KEY,
    revision bigint NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    owner text COLLATE "C",
    payload bytea NOT NULL
);
CREATE INDEX IF NOT EXISTS {expiry_index} ON {table} (expires_at);
CREATE INDEX IF NOT EXISTS {owner_index} ON {table} (owner, session_key) WHERE owner IS NOT NULL;
CREATE TABLE IF NOT EXISTS {version_table} (version bigint NOT NULL PRIMARY KEY);
INSERT INTO {version_table} (version) VALUES (1) ON CONFLICT DO NOTHING;
"#,
    // "session" in ASCII. Held to the end of the implicit transaction that the whole text is.
    schema_lock: "SELECT pg_advisory_xact_lock(32492004189990766);\n",
    misses_moved_rows: false,
    numbered: true,
};

/// The server's clock: `SYSDATE`, since `NOW` stands still while a statement waits for a lock. `SYSDATE` is in the
/// session's time zone, so it only measures the wait, whole quarters of an hour (a change to or from summer time)
/// taken off; the rest is UTC.
#[cfg(feature = "mysql")]
pub(crate) const MYSQL: Dialect = Dialect {
    backend: "mysql",
    quote: '`',
    now: "((TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) \
          + MOD(TIMESTAMPDIFF(MICROSECOND, NOW(6), SYSDATE(6)) + 86400000000, 900000000)) DIV 1000)",
    start: "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000)",
    greatest: "GREATEST",
    no_index: "",
    // ON DUPLICATE KEY UPDATE counts 1 for a new row and, as the driver asks for found rows, for an unchanged one.
    upsert: "",
    sweep: "DELETE FROM {table} WHERE expires_at <= {start} ORDER BY expires_at LIMIT $1",
    schema: r#"CREATE TABLE IF NOT EXISTS {table} (
    session_key BINARY(16) NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    owner VARBINARY(255),
    payload LONGBLOB NOT NULL,
    KEY {expiry_index} (expires_at),
    KEY {owner_index} (owner, session_key)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;
CREATE TABLE IF NOT EXISTS {version_table} (version BIGINT NOT NULL PRIMARY KEY) ENGINE = InnoDB;
INSERT IGNORE INTO {version_table} (version) VALUES (1);
"#,
    schema_lock: "",
    misses_moved_rows: true,
    numbered: false,
};
