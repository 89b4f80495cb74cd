//! The routes of the page.

use std::borrow::Cow;

use axum::Router;
use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderValue, REFERRER_POLICY, REFRESH,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::middleware::map_response;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use session_core::{
    Error, ErrorKind, Key, Owner, Result, SessionInfo, SessionKey, SessionManager, Timestamp,
};
use session_http::{CookieConfig, Failure, Session, SessionError, SessionLayer, csrf};

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

/// The page with its sessions, which are `sessions` in a storage of that name.
///
/// # Errors
/// When browsers would drop such a cookie.
pub fn page(sessions: SessionManager, storage: &'static str, cookie: &CookieConfig) -> Result<Router> {
    let layer = SessionLayer::with_cookie(sessions.clone(), cookie)?;
    Ok(routes(sessions, storage).layer(layer).layer(map_response(explain)))
}

fn routes(sessions: SessionManager, storage: &'static str) -> Router {
    Router::new()
        .route("/", get(home))
        .route("/sign-in", post(sign_in))
        .route("/sign-out", post(sign_out))
        .route("/sign-out-elsewhere", post(sign_out_elsewhere))
        .route("/devices/{key}/revoke", post(revoke))
        .route("/style.css", get(style))
        .with_state(App { sessions, storage })
        .merge(seeds::routes())
}

/// The page. Every visit counts, also of several at once.
async fn home(State(app): State<App>, headers: HeaderMap, session: Session) -> Result<Response, Problem> {
    VISITS.update(&session, |visits| visits.unwrap_or(0) + 1)?;
    DEVICE.insert(
        &session,
        &Seen { browser: browser::name(&headers), at_millis: Timestamp::now().as_millis() },
    )?;
    csrf::token(&session)?;
    let flashes = session.take_flashes()?;
    // Saved here, and not after the handler, so that the number shown is the one that was stored, and the token below is
    // of the secret that was: of several first visits at once, one makes it.
    match session.save().await {
        Err(_) if session.is_over() => return Ok(look_again()),
        saved => saved?,
    }
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
        token: &csrf::token(&session)?,
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
async fn sign_in(
    headers: HeaderMap,
    session: Session,
    Form(form): Form<SignIn>,
) -> Result<Redirect, Problem> {
    // A form that is sent twice: what the token was of ended with the first one, whose answer the browser did not wait for.
    // Browsers also say themselves where a form comes from, which no other site can make them misstate.
    if !says_same_origin(&headers) {
        check(&session, &form.csrf)?;
    }
    let Ok(owner) = Owner::new(form.name.trim()) else {
        session.flash("error", "Please give a name of 1 to 255 bytes.")?;
        return Ok(home_again());
    };
    let welcome = format!("Welcome, {owner}. Your session has a new id now.");
    // Whoever knew the old id, or the old token, is not signed in with it. What another owner left in the session is
    // gone after this line, so the message comes after it.
    session.sign_in(owner);
    csrf::reset(&session);
    session.flash("success", &welcome)?;
    Ok(home_again())
}

#[derive(Debug, Deserialize)]
struct Token {
    csrf: String,
}

async fn sign_out(session: Session, Form(form): Form<Token>) -> Result<Redirect, Problem> {
    // The form was sent twice, or from two tabs.
    if session.owner().is_none() && !session.is_superseded() {
        return Ok(home_again());
    }
    check(&session, &form.csrf)?;
    session.sign_out();
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
    let (owner, this) = signed_in(&session)?;
    let ended = app.sessions.revoke_others_of(&owner, this).await?;
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
    let (owner, this) = signed_in(&session)?;
    match key.parse::<SessionKey>() {
        Ok(key) if key == this => {
            session.sign_out();
            session.flash("success", "You are signed out.")?;
        }
        // The key comes from the client: it must be one of this owner's.
        Ok(key) if app.sessions.revoke_of(&owner, key).await? => {
            session.flash("success", "That device was signed out.")?;
        }
        _ => session.flash("error", "That device is not signed in any more.")?,
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

fn says_same_origin(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin")
}

fn check(session: &Session, token: &str) -> Result<(), Problem> {
    if csrf::verify(session, token)? { Ok(()) } else { Err(Problem::Forged) }
}

/// The owner, and the key of the owner's session here.
fn signed_in(session: &Session) -> Result<(Owner, SessionKey), Problem> {
    session.owner().zip(session.key()).ok_or(Problem::SignedOut)
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

/// For a page whose session others ended, or whose id they changed, while it was made: in a moment the browser has the
/// cookie that came of it.
fn look_again() -> Response {
    let text = "Somebody signed in or out in another tab. One moment: this page loads again by itself.";
    let mut response = problem(StatusCode::CONFLICT, text);
    response.headers_mut().insert(REFRESH, HeaderValue::from_static("1"));
    response
}

/// Makes a page of a failure of the session layer's.
async fn explain(response: Response) -> Response {
    match response.extensions().get::<Failure>() {
        Some(failure) => problem(response.status(), reason(&failure.error)),
        None => response,
    }
}

fn reason(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::Ended | ErrorKind::Superseded => {
            "Somebody signed in or out in another tab meanwhile. Nothing was changed here."
        }
        _ if error.is_retryable() => "The storage does not answer. Please try again in a moment.",
        _ => "Something went wrong with your session.",
    }
}

fn problem(status: StatusCode, text: &str) -> Response {
    html(status, page::problem(status.as_u16(), text))
}

/// Why a request was not done.
#[derive(Debug)]
enum Problem {
    /// The form was not one of ours, or is from before the last sign-in.
    Forged,
    SignedOut,
    Session(SessionError),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Session(error.into())
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
            Self::Session(error) => {
                let text = reason(error.get_ref());
                (error.into_response().status(), text)
            }
        };
        problem(status, text)
    }
}
