//! The four routes that every tutorial of sessions begins with.
//!
//! They change the session on a GET, so that they can be tried from the address bar. They touch only entries of
//! their own: who is signed in on the page does not follow from them.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use session_http::Session;

use crate::app::Problem;

#[derive(Debug, Deserialize, Serialize)]
struct User {
    user_id: u64,
    username: String,
}

/// Puts a text into the session.
pub(crate) async fn set(session: Session) -> Result<&'static str, Problem> {
    session.insert("key", "value")?;
    Ok("The session now has \"key\" = \"value\". See /get.")
}

/// Reads it again.
pub(crate) async fn get(session: Session) -> Result<String, Problem> {
    Ok(session.get::<String>("key")?.unwrap_or_else(|| "not set: see /set".to_owned()))
}

/// Puts a whole struct into the session, under a new id, as at each sign-in.
pub(crate) async fn login(session: Session) -> Result<&'static str, Problem> {
    session.rotate_id();
    session.insert("user", &User { user_id: 1, username: "ada".to_owned() })?;
    Ok("The session now has a user. See /get_user_data.")
}

/// Reads the struct.
pub(crate) async fn get_user_data(session: Session) -> Result<Response, Problem> {
    Ok(match session.get::<User>("user")? {
        Some(user) => Json(user).into_response(),
        None => (StatusCode::UNAUTHORIZED, "no user: see /login").into_response(),
    })
}
