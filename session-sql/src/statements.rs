//! The statements: what each is for, whatever the database calls things.

use std::sync::Arc;

use session_together::MOST;

use crate::dialect::Dialect;
use crate::layout::Table;

/// The text of one statement.
pub(crate) type Sql = Arc<str>;

/// The texts of a statement for several rows, each for so many.
pub(crate) struct Many(Vec<(usize, Sql)>);

impl Many {
    /// Few enough for each connection to keep them all prepared, and near enough to each other to leave few over.
    const SIZES: [usize; 12] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, MOST];

    fn new(text: impl Fn(usize) -> String) -> Self {
        Self(Self::SIZES.into_iter().map(|size| (size, text(size).into())).collect())
    }

    /// The most of so many that one statement takes.
    pub(crate) fn fitting(&self, waiting: usize) -> usize {
        Self::SIZES.into_iter().rev().find(|size| *size <= waiting).unwrap_or(0)
    }

    /// The statement for as many.
    pub(crate) fn of(&self, size: usize) -> Option<&Sql> {
        self.0.iter().find(|(of, _)| *of == size).map(|(_, sql)| sql)
    }
}

/// A statement that writes a record.
pub(crate) struct Write {
    pub(crate) one: Sql,
    /// The same for several, with the values of one after those of another. It returns the keys of the rows that it
    /// met. `None` where the database cannot tell.
    pub(crate) many: Option<Many>,
}

/// What a statement binds for one row: what its values are, and which of them is the key by which a row is found.
struct Shape {
    types: &'static [Type],
    key: usize,
}

#[derive(Clone, Copy)]
enum Type {
    Key,
    Number,
    Owner,
    Payload,
}

/// Every statement of the store, for one table. `$1` to `$n` are bound in this order.
pub(crate) struct Statements {
    pub(crate) create: Write,
    pub(crate) load: Sql,
    pub(crate) load_many: Many,
    pub(crate) save: Write,
    pub(crate) touch: Write,
    pub(crate) others: Others,
}

/// Those that are always sent by themselves.
pub(crate) struct Others {
    pub(crate) delete: Sql,
    pub(crate) list: Sql,
    pub(crate) list_owned: Sql,
    pub(crate) delete_owned: Sql,
    pub(crate) delete_expired: Sql,
    /// Makes room where an expired record is in the way.
    pub(crate) clear: Sql,
    /// The revision of a live record: tells why a statement changed nothing.
    pub(crate) look: Sql,
    pub(crate) now: Sql,
    /// The most bytes of a statement; `None` where that is no reason to be cut off.
    pub(crate) largest: Option<Sql>,
    /// Reads no row: it fails unless the table is there, with every column, and may be read.
    pub(crate) shape: Sql,
    pub(crate) version: Sql,
    pub(crate) schema: String,
    pub(crate) prepare: Sql,
}

impl Statements {
    pub(crate) fn new(dialect: &Dialect, table: &Table) -> Self {
        let sql = |text: &str| -> Sql { dialect.text(table, text).into() };
        let many = |text: &str, shape: &Shape| Many::new(|size| dialect.many(table, text, shape, size));
        let update = |set: &str, which: &str, shape: &Shape| Write {
            one: sql(&format!("UPDATE {{table}} SET {set} WHERE {which}")),
            many: dialect.update_many.map(|text| {
                let (set, which) = (set.replace('$', "v"), which.replace('$', "v"));
                many(&text.replace("{set}", &set).replace("{which}", &which), shape)
            }),
        };
        let schema = dialect.text(table, dialect.schema);
        Self {
            create: Write {
                one: sql(&format!("{INSERT} ($1, $2, $3, $4, $5, $6){}", dialect.upsert)),
                many: (!dialect.upsert.is_empty()).then(|| {
                    many(&format!("{INSERT} {{rows}}{} RETURNING session_key", dialect.upsert), &CREATE)
                }),
            },
            load: sql("SELECT {record} FROM {table} WHERE session_key = $1 AND {live}"),
            load_many: many(
                "SELECT {record}, session_key FROM {table} WHERE session_key IN ({keys}) AND {live}",
                &LOAD,
            ),
            save: update(
                "revision = $1, owner = $2, created_at = $3, expires_at = $4, payload = $5",
                "session_key = $6 AND revision = $7 AND {live}",
                &SAVE,
            ),
            touch: update(
                "expires_at = {greatest}(expires_at, $1)",
                "session_key = $2 AND revision = $3 AND {live}",
                &TOUCH,
            ),
            others: Others {
                delete: sql("DELETE FROM {table} WHERE session_key = $1 AND {live}"),
                list: sql("SELECT {record}, session_key FROM {table} \
                           WHERE session_key > $1 AND {live} ORDER BY session_key LIMIT $2"),
                list_owned: sql("SELECT {record}, session_key FROM {table} \
                                 WHERE owner = $1 AND session_key > $2 AND {live} ORDER BY session_key LIMIT $3"),
                delete_owned: sql("DELETE FROM {table} WHERE owner = $1 AND session_key <> $2 AND {live}"),
                delete_expired: sql(dialect.sweep),
                clear: sql("DELETE FROM {table} WHERE session_key = $1 AND expires_at <= {now}"),
                look: sql("SELECT revision FROM {table} WHERE session_key = $1 AND {live}"),
                now: sql("SELECT {now}"),
                largest: dialect.largest.map(sql),
                shape: sql("SELECT {record}, session_key FROM {table} LIMIT 0"),
                version: sql("SELECT COALESCE(MAX(version), 0) FROM {version_table}"),
                prepare: format!("{}{schema}", dialect.schema_lock).into(),
                schema,
            },
        }
    }
}

