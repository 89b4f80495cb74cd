//! The model of a browser (rule I9) over the interface of this crate that has a store, and over one of a user's own.
//!
//! It judges by the calls that reach the store, so a session that lies in its cookie is not for it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "clippy does not take the helpers of a test for tests")]

mod common;

use std::env;
use std::sync::Arc;

use async_trait::async_trait;
use common::browser::NAME;
use common::own::{HeaderInterface, TOKEN};
use http::header::{COOKIE, SET_COOKIE};
use http::{Request, Response};
use session_conformance::browser::{Browser, CookieChange, Exchange, Interface};
use session_core::{Commit, Result, Revision, Session, SessionManager};
use session_http::{RequestHead, SessionInterface, StoreInterface};
use session_memory::{MemoryConfig, MemoryStore};

/// Of each interface; `SESSION_BROWSER_RUNS` for more, `SESSION_BROWSER_SEED` for those of a seed.
const RUNS: u64 = 5_000;

/// How a client sends what it holds, and where it is told of a new one.
#[derive(Clone, Copy)]
enum Carrier {
    Cookie,
    Token,
}

impl Carrier {
    fn request(self, held: Option<&str>) -> http::request::Parts {
        let request = match (self, held) {
            (_, None) => Request::new(()),
            (Self::Cookie, Some(id)) => {
                Request::get("/").header(COOKIE, format!("{NAME}={id}")).body(()).unwrap()
            }
            (Self::Token, Some(id)) => Request::get("/").header(&TOKEN, id).body(()).unwrap(),
        };
        request.into_parts().0
    }

    fn told(self, response: &http::response::Parts) -> CookieChange {
        let header = match self {
            Self::Cookie => response.headers.get(SET_COOKIE),
            Self::Token => response.headers.get(&TOKEN),
        };
        let Some(header) = header else { return CookieChange::Keep };
        let text = header.to_str().unwrap();
        let value = match self {
            Self::Cookie => text.split_once('=').unwrap().1.split(';').next().unwrap(),
            Self::Token => text,
        };
        if value.is_empty() { CookieChange::Remove } else { CookieChange::Set(value.to_owned()) }
    }
}

/// Any session interface with a store, as the model drives it.
struct Driven<I> {
    interface: Arc<I>,
    carrier: Carrier,
}

impl<I: SessionInterface> Driven<I> {
    fn new(interface: I, carrier: Carrier) -> Self {
        Self { interface: Arc::new(interface), carrier }
    }
}

#[async_trait]
impl<I: SessionInterface> Interface for Driven<I> {
    async fn open(&self, held: Option<&str>) -> Result<Box<dyn Exchange>> {
        let interface = Arc::clone(&self.interface);
        let head = interface.capture(&self.carrier.request(held));
        let session = interface.open(&head).await?;
        Ok(Box::new(Driving { interface, head, session, carrier: self.carrier }))
    }
}

struct Driving<I> {
    interface: Arc<I>,
    head: RequestHead,
    session: Session,
    carrier: Carrier,
}

#[async_trait]
impl<I: SessionInterface> Exchange for Driving<I> {
    fn session(&self) -> &Session {
        &self.session
    }

    async fn commit(&self) -> Result<Commit> {
        match self.interface.try_commit_now(&self.session, &self.head) {
            Some(commit) => Ok(commit),
            None => self.interface.commit(&self.session, &self.head).await,
        }
    }

    fn cookie(&self) -> CookieChange {
        let mut response = Response::new(()).into_parts().0;
        self.interface.respond(&self.session, &self.head, &mut response).unwrap();
        self.carrier.told(&response)
    }
}

/// Random interleavings over an interface.
fn holds<I: Interface>(interface: fn(SessionManager) -> I) {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let runs = number("SESSION_BROWSER_RUNS").unwrap_or(RUNS);
    let first = number("SESSION_BROWSER_SEED").unwrap_or_else(|| Revision::generate().unwrap().as_u64());
    let browser = Browser::with_new_stores(|clock| {
        Arc::new(MemoryStore::new(MemoryConfig::default().with_clock(clock)))
    })
    .with_interface(interface);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        for seed in (0..runs).map(|run| first.wrapping_add(run)) {
            if let Err(found) = browser.run(seed).await.unwrap() {
                panic!("{found}");
            }
        }
    });
}

#[test]
fn with_a_cookie_nobody_is_signed_out_by_accident_and_a_sign_out_wins() {
    holds(|manager| Driven::new(StoreInterface::new(manager), Carrier::Cookie));
}

#[test]
fn with_a_header_of_a_users_own_nobody_is_signed_out_by_accident_and_a_sign_out_wins() {
    holds(|manager| Driven::new(HeaderInterface(manager), Carrier::Token));
}
