//! What the three databases call things. What a statement is for stands once, in `statements.rs`.

/// What the database calls things.
#[derive(Debug)]
pub(crate) struct Dialect {
    pub(crate) backend: &'static str,
    pub(crate) quote: char,
    /// The current millisecond as an integer, read anew for each row that is looked at: a statement that waited
    /// for another judges expiry after the wait. No session time zone reaches it.
    pub(crate) now: &'static str,
    /// The millisecond in which the statement began: one value, which an index can be searched with.
    pub(crate) start: &'static str,
    /// The larger of two numbers.
    pub(crate) greatest: &'static str,
    /// Keeps a comparison with `expires_at` from choosing the index on it: the key or the owner is always the
    /// better way in, and a fresh table has no statistics that would say so.
    pub(crate) no_index: &'static str,
    /// What makes an insert replace an expired record, where that can be one statement.
    pub(crate) upsert: &'static str,
    /// An update of several rows, of those values `{rows}` that are named `{names}`; the rows' keys are `{keys}`.
    pub(crate) update_many: Option<&'static str>,
    /// What a value's type is called behind it, in the order of `statements::Type`.
    pub(crate) casts: [&'static str; 4],
    pub(crate) sweep: &'static str,
    pub(crate) schema: &'static str,
    /// Put before the schema when it is created, so that processes that race take turns.
    pub(crate) schema_lock: &'static str,
    /// Whether a statement that reads, and one that writes, may wait for a row that somebody has locked.
    pub(crate) waits: [bool; 2],
    /// What asks for the most bytes of a statement, where the server hangs up on a longer one.
    pub(crate) largest: Option<&'static str>,
    /// Whether what is bound is `$1` and so on, or each time `?`.
    pub(crate) numbered: bool,
}

/// PostgreSQL and SQLite: one statement that also replaces an expired record.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
const UPSERT: &str = " ON CONFLICT (session_key) DO UPDATE \
    SET revision = excluded.revision, owner = excluded.owner, created_at = excluded.created_at, \
    expires_at = excluded.expires_at, payload = excluded.payload \
    WHERE old.expires_at <= {now}";

/// Days since -4713 as a floating point number, to 40 us. Of SQLite's words for the time it is the one that is read
/// without parsing.
#[cfg(feature = "sqlite")]
const SQLITE_NOW: &str = "CAST((julianday() - 2440587.5) * 86400000 + 0.5 AS INTEGER)";

/// The clock of the process, which SQLite reads once for each statement, after it has the lock.
#[cfg(feature = "sqlite")]
pub(crate) const SQLITE: Dialect = Dialect {
    backend: "sqlite",
    quote: '"',
    now: SQLITE_NOW,
    start: SQLITE_NOW,
    greatest: "max",
    no_index: "+",
    upsert: UPSERT,
    update_many: Some(
        "WITH v ({names}) AS (VALUES {rows}) \
         UPDATE {table} SET {set} FROM v WHERE {which} RETURNING session_key",
    ),
    casts: [""; 4],
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
    // Who writes has the whole file.
    waits: [false, false],
    largest: None,
    // The driver asks for the name of each, and a name is searched among all.
    numbered: false,
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
    // Rows that somebody has locked are left out, so that nobody waits for another's row, and two of these never for
    // each other. The limit keeps this a look-up for each key, and the list of keys makes a scan of the whole table
    // dear, even if it was empty when the statement was planned.
    update_many: Some(
        "WITH v ({names}) AS (VALUES {rows}), \
         free AS MATERIALIZED (SELECT v.* FROM v CROSS JOIN LATERAL (\
         SELECT 1 FROM {table} WHERE session_key = {key} LIMIT 1 FOR UPDATE SKIP LOCKED) AS found) \
         UPDATE {table} SET {set} FROM free WHERE session_key IN ({keys}) AND {which} RETURNING session_key",
    ),
    casts: ["::uuid", "::bigint", "::text", "::bytea"],
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
    waits: [false, true],
    largest: None,
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
    // It has no UPDATE .. RETURNING.
    update_many: None,
    casts: [""; 4],
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
    // A read does if the isolation level is SERIALIZABLE.
    waits: [true, true],
    largest: Some("SELECT CAST(@@max_allowed_packet AS SIGNED)"),
    numbered: false,
};
