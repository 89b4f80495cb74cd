//! A server that was there before us, and serves others: it is not stopped, and keys of ours are removed one by one.

use std::sync::Arc;
use std::time::Duration;

use redis::{Client, Cmd, Connection, FromRedisValue, RedisResult, cmd};
use session_conformance::Capability;
use session_core::{Error, ErrorKind, Result, SessionKey, SessionStore};
use session_redis::{RedisConfig, RedisStore};

use super::Prefix;

/// One server, by its URL.
#[derive(Clone)]
pub(crate) struct Given(pub(crate) String);

const PATIENCE: Duration = Duration::from_secs(30);

impl Given {
    /// All but to stop it.
    pub(crate) const CAPABILITIES: &'static [Capability] = &[
        Capability::Durable,
        Capability::Shared,
        Capability::OwnerIndex,
        Capability::SelfExpiring,
        Capability::Damage,
    ];

    pub(crate) fn namespace(&self) -> Result<Prefix> {
        let mut prefix = Prefix::new(Vec::new())?;
        prefix.given = Some(self.clone());
        Ok(prefix)
    }

    pub(crate) fn open(&self, namespace: &Prefix) -> Result<Arc<dyn SessionStore>> {
        Ok(Arc::new(RedisStore::new(RedisConfig::new(&self.0).with_prefix(&namespace.text))?))
    }

    pub(crate) fn pause(&self) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "this server has other users"))
    }

    pub(crate) fn resume(&self) -> Result<()> {
        self.pause()
    }

    /// Changes the last byte of a session.
    pub(crate) fn damage(&self, namespace: &Prefix, key: SessionKey) -> Result<()> {
        let key = key.to_string();
        let damage = || {
            let connection = &mut self.connection()?;
            for name in names(connection, &namespace.text)? {
                if name.ends_with(key.as_bytes()) {
                    let last: Vec<u8> = ask(connection, cmd("GETRANGE").arg(&name).arg(-1).arg(-1))?;
                    let last = if last == b"x" { "y" } else { "x" };
                    let len: usize = ask(connection, cmd("STRLEN").arg(&name))?;
                    ask::<()>(connection, cmd("SETRANGE").arg(&name).arg(len.saturating_sub(1)).arg(last))?;
                }
            }
            Ok(())
        };
        damage().map_err(|error: redis::RedisError| super::other(std::io::Error::other(error)))
    }

    /// Removes every key that begins with `prefix`.
    pub(crate) fn remove(&self, prefix: &str) -> RedisResult<()> {
        let connection = &mut self.connection()?;
        for name in names(connection, prefix)? {
            ask::<()>(connection, cmd("DEL").arg(name))?;
        }
        Ok(())
    }

    fn connection(&self) -> RedisResult<Connection> {
        let connection = Client::open(&*self.0)?.get_connection_with_timeout(PATIENCE)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        Ok(connection)
    }
}

/// The keys that begin with `prefix`, which is no pattern here.
fn names(connection: &mut Connection, prefix: &str) -> RedisResult<Vec<Vec<u8>>> {
    let (mut found, mut cursor) = (Vec::new(), 0_u64);
    loop {
        let (next, names): (u64, Vec<Vec<u8>>) =
            ask(connection, cmd("SCAN").arg(cursor).arg("COUNT").arg(1000))?;
        found.extend(names.into_iter().filter(|name| name.starts_with(prefix.as_bytes())));
        if next == 0 {
            return Ok(found);
        }
        cursor = next;
    }
}

fn ask<T: FromRedisValue>(connection: &mut Connection, command: &Cmd) -> RedisResult<T> {
    command.query(connection)
}