const INSERT: &str = "INSERT INTO {table} {as_old}\
    (revision, owner, created_at, expires_at, payload, session_key) VALUES";

const LOAD: Shape = Shape { types: &[Type::Key], key: 0 };
const CREATE: Shape = Shape {
    types: &[Type::Number, Type::Owner, Type::Number, Type::Number, Type::Payload, Type::Key],
    key: 5,
};
const SAVE: Shape = Shape {
    types: &[Type::Number, Type::Owner, Type::Number, Type::Number, Type::Payload, Type::Key, Type::Number],
    key: 5,
};
const TOUCH: Shape = Shape { types: &[Type::Number, Type::Key, Type::Number], key: 1 };

impl Dialect {
    /// Fills a statement for several rows in.
    fn many(&self, table: &Table, text: &str, shape: &Shape, size: usize) -> String {
        let columns = shape.types.len();
        let bound = |row: usize, column: usize| match self.numbered {
            true => format!("${}", row * columns + column + 1),
            false => "?".to_owned(),
        };
        let value = |row: usize, column: usize| {
            format!("{}{}", bound(row, column), self.casts[shape.types[column] as usize])
        };
        let row = |row: usize| {
            let values: Vec<_> = (0..columns).map(|column| value(row, column)).collect();
            format!("({})", values.join(", "))
        };
        let list = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>().join(", ");
        // What is bound comes last: there is nothing in it to fill in.
        self.text(table, text)
            .replace("{names}", &list(&mut (1..=columns).map(|column| format!("v{column}"))))
            .replace("{key}", &format!("v{}", shape.key + 1))
            .replace("{rows}", &list(&mut (0..size).map(row)))
            .replace("{keys}", &list(&mut (0..size).map(|row| bound(row, shape.key))))
    }

    /// Fills a statement in. The table's name is the only thing that was not written here, and it was checked.
    fn text(&self, table: &Table, text: &str) -> String {
        let q = self.quote;
        let name = &table.name;
        let schema = table.schema.as_ref().map(|schema| format!("{q}{schema}{q}.")).unwrap_or_default();
        let mut text = text
            .replace("{live}", "{no_index}expires_at > {now}")
            .replace("{record}", "revision, owner, created_at, expires_at, payload")
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
            for number in 1..=7 {
                text = text.replace(&format!("${number}"), "?");
            }
        }
        text
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use sqlx::{AssertSqlSafe, Connection as _, Row as _, SqliteConnection};

    use super::*;
    use crate::dialect::SQLITE;

    /// PostgreSQL and MariaDB tell theirs in their logs: see `tests/backend/plans.rs`.
    #[tokio::test]
    async fn on_sqlite_every_statement_finds_its_rows_by_an_index() {
        let statements = Statements::new(&SQLITE, &Table::parse("sessions").unwrap());
        let others = &statements.others;
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(others.schema.clone())).execute(&mut connection).await.unwrap();

        let writes = [&statements.create, &statements.save, &statements.touch];
        let many = writes.iter().filter_map(|write| write.many.as_ref()).chain([&statements.load_many]);
        let single = [&statements.load, &others.delete, &others.list, &others.list_owned]
            .into_iter()
            .chain([&others.delete_owned, &others.delete_expired, &others.clear, &others.look])
            .chain(writes.iter().map(|write| &write.one));
        let mut plans = 0;
        for sql in many.flat_map(|many| many.0.iter().map(|(_, sql)| sql)).chain(single) {
            let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
            for step in sqlx::raw_sql(explain).fetch_all(&mut connection).await.unwrap() {
                let step: String = step.get("detail");
                assert!(!step.starts_with("SCAN sessions"), "{step}: {sql}");
                plans += usize::from(step.starts_with("SEARCH sessions USING"));
            }
        }
        assert!(plans > 3 * Many::SIZES.len(), "only {plans} look-ups");
    }
}
