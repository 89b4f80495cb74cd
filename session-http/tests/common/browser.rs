//! A browser with its jar, and a handler that does what the request's path says: `/write/hold/rotate`.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::COOKIE;
use axum::http::{Method, Request, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use session_core::Lifetime;
#[cfg(feature = "client")]
use session_http::{ClientInterface, KeyRing};
use session_http::{Session, SessionError, SessionLayer};
use tokio::sync::Semaphore;

use super::own::{HeaderInterface, TOKEN};
use super::{Answer, Stage, send};

pub(crate) const NAME: &str = "__Host-session";
pub(crate) const SECRET: &str = "a secret of more than thirty-two bytes, for tests";
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How a session travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Its id in a cookie.
    Store,
    /// All of it in a cookie.
    #[cfg(feature = "client")]
    Client,
    /// Its id in a header of the user's own.
    Own,
}

/// Those whose sessions lie in a store.
pub(crate) const STORED: [Way; 2] = [Way::Store, Way::Own];
pub(crate) const ALL: &[Way] = &[
    Way::Store,
    Way::Own,
    #[cfg(feature = "client")]
    Way::Client,
];

impl Way {
    pub(crate) fn layer(self, stage: &Stage) -> SessionLayer {
        match self {
            Self::Store => SessionLayer::new(stage.manager.clone()),
            Self::Own => SessionLayer::with_interface(HeaderInterface(stage.manager.clone())),
            #[cfg(feature = "client")]
            Self::Client => {
                let interface = ClientInterface::signed(KeyRing::new(SECRET).unwrap())
                    .with_clock(stage.clock.clone())
                    .with_policy(stage.manager.policy().clone())
                    .unwrap();
                SessionLayer::with_interface(interface)
            }
        }
    }
}

/// What an answer does to a jar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Nothing,
    Removed,
    Set(String),
}

/// A browser, or a program that keeps a token. A clone is a request under way: it has the jar of its beginning.
#[derive(Clone, Debug)]
pub(crate) struct Browser {
    pub(crate) app: Router,
    pub(crate) way: Way,
    pub(crate) held: Option<String>,
}

impl Browser {
    pub(crate) fn new(app: Router, way: Way) -> Self {
        Self { app, way, held: None }
    }

    /// Sends, and keeps the answer's word.
    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        let answer = self.send(Method::GET, path).await;
        self.take(&answer);
        answer
    }

    pub(crate) async fn post(&mut self, path: &str) -> Answer {
        let answer = self.send(Method::POST, path).await;
        self.take(&answer);
        answer
    }

    /// Sends with what the jar holds, and does not take the answer in.
    pub(crate) async fn send(&self, method: Method, path: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(held) = &self.held {
            request = match self.way {
                Way::Own => request.header(&TOKEN, held),
                _ => request.header(COOKIE, format!("{NAME}={held}")),
            };
        }
        send(&self.app, request.body(Body::empty()).unwrap()).await
    }

    /// A request that leaves now, and whose answer may come late.
    pub(crate) fn start(&self, method: Method, path: &'static str) -> tokio::task::JoinHandle<Answer> {
        let browser = self.clone();
        tokio::spawn(async move { browser.send(method, path).await })
    }

    pub(crate) fn told(&self, answer: &Answer) -> Told {
        let value = match self.way {
            Way::Own => match answer.headers.get(&TOKEN) {
                None => return Told::Nothing,
                Some(token) => token.to_str().unwrap().to_owned(),
            },
            _ if answer.set_cookie.is_empty() => return Told::Nothing,
            _ => answer.value().unwrap_or_default(),
        };
        if value.is_empty() { Told::Removed } else { Told::Set(value) }
    }

    pub(crate) fn take(&mut self, answer: &Answer) {
        match self.told(answer) {
            Told::Nothing => {}
            Told::Removed => self.held = None,
            Told::Set(value) => self.held = Some(value),
        }
    }
}

/// Where handlers wait until the test lets them go on.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<[Semaphore; 2]>);

impl Gate {
    pub(crate) fn new() -> Self {
        Self(Arc::new([Semaphore::new(0), Semaphore::new(0)]))
    }

    pub(crate) async fn hold(&self) {
        self.0[0].add_permits(1);
        self.0[1].acquire().await.unwrap().forget();
    }

    /// Waits until so many handlers wait.
    pub(crate) async fn reached(&self, handlers: u32) {
        self.0[0].acquire_many(handlers).await.unwrap().forget();
    }

    pub(crate) fn release(&self, handlers: usize) {
        self.0[1].add_permits(handlers);
    }
}

/// The handler's routes, whatever their path says, and the gate of the step `hold`.
pub(crate) fn acts() -> (Router, Gate) {
    let gate = Gate::new();
    let routes = Router::new().fallback({
        let gate = gate.clone();
        move |uri: Uri, session: Session| act(gate, uri, session)
    });
    (routes, gate)
}

/// The acts inside a layer.
pub(crate) fn app(way: Way, stage: &Stage) -> (Browser, Gate) {
    app_with(way, stage, |layer| layer)
}

pub(crate) fn app_with(
    way: Way,
    stage: &Stage,
    change: impl FnOnce(SessionLayer) -> SessionLayer,
) -> (Browser, Gate) {
    let (routes, gate) = acts();
    (Browser::new(routes.layer(change(way.layer(stage))), way), gate)
}

async fn act(gate: Gate, uri: Uri, session: Session) -> Result<Response, SessionError> {
    let mut body = Vec::new();
    let mut status = StatusCode::OK;
    for step in uri.path().split('/').skip(1) {
        let (step, with) = step.split_once('=').unwrap_or((step, "v"));
        match step {
            "unused" => {}
            "read" => body.push(session.get::<String>("k")?.unwrap_or_else(|| "-".to_owned())),
            "write" => session.insert("k", with)?,
            "remove" => drop(session.remove("k")),
            "count" => drop(session.update("n", |n: Option<u64>| n.unwrap_or(0) + 1)?),
            "counted" => body.push(session.get::<u64>("n")?.unwrap_or(0).to_string()),
            "owner" => {
                body.push(session.owner().map_or_else(|| "nobody".to_owned(), |owner| owner.to_string()));
            }
            "sign-in" => session.sign_in(with.parse()?),
            "sign-out" => session.sign_out(),
            "clear" => session.clear(),
            "rotate" => session.rotate_id(),
            "regenerate" => session.regenerate(),
            "permanent" => session.set_permanent(with != "off"),
            "remember" => {
                session.set_permanent(true);
                session.set_lifetime(Some(Lifetime { idle_timeout: 30 * DAY, absolute: Some(90 * DAY) }));
            }
            "poll" => session.set_counts_as_use(false),
            "save" => session.save().await?,
            "try-save" => body.push(outcome(session.save().await)),
            "reload" => body.push(session.reload().await?.to_string()),
            "consume" => body.push(session.consume::<String>("k").await?.unwrap_or_else(|| "-".to_owned())),
            "flash" => session.flash("message", with)?,
            "flashes" => body.extend(session.take_flashes()?.into_iter().map(|flash| flash.message)),
            "hold" => gate.hold().await,
            "pending" => std::future::pending().await,
            "panic" => panic!("the handler's own fault"),
            "status" => status = with.parse().unwrap(),
            other => panic!("no such step: {other}"),
        }
    }
    Ok((status, body.join(" ")).into_response())
}

pub(crate) fn outcome(saved: session_core::Result<()>) -> String {
    saved.map_or_else(|error| format!("{:?}", error.kind()), |()| "saved".to_owned())
}
