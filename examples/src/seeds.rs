//! The routes that every tutorial of Flask begins with, and what Flask answers.
//!
//! They change the session on a GET, so that they can be tried from the address bar. They touch only entries of
//! their own: who is signed in on the page does not follow from them.

use axum::Router;
use axum::routing::get;
use session_core::SessionManager;
use session_http::{ClientInterface, CookieConfig, KeyRing, Session, SessionError, SessionLayer};

type Answer<T = &'static str> = Result<T, SessionError>;

/// Known to everybody, as the tutorials' own: take yours from where you keep secrets.
const SECRET: &str = "an example's secret key, which is none";

/// The tutorials as one program, with its sessions in a store, or without one, as Flask's, in signed cookies.
///
/// # Errors
/// When browsers would drop such a cookie.
pub fn program(sessions: Option<SessionManager>, cookie: &CookieConfig) -> session_core::Result<Router> {
    let layer = match sessions {
        Some(sessions) => SessionLayer::with_cookie(sessions, cookie)?,
        None => {
            let interface = ClientInterface::signed(KeyRing::new(SECRET)?).with_cookie(cookie)?;
            SessionLayer::with_interface(interface)
        }
    };
    Ok(Router::new().route("/", get(index)).merge(routes()).layer(layer))
}

/// All but `/`, which the page has, too.
pub(crate) fn routes() -> Router {
    Router::new()
        .route("/get_session", get(whole))
        .route("/login", get(login))
        .route("/get_user_data", get(whole))
        .route("/set", get(set))
        .route("/get", get(key))
}

async fn index(session: Session) -> Answer {
    session.insert("testing", 42)?;
    Ok("Hello World")
}

async fn login(session: Session) -> Answer {
    session.insert("username", "john_doe")?;
    session.insert("email", "john.doe@example.com")?;
    Ok("Logged in successfully")
}

/// Flask's `str(session)`.
async fn whole(session: Session) -> Answer<String> {
    Ok(format!("<SecureCookieSession {}>", session.to_text()?))
}

async fn set(session: Session) -> Answer {
    session.insert("key", "value")?;
    Ok("Session set")
}

async fn key(session: Session) -> Answer<String> {
    Ok(session.get("key")?.unwrap_or_else(|| "Not set".to_owned()))
}
