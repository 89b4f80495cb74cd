//! The tower layer: gives each request a way to its session, and saves it before the response head leaves.

use std::sync::Arc;

use http::StatusCode;
use session_core::{Error, Result, SessionManager};
use tower_layer::Layer;

use crate::settings::Settings;
use crate::{CookieConfig, SessionHandle, SessionInterface, SessionService, StoreInterface};

/// A tower layer that gives the services inside it sessions.
///
/// **Lazy.** A request that does not ask for its session costs no call to the store.
///
/// **Saved first.** The session is saved after the service has answered and before the response head leaves, also
/// when the body streams. A handler that did not run to its end saves nothing: one that panics, whose client goes away,
/// that a timeout ended, or that answers with a server error
/// ([`with_save_on_server_error`](Self::with_save_on_server_error)) or a [`SessionError`](crate::SessionError). Put
/// timeouts and what catches panics outside this layer: inside, a timeout is known by its status (408 or 5xx), and one that
/// makes a success of a handler that it cut off cannot be told from the handler's own.
///
/// **Honest.** When the session cannot be opened, or cannot be saved, the client gets an error (503 when trying
/// again may help), never an empty session and never an answer that claims what is not saved. When others ended the
/// session, or changed its id, while a request with an unsafe method changed it, that is a 409
/// ([`with_error_on_dropped_changes`](Self::with_error_on_dropped_changes)). The [`Failure`](crate::Failure) is in
/// the response's extensions, for a layer outside that shows a page for it.
///
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::{Router, routing::get};
/// use session_core::SessionManager;
/// use session_http::SessionLayer;
///
/// let sessions = SessionManager::new(session_memory::MemoryStore::default());
/// let app: Router = Router::new()
///     .route("/", get(|| async { "hello" }))
///     .layer(SessionLayer::new(sessions)); // after the routes: a layer wraps what was added before it
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SessionLayer {
    settings: Arc<Settings>,
}

impl SessionLayer {
    /// Sessions of `manager`, their ids in the default cookie. It needs `https`: see
    /// [`CookieConfig::insecure_for_development`].
    #[must_use]
    pub fn new(manager: SessionManager) -> Self {
        Self::with_interface(StoreInterface::new(manager))
    }

    /// Sessions of `manager`, their ids in a cookie of your choice.
    ///
    /// # Errors
    /// [`InvalidConfig`](session_core::ErrorKind::InvalidConfig) when browsers would drop such a cookie.
    pub fn with_cookie(manager: SessionManager, cookie: &CookieConfig) -> Result<Self> {
        Ok(Self::with_interface(StoreInterface::new(manager).with_cookie(cookie)?))
    }

    /// Sessions of any interface.
    #[must_use]
    pub fn with_interface(interface: impl SessionInterface) -> Self {
        Self { settings: Arc::new(Settings::new(interface)) }
    }

    /// Tells this layer's sessions apart from those of another layer around the same handler, by a type of your own: a
    /// handler takes them as `SessionOf<T>`, or finds them with [`SessionHandle::tagged`]. Give each layer a cookie name
    /// of its own.
    ///
    /// ```
    /// # #[cfg(feature = "axum")] {
    /// # use session_core::SessionManager;
    /// # use session_http::{CookieConfig, Session, SessionLayer, SessionOf};
    /// # fn layers(visitors: SessionManager, staff: SessionManager) -> session_core::Result<()> {
    /// struct Staff;
    ///
    /// async fn page(visitor: Session, staff: SessionOf<Staff>) -> String {
    ///     format!("{:?} helps {:?}", staff.owner(), visitor.owner())
    /// }
    ///
    /// let cookie = CookieConfig::default().with_name("__Host-staff");
    /// let staff = SessionLayer::with_cookie(staff, &cookie)?.tagged::<Staff>();
    /// let app: axum::Router = axum::Router::new()
    ///     .route("/", axum::routing::get(page))
    ///     .layer(SessionLayer::new(visitors))
    ///     .layer(staff);
    /// # Ok(())
    /// # }
    /// # }
    /// ```
    #[must_use]
    pub fn tagged<T: 'static>(self) -> Self {
        self.change(|settings| settings.attach = SessionHandle::attach_tagged::<T>)
    }

    /// Opens the session of every request before the handler runs, as Flask does. Costs a look-up for each request with
    /// a cookie. Default: off.
    #[must_use]
    pub fn with_eager_opening(self, eager: bool) -> Self {
        self.change(|settings| settings.eager = eager)
    }

    /// Whether changes are saved when the answer is a server error (500 or more), a timeout (408) or a
    /// [`SessionError`](crate::SessionError). Default: off, because a handler that failed half-way should sign nobody in.
    /// Flask saves. What a handler saved itself stays, and the answer carries the cookie, either way.
    #[must_use]
    pub fn with_save_on_server_error(self, save: bool) -> Self {
        self.change(|settings| settings.save_on_server_error = save)
    }

    /// Whether the handler's response goes out even when the session could not be saved. Default: off, because such a
    /// response may claim what is not so.
    #[must_use]
    pub fn with_keep_unsaved(self, keep: bool) -> Self {
        self.change(|settings| settings.keep_unsaved = keep)
    }

    /// Whether a request with an unsafe method (POST, PUT, PATCH, DELETE, ..) whose changes were dropped, because others
    /// ended the session or changed its id meanwhile, is answered with an error (409). Default: on. A safe method is answered
    /// as usual; either way it is logged.
    #[must_use]
    pub fn with_error_on_dropped_changes(self, error: bool) -> Self {
        self.change(|settings| settings.refuse_dropped_changes = error)
    }

    /// Which status a failure becomes. Default: 503 when [`Error::is_retryable`]; 409 when others ended the session or
    /// changed its id, or its owner has too many; else 500.
    #[must_use]
    pub fn with_failure_status(self, status: impl Fn(&Error) -> StatusCode + Send + Sync + 'static) -> Self {
        self.change(|settings| settings.status = Arc::new(status))
    }

    fn change(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        SessionService::new(inner, Arc::clone(&self.settings))
    }
}
