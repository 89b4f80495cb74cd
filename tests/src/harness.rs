//! What the suite needs to know about a backend.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use session_core::{Error, ErrorKind, Result, SessionKey, SessionStore};

/// How the suite reaches a backend. Implement it once for each way in which your store can be configured.
///
/// The suite runs many cases at once, each in a tokio runtime of its own, so a harness holds nothing that is bound
/// to a runtime, such as a connection: those belong to the handles that [`open`](Self::open) gives.
#[async_trait]
pub trait Harness: Send + Sync + 'static {
    /// The backend's name, as [`Error::backend`](session_core::Error::backend) and `SESSION_REQUIRE` write it.
    const BACKEND: &'static str;

    /// What the backend can do beyond what every store must.
    const CAPABILITIES: &'static [Capability];

    /// One private, empty place of the storage: a prefix, a table, a directory. Removes its data when dropped.
    type Namespace: Send + Sync + 'static;

    /// Makes a new, empty namespace.
    async fn namespace(&self) -> Result<Self::Namespace>;

    /// Opens the namespace's data: each call gives a new handle, a second one beside the first or, when all others
    /// have been dropped, a reopening. Do not call `prepare` here: the suite does.
    async fn open(&self, namespace: &Self::Namespace) -> Result<Arc<dyn SessionStore>>;

    /// The largest payload, in bytes, that the stores which [`open`](Self::open) gives accept.
    fn max_payload(&self) -> usize {
        1 << 20
    }

    /// The longest time that an operation takes while the backend hangs (rule F1): the configured timeouts and
    /// retries together, with some room.
    fn patience(&self) -> Duration {
        Duration::from_secs(5)
    }

    /// The longest time that a case takes on a slow and busy machine: one that is not done by then hangs, and fails.
    fn time_limit(&self) -> Duration {
        Duration::from_secs(120)
    }

    /// Stops the backend from answering, until [`resume`](Self::resume) ([`Capability::Pause`]). Cases of other
    /// namespaces are kept from running meanwhile.
    async fn pause(&self, _namespace: &Self::Namespace) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "this harness cannot pause its backend"))
    }

    /// Lets the backend go on ([`Capability::Pause`]).
    async fn resume(&self, _namespace: &Self::Namespace) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "this harness cannot pause its backend"))
    }

    /// Damages the stored bytes of one session, behind the store's back ([`Capability::Damage`]).
    async fn damage(&self, _namespace: &Self::Namespace, _key: SessionKey) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "this harness cannot damage stored bytes"))
    }
}

/// What a backend may be able to do beyond what every store must. Claim what is true: cases for what is not claimed
/// are reported as not claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Capability {
    /// Sessions outlive all handles: the suite drops every handle, opens a new one and looks (rule H2).
    Durable,
    /// Several handles may be open on a namespace at the same time. Without it the suite uses clones of one handle.
    Shared,
    /// `list` of one owner and `delete_owned` work (rules O1 to O4). Without it they must answer `Unsupported`.
    OwnerIndex,
    /// The storage removes expired records by itself, and `delete_expired` returns 0 (rule E2). Without it
    /// `delete_expired` must count exactly.
    SelfExpiring,
    /// A write removes some expired records on the way, so that `delete_expired` counts what they left.
    SweepsOnWrite,
    /// The harness can stop the backend from answering (rules L4, F1, F2).
    Pause,
    /// The harness can damage stored bytes (rule L5).
    Damage,
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Why a backend cannot be tested here, and what to do about it: `redis-server not found: apt install redis-server`.
#[derive(Clone, Debug)]
pub struct Missing(String);

impl Missing {
    /// What is missing, and how to get it.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

/// A namespace whose type has been forgotten.
pub(crate) type AnyNamespace = Box<dyn Any + Send + Sync>;

/// A harness whose type has been forgotten, so that the cases are compiled once and not for every backend.
#[async_trait]
pub(crate) trait AnyHarness: Send + Sync {
    fn has(&self, capability: Capability) -> bool;
    fn max_payload(&self) -> usize;
    fn patience(&self) -> Duration;
    fn time_limit(&self) -> Duration;
    async fn namespace(&self) -> Result<AnyNamespace>;
    async fn open(&self, namespace: &AnyNamespace) -> Result<Arc<dyn SessionStore>>;
    async fn pause(&self, namespace: &AnyNamespace) -> Result<()>;
    async fn resume(&self, namespace: &AnyNamespace) -> Result<()>;
    async fn damage(&self, namespace: &AnyNamespace, key: SessionKey) -> Result<()>;
}

fn known<H: Harness>(namespace: &AnyNamespace) -> Result<&H::Namespace> {
    namespace.downcast_ref().ok_or_else(|| {
        Error::new(ErrorKind::Other, "a namespace was given to a harness that did not make it")
    })
}

#[async_trait]
impl<H: Harness> AnyHarness for H {
    fn has(&self, capability: Capability) -> bool {
        H::CAPABILITIES.contains(&capability)
    }

    fn max_payload(&self) -> usize {
        Harness::max_payload(self)
    }

    fn patience(&self) -> Duration {
        Harness::patience(self)
    }

    fn time_limit(&self) -> Duration {
        Harness::time_limit(self)
    }

    async fn namespace(&self) -> Result<AnyNamespace> {
        Ok(Box::new(Harness::namespace(self).await?))
    }

    async fn open(&self, namespace: &AnyNamespace) -> Result<Arc<dyn SessionStore>> {
        Harness::open(self, known::<H>(namespace)?).await
    }

    async fn pause(&self, namespace: &AnyNamespace) -> Result<()> {
        Harness::pause(self, known::<H>(namespace)?).await
    }

    async fn resume(&self, namespace: &AnyNamespace) -> Result<()> {
        Harness::resume(self, known::<H>(namespace)?).await
    }

    async fn damage(&self, namespace: &AnyNamespace, key: SessionKey) -> Result<()> {
        Harness::damage(self, known::<H>(namespace)?, key).await
    }
}
