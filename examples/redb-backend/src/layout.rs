//! How a record lies in the database: a table of records, and two indexes that are kept in step with it.

use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};
use session_core::{Owner, Record, Result, Revision, SessionKey, Timestamp};
use uuid::Uuid;

use crate::error::{corrupt, from_redb};

/// Key to record.
pub(crate) const SESSIONS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("sessions");
/// Owner and key: an owner's sessions stand side by side.
pub(crate) const OWNERS: TableDefinition<'_, (&str, u128), ()> = TableDefinition::new("owners");
/// Expiry and key: what ends first stands first.
pub(crate) const EXPIRY: TableDefinition<'_, (i64, u128), ()> = TableDefinition::new("expiry");

pub(crate) fn number(key: SessionKey) -> u128 {
    key.as_uuid().as_u128()
}

pub(crate) fn key(number: u128) -> Result<SessionKey> {
    Uuid::from_u128(number).try_into()
}

/// Revision, beginning, expiry, the owner's length and text, then the payload.
fn encode(record: &Record) -> Vec<u8> {
    // An owner has at most 255 bytes and is never empty, so 0 is free to mean none.
    let owner = record.owner.as_ref().map_or("", Owner::as_str);
    let mut bytes = Vec::with_capacity(25 + owner.len() + record.payload.len());
    bytes.extend(record.revision.as_u64().to_be_bytes());
    bytes.extend(record.created_at.as_millis().to_be_bytes());
    bytes.extend(record.expires_at.as_millis().to_be_bytes());
    bytes.push(u8::try_from(owner.len()).unwrap_or(0));
    bytes.extend(owner.as_bytes());
    bytes.extend(&*record.payload);
    bytes
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Record> {
    let read = || {
        let (revision, rest) = bytes.split_first_chunk()?;
        let (created_at, rest) = rest.split_first_chunk()?;
        let (expires_at, rest) = rest.split_first_chunk()?;
        let (len, rest) = rest.split_first()?;
        let (owner, payload) = rest.split_at_checked((*len).into())?;
        let owner = if owner.is_empty() { None } else { Some(Owner::new(str::from_utf8(owner).ok()?).ok()?) };
        Some(Record {
            revision: Revision::from_u64(u64::from_be_bytes(*revision)),
            owner,
            created_at: Timestamp::from_millis(i64::from_be_bytes(*created_at)),
            expires_at: Timestamp::from_millis(i64::from_be_bytes(*expires_at)),
            payload: payload.into(),
        })
    };
    read().ok_or_else(|| corrupt("a record is shorter than its head says"))
}

/// The tables, in one write transaction.
pub(crate) struct Tables<'t> {
    sessions: Table<'t, u128, &'static [u8]>,
    owners: Table<'t, (&'static str, u128), ()>,
    expiry: Table<'t, (i64, u128), ()>,
}

impl<'t> Tables<'t> {
    pub(crate) fn open(transaction: &'t WriteTransaction) -> Result<Self> {
        Ok(Self {
            sessions: transaction.open_table(SESSIONS).map_err(from_redb)?,
            owners: transaction.open_table(OWNERS).map_err(from_redb)?,
            expiry: transaction.open_table(EXPIRY).map_err(from_redb)?,
        })
    }

    /// The record under a key, live or not.
    pub(crate) fn get(&self, key: SessionKey) -> Result<Option<Record>> {
        let found = self.sessions.get(number(key)).map_err(from_redb)?;
        found.map(|bytes| decode(bytes.value())).transpose()
    }

    pub(crate) fn put(&mut self, key: SessionKey, record: &Record) -> Result<()> {
        self.remove(key)?;
        let number = number(key);
        self.sessions.insert(number, &*encode(record)).map_err(from_redb)?;
        self.expiry.insert((record.expires_at.as_millis(), number), ()).map_err(from_redb)?;
        if let Some(owner) = &record.owner {
            self.owners.insert((owner.as_str(), number), ()).map_err(from_redb)?;
        }
        Ok(())
    }

    pub(crate) fn remove(&mut self, key: SessionKey) -> Result<Option<Record>> {
        let number = number(key);
        let found = self.sessions.remove(number).map_err(from_redb)?.map(|bytes| decode(bytes.value()));
        match found {
            None => Ok(None),
            Some(Ok(record)) => {
                self.expiry.remove((record.expires_at.as_millis(), number)).map_err(from_redb)?;
                if let Some(owner) = &record.owner {
                    self.owners.remove((owner.as_str(), number)).map_err(from_redb)?;
                }
                Ok(Some(record))
            }
            // A damaged record does not say where it stands in the indexes.
            Some(Err(_)) => {
                self.expiry.retain(|(_, at), ()| at != number).map_err(from_redb)?;
                self.owners.retain(|(_, at), ()| at != number).map_err(from_redb)?;
                Ok(None)
            }
        }
    }

    /// The keys of an owner's records, live or not.
    pub(crate) fn owned(&self, owner: &Owner) -> Result<Vec<SessionKey>> {
        let all = (owner.as_str(), 0)..=(owner.as_str(), u128::MAX);
        let found = self.owners.range(all).map_err(from_redb)?;
        found.map(|entry| key(entry.map_err(from_redb)?.0.value().1)).collect()
    }

    /// The keys of at most `limit` records that had ended by `now`.
    pub(crate) fn expired(&self, now: Timestamp, limit: usize) -> Result<Vec<SessionKey>> {
        let ended = ..=(now.as_millis(), u128::MAX);
        let found = self.expiry.range(ended).map_err(from_redb)?.take(limit);
        found.map(|entry| key(entry.map_err(from_redb)?.0.value().1)).collect()
    }
}
