//! The routes of the page.

use std::borrow::Cow;

use axum::Router;
use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use session_core::{Error, Key, Owner, SessionInfo, SessionKey, SessionManager, Timestamp};
use session_http::{Session, csrf};

use crate::page::{self, Device, View};
use crate::{browser, seeds};

const VISITS: Key<u64> = Key::new("visits");
const DEVICE: Key<Seen> = Key::new("device");

/// What a session remembers of the browser that uses it.
#[derive(Debug, Deserialize, Serialize)]
struct Seen {
    browser: String,
    at_millis: i64,
}

#[derive(Clone, Debug)]
struct App {
    sessions: SessionManager,
    storage: &'static str,
}

/// All routes; the session layer goes around them.
pub fn routes(sessions: SessionManager, storage: &'static str) -> Router {
    Router::new()
        .route("/", get(home))
        .route("/sign-in", post(sign_in))
        .route("/sign-out", post(sign_out))
        .route("/sign-out-elsewhere", post(sign_out_elsewhere))
        .route("/devices/{key}/revoke", post(revoke))
        .route("/set", get(seeds::set))
        .route("/get", get(seeds::get))
        .route("/login", get(seeds::login))
        .route("/get_user_data", get(seeds::get_user_data))
        .route("/style.css", get(style))
        .with_state(App { sessions, storage })
}

/// The page. Every visit counts, also of several at once.
async fn home(State(app): State<App>, headers: HeaderMap, session: Session) -> Result<Response, Problem> {
    VISITS.update(&session, |visits| visits.unwrap_or(0) + 1)?;
    DEVICE.insert(
        &session,
        &Seen { browser: browser::name(&headers), at_millis: Timestamp::now().as_millis() },
    )?;
    let token = csrf::token(&session)?;
    let flashes = session.take_flashes()?;
    // Saved here, and not after the handler, so that the number shown is the one that was stored.
    session.save().await?;
    let owner = session.owner();
    let devices = match &owner {
        Some(owner) => devices(&app, owner, session.key()).await?,
        None => Vec::new(),
    };
    let view = View {
        visits: VISITS.get(&session)?.unwrap_or(0),
        owner: owner.as_ref().map(Owner::as_str),
        devices: &devices,
        flashes: &flashes,
        token: &token,
        storage: app.storage,
        key: session.key(),
        created_at: session.created_at(),
        expires_at: session.expires_at(),
        now: Timestamp::now(),
    };
    Ok(html(StatusCode::OK, page::render(&view)))
}

#[derive(Debug, Deserialize)]
struct SignIn {
    name: String,
    csrf: String,
}

/// Anybody may be anyone here: this is a page about sessions, not about passwords.
async fn sign_in(session: Session, Form(form): Form<SignIn>) -> Result<Redirect, Problem> {
    check(&session, &form.csrf)?;
    let Ok(owner) = Owner::new(form.name.trim()) else {
        session.flash("error", "Please give a name of 1 to 255 bytes.")?;
        return Ok(home_again());
    };
    session.flash("success", &format!("Welcome, {owner}. Your session has a new id now."))?;
    // A new owner rotates the id: whoever knew the old one is not signed in with it.
    session.set_owner(Some(owner));
    csrf::reset(&session);
    Ok(home_again())
}

#[derive(Debug, Deserialize)]
struct Token {
    csrf: String,
}

async fn sign_out(session: Session, Form(form): Form<Token>) -> Result<Redirect, Problem> {
    check(&session, &form.csrf)?;
    session.destroy();
    // The farewell begins a new session, under a new id.
    session.flash("success", "You are signed out.")?;
    Ok(home_again())
}

async fn sign_out_elsewhere(
    State(app): State<App>,
    session: Session,
    Form(form): Form<Token>,
) -> Result<Redirect, Problem> {
    check(&session, &form.csrf)?;
    let owner = signed_in(&session)?;
    let ended = app.sessions.revoke_owned(&owner, session.key()).await?;
    let text = match ended {
        0 => Cow::Borrowed("No other device was signed in."),
        1 => Cow::Borrowed("One other device was signed out."),
        more => Cow::Owned(format!("{more} other devices were signed out.")),
    };
    session.flash("success", &text)?;
    Ok(home_again())
}

async fn revoke(
    State(app): State<App>,
    Path(key): Path<String>,
    session: Session,
    Form(form): Form<Token>,
) -> Result<Redirect, Problem> {
    check(&session, &form.csrf)?;
    let owner = signed_in(&session)?;
    // The key comes from the client: it must be one of this owner's.
    let device = match key.parse::<SessionKey>() {
        Ok(key) => app.sessions.sessions_of(&owner).await?.into_iter().find(|info| info.key() == key),
        Err(_) => None,
    };
    match device {
        None => session.flash("error", "That device is not signed in any more.")?,
        Some(info) if Some(info.key()) == session.key() => {
            session.destroy();
            session.flash("success", "You are signed out.")?;
        }
        Some(info) => {
            app.sessions.revoke(info.key()).await?;
            session.flash("success", &format!("{} was signed out.", seen(&info)?.browser))?;
        }
    }
    Ok(home_again())
}

async fn style() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/css; charset=utf-8"), (CACHE_CONTROL, "max-age=60")], page::STYLE)
}

async fn devices(app: &App, owner: &Owner, this: Option<SessionKey>) -> Result<Vec<Device>, Problem> {
    let mut devices = Vec::new();
    for info in app.sessions.sessions_of(owner).await? {
        let seen = seen(&info)?;
        devices.push(Device {
            key: info.key(),
            browser: seen.browser,
            seen_at: Timestamp::from_millis(seen.at_millis),
            signed_in_at: info.created_at(),
            is_this: Some(info.key()) == this,
        });
    }
    devices.sort_by_key(|device| (!device.is_this, std::cmp::Reverse(device.seen_at)));
    Ok(devices)
}

fn seen(info: &SessionInfo) -> Result<Seen, Error> {
    let unseen = || Seen { browser: "Unknown browser".to_owned(), at_millis: info.created_at().as_millis() };
    Ok(info.get(DEVICE.name())?.unwrap_or_else(unseen))
}

fn check(session: &Session, token: &str) -> Result<(), Problem> {
    if csrf::verify(session, token)? { Ok(()) } else { Err(Problem::Forged) }
}

fn signed_in(session: &Session) -> Result<Owner, Problem> {
    session.owner().ok_or(Problem::SignedOut)
}

fn home_again() -> Redirect {
    Redirect::to("/")
}

fn html(status: StatusCode, page: String) -> Response {
    // The page shows what is in the session, so that no cache and no back button may keep it.
    let headers = [
        (CACHE_CONTROL, "no-store"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        ),
        (REFERRER_POLICY, "same-origin"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, Html(page)).into_response()
}

/// Why a request was not done.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The form was not one of ours, or is from before the last sign-in.
    Forged,
    SignedOut,
    Session(Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Session(error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::Forged => (
                StatusCode::FORBIDDEN,
                "This form is out of date, or it was not sent from this page. Nothing was changed.",
            ),
            Self::SignedOut => (StatusCode::UNAUTHORIZED, "You are signed out. Nothing was changed."),
            Self::Session(error) if error.is_retryable() => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The storage does not answer. Please try again in a moment.",
            ),
            Self::Session(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong with your session.")
            }
        };
        html(status, page::problem(status.as_u16(), text))
    }
}
