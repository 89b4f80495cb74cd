//! What can be chosen about a [`RedisStore`](crate::RedisStore).

use std::fmt;
use std::time::Duration;

use crate::address::without_secrets;

/// Where the server is, and how a [`RedisStore`](crate::RedisStore) behaves.
///
/// ```
/// use session_redis::RedisConfig;
/// use std::time::Duration;
///
/// let config = RedisConfig::new("rediss://sessions:secret@redis.example.com:6380/2")
///     .with_prefix("shop:session:")
///     .with_timeout(Duration::from_millis(800));
/// assert!(!format!("{config:?}").contains("secret"));
/// ```
#[derive(Clone)]
pub struct RedisConfig {
    pub(crate) url: String,
    pub(crate) prefix: String,
    pub(crate) connect_timeout: Duration,
    pub(crate) timeout: Duration,
    pub(crate) max_payload: usize,
    pub(crate) wait: Option<(usize, Duration)>,
    pub(crate) places: usize,
    #[cfg(feature = "rustls")]
    pub(crate) root_certificates: Option<Vec<u8>>,
}

/// A server on this machine: `redis://127.0.0.1:6379`.
impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379".to_owned(),
            prefix: "session:".to_owned(),
            connect_timeout: Duration::from_secs(1),
            timeout: Duration::from_millis(1_800),
            max_payload: 1024 * 1024,
            wait: None,
            places: 8,
            #[cfg(feature = "rustls")]
            root_certificates: None,
        }
    }
}

impl RedisConfig {
    /// The defaults, with the server at `url`:
    ///
    /// - `redis://user:password@host:port/database`; user, password and database (0) may be left out;
    /// - `rediss://..`: the same over TLS; needs the feature `rustls`;
    /// - `redis+unix:///path/to/socket?db=0&user=name&pass=password`;
    /// - `redis+sentinel://user:password@host:26379,host:26379/master/database`: the server that Sentinels know as
    ///   `master`; user and password are the server's;
    /// - `redis+cluster://user:password@host:port,host:port`: a Redis Cluster, of which some servers are named.
    ///
    /// `rediss+sentinel` and `rediss+cluster` use TLS.
    ///
    /// Characters of user and password that mean something in a URL are percent-encoded. The URL is read when the
    /// store is made.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }

    /// Trusts these certificate authorities, in PEM, and no longer those of the system. Used with `rediss` only.
    #[cfg(feature = "rustls")]
    #[must_use]
    pub fn with_root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.root_certificates = Some(pem.into());
        self
    }

    /// What the names of all keys of this store begin with; `session:` by default. Stores with different prefixes
    /// do not see each other (`[H3]`).
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How long to wait for a new connection; one second by default.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long an exchange with the server may take in all, connecting and retries included; 1.8 seconds by
    /// default. An operation is one exchange; `list` and `delete_owned` are some (`[F1]`).
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The longest payload of one session, in bytes; 1 MiB by default. A longer one is
    /// [`TooLarge`](session_core::ErrorKind::TooLarge) (`[B1]`, `[B4]`).
    #[must_use]
    pub fn with_max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = bytes;
        self
    }

    /// Reports a write as done only when `replicas` replicas have confirmed it `within` a time (`WAIT`); else it is
    /// [`Unavailable`](session_core::ErrorKind::Unavailable), and may or may not last. Off by default: a server
    /// then confirms a write before its replicas have it, and a failover may lose it. Every write waits for the
    /// slowest of these replicas, and so do all that come after it on the connection.
    #[must_use]
    pub fn with_wait(mut self, replicas: usize, within: Duration) -> Self {
        self.wait = (replicas > 0).then_some((replicas, within));
        self
    }

    /// How many operations of a kind (load, create, save) are on their way before others wait; what has
    /// waited then goes in one command, each with its own answer. 8 by default: with less, eight tasks would
    /// wait for each other and gain nothing. `usize::MAX` sends each by itself. A cluster, where one command
    /// reaches the keys of one slot, and writes with [`with_wait`](Self::with_wait) never go together.
    #[must_use]
    pub fn with_places(mut self, places: usize) -> Self {
        self.places = places.max(1);
        self
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("url", &without_secrets(&self.url))
            .field("prefix", &self.prefix)
            .field("connect_timeout", &self.connect_timeout)
            .field("timeout", &self.timeout)
            .field("max_payload", &self.max_payload)
            .field("wait", &self.wait)
            .field("places", &self.places)
            .finish()
    }
}
