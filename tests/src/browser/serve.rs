//! One request, as a server handles it.

use std::sync::Arc;

use session_core::{Error, ErrorKind, Outcome, Owner, Result, Session, SessionKey, SessionManager};

use super::desk::Desk;
use super::history::{Done, Opened, RequestNo};
use super::interface::{CookieChange, Exchange, Interface};
use super::schedule::Act;

const LIST: &str = "list";
const VOUCHER: &str = "voucher";

/// What a request is.
pub(super) struct Job {
    pub(super) request: RequestNo,
    pub(super) act: Act,
    /// Whom it signs in.
    pub(super) owner: Option<Owner>,
    /// How often it commits again when that failed and may be tried again.
    pub(super) retries: u32,
}

/// A request of a browser, or of the attacker.
pub(super) async fn serve(
    interface: Arc<dyn Interface>,
    desk: Arc<Desk>,
    cookie: Option<String>,
    job: Job,
) -> Done {
    let exchange = match interface.open(cookie.as_deref()).await {
        Ok(exchange) => exchange,
        Err(error) => return failed(&error),
    };
    let handled = async {
        desk.opened(job.request, look(exchange.session())?);
        let consumed = handle(&*exchange, &job).await?;
        let commit = commit(&*exchange, job.retries).await?;
        Ok(((commit.outcome, commit.dropped_changes), consumed))
    };
    match handled.await {
        // The answer is an error then, and an error changes no cookie.
        Err(error) => failed(&error),
        Ok((commit, consumed)) => {
            let session = exchange.session();
            Done {
                commit: Ok(commit),
                cookie: exchange.cookie(),
                key: session.key(),
                owner: session.owner(),
                consumed,
            }
        }
    }
}

/// An administrator's change.
pub(super) async fn operate(
    manager: SessionManager,
    desk: Arc<Desk>,
    key: SessionKey,
    request: RequestNo,
) -> Done {
    let change = |session: &Session| {
        desk.opened(request, look(session)?);
        session.insert(&mark(request), request)
    };
    match manager.change(key, change).await {
        Ok(outcome) => {
            let dropped = outcome == Outcome::Ended;
            let key = (!dropped).then_some(key);
            Done { commit: Ok((outcome, dropped)), key, ..silent() }
        }
        Err(error) => failed(&error),
    }
}

async fn handle(exchange: &dyn Exchange, job: &Job) -> Result<Option<RequestNo>> {
    let (session, request) = (exchange.session(), job.request);
    match job.act {
        Act::Read => {}
        Act::Write => session.insert(&mark(request), request)?,
        Act::Update => {
            session.update(LIST, move |list: Option<Vec<RequestNo>>| {
                let mut list = list.unwrap_or_default();
                list.push(request);
                list
            })?;
        }
        Act::Stock => session.insert(VOUCHER, request)?,
        Act::Consume => {
            let Some(consume) = session.start_consume(VOUCHER)? else { return Ok(None) };
            let dropped = commit(exchange, job.retries).await?.dropped_changes;
            return if dropped { Ok(None) } else { consume.finish() };
        }
        Act::SignIn(_) => {
            if let Some(owner) = &job.owner {
                session.sign_in(owner.clone());
            }
            session.insert(&mark(request), request)?;
        }
        Act::SignOut => session.sign_out(),
        Act::Rotate => session.rotate_id(),
        Act::Regenerate => {
            session.regenerate();
            session.insert(&mark(request), request)?;
        }
    }
    Ok(None)
}

async fn commit(exchange: &dyn Exchange, retries: u32) -> Result<session_core::Commit> {
    let mut tries = 0;
    loop {
        match exchange.commit().await {
            // `Contended` is final: after a lost answer the updates are given up with it, and another commit has nothing to do.
            Err(error) if error.is_retryable() && error.kind() != ErrorKind::Contended && tries < retries => {
                tries += 1;
            }
            result => return result,
        }
    }
}

/// The key under which a request leaves its entry.
fn mark(request: RequestNo) -> String {
    format!("by {request}")
}

fn look(session: &Session) -> Result<Opened> {
    let of = |key: String| key.strip_prefix("by ").and_then(|number| number.parse().ok());
    Ok(Opened {
        key: session.key(),
        superseded: session.is_superseded(),
        owner: session.owner(),
        marks: session.keys().into_iter().filter_map(of).collect(),
        list: session.get(LIST)?.unwrap_or_default(),
    })
}

fn failed(error: &Error) -> Done {
    Done { commit: Err(error.kind()), ..silent() }
}

fn silent() -> Done {
    Done {
        commit: Ok((Outcome::Unchanged, false)),
        cookie: CookieChange::Keep,
        key: None,
        owner: None,
        consumed: None,
    }
}
