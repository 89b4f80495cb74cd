//! What lies between a request, a session and a response: the trait that users can implement.

use std::any::Any;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use async_trait::async_trait;
use http::header::{COOKIE, HeaderName, HeaderValue};
use http::{Extensions, request, response};
use session_core::{Commit, Result, Session};

/// How sessions come from requests and go into responses.
///
/// # For users
///
/// [`StoreInterface`](crate::StoreInterface) keeps sessions in a store and their ids in a cookie. Write your own
/// interface when a client has no cookies, or when sessions come from somewhere else.
///
/// # For implementors
///
/// The layer calls [`capture`](Self::capture) for each request, [`open`](Self::open) when something first asks for the
/// session and never otherwise. After the handler it calls [`commit`](Self::commit), if the session was opened and the
/// answer is one that saves, and then [`respond`](Self::respond) before the response head leaves, whether the commit took
/// place and succeeded or not. A handler may commit in between: so what `respond` writes must follow from the session's
/// state ([`Session::status`]), not from one commit.
///
/// A storage that fails must be an error of `open` or `save`, never an empty session: the layer then answers 503.
/// A request that names no session, or one that is not live, is no failure: it gets a new session.
///
/// This interface reads the id from a header and gives new ids in the same header, for programs that call an API:
///
/// ```
/// use async_trait::async_trait;
/// use http::{HeaderName, HeaderValue, header, request, response};
/// use session_core::{Commit, Error, ErrorKind, Result, Session, SessionId, SessionManager};
/// use session_http::{RequestHead, SessionInterface};
///
/// static TOKEN: HeaderName = HeaderName::from_static("x-session-token");
///
/// #[derive(Debug)]
/// struct HeaderInterface(SessionManager);
///
/// #[async_trait]
/// impl SessionInterface for HeaderInterface {
///     fn capture(&self, head: &request::Parts) -> RequestHead {
///         RequestHead::with_headers(head, &[&TOKEN])
///     }
///
///     async fn open(&self, request: &RequestHead) -> Result<Session> {
///         let text = request.headers(&TOKEN).next().and_then(|value| value.to_str().ok());
///         let id: Option<SessionId> = text.and_then(|text| text.parse().ok());
///         self.0.open(id.as_ref()).await
///     }
///
///     async fn commit(&self, session: &Session, _: &RequestHead) -> Result<Commit> {
///         self.0.commit(session).await
///     }
///
///     fn respond(&self, session: &Session, _: &RequestHead, response: &mut response::Parts) -> Result<()> {
///         let status = session.status();
///         let text = match status.id {
///             Some(id) if status.id_is_new => id.expose(),
///             None if status.ended_here => String::new(),
///             _ => return Ok(()), // the client holds the right id, or somebody else changed it
///         };
///         let value = HeaderValue::from_str(&text)
///             .map_err(|error| Error::new(ErrorKind::Other, "not a header").with_source(error))?;
///         response.headers.insert(TOKEN.clone(), value);
///         response.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
///         Ok(())
///     }
///
///     async fn reload(&self, session: &Session) -> Result<bool> {
///         self.0.reload(session).await
///     }
/// }
/// ```
#[async_trait]
pub trait SessionInterface: fmt::Debug + Send + Sync + 'static {
    /// Copies the parts of the request head that the other methods need. It runs for every request, also for those that
    /// never ask for their session, so it should only clone header values, which is cheap. By default it takes `Cookie`.
    fn capture(&self, head: &request::Parts) -> RequestHead {
        RequestHead::with_headers(head, &[&COOKIE])
    }

    /// Opens the session that the request names, or a new one.
    ///
    /// # Errors
    /// Only when the storage failed, or nothing can be said of the session.
    async fn open(&self, request: &RequestHead) -> Result<Session>;

    /// Makes the session's changes durable. Where others ended the session, or changed its id, the commit says so
    /// ([`Commit::dropped_changes`]), and the layer makes of it what it should. An interface whose sessions travel whole
    /// cannot save them once the head has left ([`RequestHead::is_answered`]), and must say so.
    ///
    /// # Errors
    /// When the changes are not saved.
    async fn commit(&self, session: &Session, request: &RequestHead) -> Result<Commit>;

    /// The same as [`commit`](Self::commit), if there is nothing to wait for; `None` when there is, and nothing was done
    /// then.
    ///
    /// The layer asks here first, because most requests only read their session. By default always `None`.
    fn try_commit_now(&self, _session: &Session, _request: &RequestHead) -> Option<Commit> {
        None
    }

    /// Writes what the client has to know of the session into the response's head. Of a session with a store that is: an id
    /// that is new to the client, and the end of the session if this very request ended it (`[I8]`).
    ///
    /// # Errors
    /// When the client could not be told.
    fn respond(&self, session: &Session, request: &RequestHead, response: &mut response::Parts)
    -> Result<()>;

    /// Brings what other requests stored since into the session, under the changes of this one. `false` when
    /// others ended it, or changed its id, meanwhile.
    ///
    /// # Errors
    /// When the storage failed.
    async fn reload(&self, session: &Session) -> Result<bool>;
}

/// What an interface copied of a request's head until the session is asked for.
#[derive(Default)]
pub struct RequestHead {
    /// Nearly always the only one, so that it needs no room of its own.
    first: Option<(HeaderName, HeaderValue)>,
    more: Vec<(HeaderName, HeaderValue)>,
    extensions: Extensions,
    remembered: OnceLock<Box<dyn Any + Send + Sync>>,
    answered: AtomicBool,
}

impl RequestHead {
    /// Keeps every value of the headers called `names`.
    #[must_use]
    pub fn with_headers(head: &request::Parts, names: &[&HeaderName]) -> Self {
        let mut kept = Self::default();
        for &name in names {
            for value in head.headers.get_all(name) {
                let header = (name.clone(), value.clone());
                match kept.first {
                    None => kept.first = Some(header),
                    Some(_) => kept.more.push(header),
                }
            }
        }
        kept
    }

    fn kept(&self) -> impl Iterator<Item = &(HeaderName, HeaderValue)> {
        self.first.iter().chain(&self.more)
    }

    /// The values of a header that was kept, in the order sent.
    pub fn headers<'h>(&'h self, name: &HeaderName) -> impl Iterator<Item = &'h HeaderValue> {
        self.kept().filter(move |(kept, _)| kept == name).map(|(_, value)| value)
    }

    /// A place for whatever else the interface worked out of the head.
    #[must_use]
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// The same, to be filled.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.extensions
    }

    /// Keeps something from [`open`](SessionInterface::open) for the other methods. The first value stays.
    pub fn remember<T: Send + Sync + 'static>(&self, value: T) {
        self.remembered.get_or_init(|| Box::new(value));
    }

    /// What was remembered, if it is a `T`.
    #[must_use]
    pub fn remembered<T: 'static>(&self) -> Option<&T> {
        self.remembered.get()?.downcast_ref()
    }

    /// Whether the response's head has left, or is on its way: nothing more can be told to the client. In a commit it
    /// stays as it is.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    pub(crate) fn note_answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }
}

/// Shows the headers' names: the values hold session ids.
impl fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.kept().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("RequestHead").field("headers", &names).finish_non_exhaustive()
    }
}
