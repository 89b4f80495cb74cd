//! How a record lies at rest: one row. Here are the table's name, and a row turned back into a record.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use session_core::{Error, ErrorKind, Owner, Record, Result, Revision, SessionKey, Timestamp};
use sqlx::types::Uuid;

use crate::error;

/// The name of a table, checked: it is the only part of a statement that is not fixed text or bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) schema: Option<String>,
    pub(crate) name: String,
}

/// Leaves room for the suffixes of the indexes below the shortest limit, PostgreSQL's 63 bytes.
const MAX_NAME: usize = 48;

impl Table {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (schema, name) = match text.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, text),
        };
        if schema.into_iter().chain([name]).all(is_name) {
            return Ok(Self { schema: schema.map(str::to_owned), name: name.to_owned() });
        }
        Err(error::invalid_config(format!(
            "not a table name: {text:?}; use ASCII letters, digits and underscores, at most {MAX_NAME}, \
             optionally after a schema and a dot"
        )))
    }
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && text.len() <= MAX_NAME
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// A value that is bound to a statement.
#[derive(Clone, Copy)]
pub(crate) enum Arg<'a> {
    Key(Uuid),
    Number(i64),
    Owner(Option<&'a str>),
    Payload(&'a Arc<[u8]>),
}

impl Arg<'_> {
    /// About the room that it takes on its way, in bytes.
    pub(crate) fn size(&self) -> usize {
        16 + match self {
            Self::Key(_) | Self::Number(_) => 4,
            Self::Owner(owner) => owner.map_or(0, str::len),
            Self::Payload(payload) => payload.len(),
        }
    }
}

/// The values of one statement, kept for one that waits.
pub(crate) struct Args(Vec<Kept>);

enum Kept {
    Key(Uuid),
    Number(i64),
    Owner(Option<Box<str>>),
    Payload(Arc<[u8]>),
}

impl Args {
    pub(crate) fn keep(args: &[Arg<'_>]) -> Self {
        let keep = |arg: &Arg<'_>| match *arg {
            Arg::Key(key) => Kept::Key(key),
            Arg::Number(number) => Kept::Number(number),
            Arg::Owner(owner) => Kept::Owner(owner.map(Box::from)),
            Arg::Payload(payload) => Kept::Payload(payload.clone()),
        };
        Self(args.iter().map(keep).collect())
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = Arg<'_>> {
        self.0.iter().map(|kept| match kept {
            Kept::Key(key) => Arg::Key(*key),
            Kept::Number(number) => Arg::Number(*number),
            Kept::Owner(owner) => Arg::Owner(owner.as_deref()),
            Kept::Payload(payload) => Arg::Payload(payload),
        })
    }

    /// The key of the row that the statement writes.
    pub(crate) fn key(&self) -> Option<Uuid> {
        self.iter().find_map(|arg| if let Arg::Key(key) = arg { Some(key) } else { None })
    }
}

pub(crate) fn key(key: SessionKey) -> Arg<'static> {
    Arg::Key(*key.as_uuid())
}

/// All 64 bits of a revision, in a column that has a sign.
pub(crate) fn revision(revision: Revision) -> Arg<'static> {
    Arg::Number(revision.as_u64().cast_signed())
}

pub(crate) fn time(timestamp: Timestamp) -> Arg<'static> {
    Arg::Number(timestamp.as_millis())
}

pub(crate) fn count(count: usize) -> Arg<'static> {
    Arg::Number(i64::try_from(count).unwrap_or(i64::MAX))
}

pub(crate) fn owner(owner: &Owner) -> Arg<'_> {
    Arg::Owner(Some(owner.as_str()))
}

/// How many columns a record has, besides its key.
pub(crate) const COLUMNS: usize = 5;

/// The columns of a record, in the order in which every statement has them.
pub(crate) fn columns(record: &Record) -> [Arg<'_>; COLUMNS] {
    [
        revision(record.revision),
        Arg::Owner(record.owner.as_ref().map(Owner::as_str)),
        time(record.created_at),
        time(record.expires_at),
        Arg::Payload(&record.payload),
    ]
}

/// A row as it was read.
pub(crate) struct Row<'r> {
    pub(crate) revision: i64,
    pub(crate) owner: Option<Cow<'r, [u8]>>,
    pub(crate) created_at: i64,
    pub(crate) expires_at: i64,
    /// `None` in a table that is not ours only.
    pub(crate) payload: Option<Cow<'r, [u8]>>,
}

impl Row<'_> {
    /// # Errors
    /// [`Corrupt`](session_core::ErrorKind::Corrupt) when no store wrote this row.
    pub(crate) fn into_record(self) -> Result<Record> {
        Ok(Record {
            revision: Revision::from_u64(self.revision.cast_unsigned()),
            owner: self.owner.as_deref().map(read_owner).transpose()?,
            created_at: Timestamp::from_millis(self.created_at),
            expires_at: Timestamp::from_millis(self.expires_at),
            payload: self
                .payload
                .as_deref()
                .ok_or(Error::new(ErrorKind::Corrupt, "a session without a payload"))?
                .into(),
        })
    }
}

fn read_owner(bytes: &[u8]) -> Result<Owner> {
    let damaged = |source: Error| error::corrupt("the owner in the session table is damaged", source);
    let text = std::str::from_utf8(bytes)
        .map_err(|error| damaged(Error::new(ErrorKind::Corrupt, "not UTF-8").with_source(error)))?;
    Owner::new(text).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_an_identifier_with_or_without_a_schema() {
        for good in ["sessions", "_s1", "Web_Sessions", "app.sessions", &"x".repeat(48)] {
            assert_eq!(Table::parse(good).unwrap().to_string(), good);
        }
        let long = "x".repeat(49);
        for bad in
            ["", ".", "a.", ".b", "a.b.c", "1a", "a b", "a\"b", "a`b", "a;b", "a'b", "s\u{e9}", "a\0", &long]
        {
            assert_eq!(Table::parse(bad).unwrap_err().kind(), ErrorKind::InvalidConfig, "{bad:?}");
        }
    }

    #[test]
    fn a_row_that_no_store_wrote_is_corrupt() {
        let row = |owner: Option<&'static [u8]>| {
            let payload = Some(Cow::Borrowed(b"x".as_slice()));
            Row { revision: -1, owner: owner.map(Cow::Borrowed), created_at: 1, expires_at: 2, payload }
        };
        let record = row(Some(b"ann".as_slice())).into_record().unwrap();
        assert_eq!(record.revision, Revision::from_u64(u64::MAX));
        let without = Row { payload: None, ..row(None) };
        for bad in [row(Some(b"")), row(Some(b"\xff")), without] {
            assert_eq!(bad.into_record().unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }
}
