//! The application on tower-sessions, of whichever version the store needs.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tower_sessions::{Session, SessionManagerLayer, SessionStore};

use crate::sample;

/// Stores know expiry; the layer leaves it as it comes: no write for a request that only reads.
pub(crate) fn app(store: impl SessionStore + Clone) -> Router {
    Router::new()
        .route("/untouched", get(|| async { "hello" }))
        .route("/read", get(read))
        .route("/counter", get(counter))
        .route("/visits", get(visits))
        .route("/fill", get(fill))
        .layer(SessionManagerLayer::new(store))
}

fn failed(error: tower_sessions::session::Error) -> StatusCode {
    eprintln!("{error:?}");
    StatusCode::INTERNAL_SERVER_ERROR
}

async fn read(session: Session) -> Result<String, StatusCode> {
    Ok(session.get(sample::READ).await.map_err(failed)?.unwrap_or_default())
}

async fn counter(session: Session) -> Result<String, StatusCode> {
    let visits = session.get::<u64>(sample::VISITS).await.map_err(failed)?.unwrap_or(0) + 1;
    session.insert(sample::VISITS, visits).await.map_err(failed)?;
    Ok(visits.to_string())
}

async fn visits(session: Session) -> Result<String, StatusCode> {
    Ok(session.get::<u64>(sample::VISITS).await.map_err(failed)?.unwrap_or(0).to_string())
}

async fn fill(session: Session) -> Result<(), StatusCode> {
    for (name, value) in sample::visitor() {
        session.insert_value(&name, value).await.map_err(failed)?;
    }
    session.insert(sample::VISITS, 0_u64).await.map_err(failed)
}
