//! The connection to one server: shared by all callers, made when needed, replaced when broken.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, Pipeline, PushInfo, PushKind, RedisError, Value, cmd,
};
use session_core::Error;
use session_together::Timers;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::address;
use crate::error::{self, Fault};

/// What a server must be to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Any,
    Master,
}

pub(crate) struct Link {
    client: Client,
    name: String,
    role: Role,
    connect_timeout: Duration,
    live: RwLock<Option<Live>>,
    timers: Timers,
    connecting: Mutex<()>,
    /// Failed attempts so far: who waited for one of them need not try again at once.
    failures: AtomicU64,
}

/// One connection, from its beginning to its end.
#[derive(Clone)]
pub(crate) struct Live {
    connection: MultiplexedConnection,
    closed: Arc<AtomicBool>,
    compares: bool,
}

impl Live {
    /// Whether the server has a compare-and-set of its own.
    pub(crate) fn compares(&self) -> bool {
        self.compares
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Link").field(&self.name).finish()
    }
}

impl Link {
    /// Nothing is sent before the first command.
    pub(crate) fn new(info: ConnectionInfo, connect_timeout: Duration, role: Role) -> Result<Self, Error> {
        let name = address::name(&info);
        let client = Client::open(info).map_err(|source| error::unreachable(source, &name))?;
        let (live, connecting, failures) = (RwLock::new(None), Mutex::new(()), AtomicU64::new(0));
        let timers = Timers::default();
        Ok(Self { client, name, role, connect_timeout, live, timers, connecting, failures })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Sends one command.
    pub(crate) async fn one(&self, command: &Cmd, deadline: Instant) -> Result<Value, Fault> {
        let mut live = self.live(deadline).await?;
        self.one_on(&mut live, command, deadline).await
    }

    /// Sends one command on this very connection, which fails when it has been replaced meanwhile.
    pub(crate) async fn one_on(
        &self,
        live: &mut Live,
        command: &Cmd,
        deadline: Instant,
    ) -> Result<Value, Fault> {
        let reply = {
            let mut reply = live.connection.req_packed_command(command);
            self.timers.until(|| deadline, Pin::new(&mut reply)).await
        };
        self.judge(live, reply)?.extract_error().map_err(Fault::Refused)
    }

    /// Sends several commands in one go, on this very connection; each has its own answer, which may be an error.
    pub(crate) async fn many_on(
        &self,
        live: &mut Live,
        commands: &Pipeline,
        deadline: Instant,
    ) -> Result<Vec<Value>, Fault> {
        let replies = {
            let mut replies = live.connection.req_packed_commands(commands, 0, commands.cmd_iter().count());
            self.timers.until(|| deadline, Pin::new(&mut replies)).await
        };
        self.judge(live, replies)
    }

    fn judge<T>(&self, live: &Live, reply: Option<Result<T, RedisError>>) -> Result<T, Fault> {
        match reply {
            Some(Ok(value)) => Ok(value),
            Some(Err(source)) if source.is_io_error() || source.is_unrecoverable_error() => {
                self.discard(live);
                Err(Fault::Lost(error::lost(source, &self.name)))
            }
            Some(Err(source)) => Err(Fault::Refused(source)),
            None => {
                // Perhaps nobody is there any more, and nobody says so: the next caller connects anew.
                self.discard(live);
                Err(Fault::Lost(error::timed_out(&self.name)))
            }
        }
    }

    /// Gives up this connection; those who wait for an answer on it may still get one.
    fn discard(&self, dead: &Live) {
        let mut live = self.live.write();
        if live.as_ref().is_some_and(|live| Arc::ptr_eq(&live.closed, &dead.closed)) {
            *live = None;
        }
    }

    /// The connection, made if there is none. Callers share one attempt.
    pub(crate) async fn live(&self, deadline: Instant) -> Result<Live, Fault> {
        match self.current() {
            Some(live) => Ok(live),
            // Boxed, so that what happens seldom takes no room in every future.
            None => Box::pin(self.connected(deadline)).await,
        }
    }

    async fn connected(&self, deadline: Instant) -> Result<Live, Fault> {
        let failures = self.failures.load(Ordering::Acquire);
        let Ok(_guard) = timeout_at(deadline, self.connecting.lock()).await else {
            return Err(Fault::NotSent(error::still_unreachable(&self.name)));
        };
        if let Some(live) = self.current() {
            return Ok(live);
        }
        if self.failures.load(Ordering::Acquire) != failures {
            return Err(Fault::NotSent(error::still_unreachable(&self.name)));
        }
        let within = deadline.min(Instant::now() + self.connect_timeout);
        let failed = match timeout_at(within, self.connect()).await {
            Ok(Ok(live)) => {
                *self.live.write() = Some(live.clone());
                return Ok(live);
            }
            Ok(Err(source)) => error::unreachable(source, &self.name),
            Err(_) => error::connect_timed_out(&self.name, self.connect_timeout),
        };
        self.failures.fetch_add(1, Ordering::AcqRel);
        Err(Fault::NotSent(failed))
    }

    /// The connection, if there is one.
    pub(crate) fn current(&self) -> Option<Live> {
        self.live.read().as_ref().filter(|live| !live.closed.load(Ordering::Acquire)).cloned()
    }

    async fn connect(&self) -> Result<Live, RedisError> {
        let closed = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&closed);
        let on_push = move |push: PushInfo| -> Result<(), ()> {
            if push.kind == PushKind::Disconnection {
                flag.store(true, Ordering::Release);
            }
            Ok(())
        };
        // The limits on time are ours: one for connecting, one for the whole exchange.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_push_sender(on_push);
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        if self.role == Role::Master {
            let role: Vec<Value> = cmd("ROLE").query_async(&mut connection).await?;
            if !matches!(role.first(), Some(Value::BulkString(role)) if role == b"master") {
                return Err(RedisError::from(std::io::Error::other("the server is not a master")));
            }
        }
        // Who may not ask does without.
        let info = cmd("INFO").arg("server").query_async::<String>(&mut connection).await;
        let compares = info.is_ok_and(|info| has_compare_and_set(&info));
        Ok(Live { connection, closed, compares })
    }
}

/// Whether a server that says this about itself knows `SET .. IFEQ`: Valkey 8.1 and later, Redis 8.4 and later.
fn has_compare_and_set(info: &str) -> bool {
    let version = |name: &str| {
        let text = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let mut parts = text.trim().split('.').map(str::parse::<u32>);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    };
    match version("valkey_version") {
        // For the sake of clients, Valkey also names the version of Redis that it began as.
        Some(valkey) => valkey >= (8, 1),
        None => version("redis_version").is_some_and(|redis| redis >= (8, 4)),
    }
}

#[cfg(test)]
mod tests {
    use super::has_compare_and_set;

    #[test]
    fn servers_with_a_compare_and_set_are_told_by_their_versions() {
        for (info, has) in [
            ("redis_version:7.0.15\r\n", false),
            ("redis_version:8.2.1\r\n", false),
            ("redis_version:8.4.0\r\n", true),
            ("redis_version:10.0.0\r\n", true),
            ("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.0.2\r\n", false),
            ("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\n", true),
            ("redis_version:x\r\n", false),
            ("", false),
        ] {
            assert_eq!(has_compare_and_set(info), has, "{info}");
        }
    }
}
