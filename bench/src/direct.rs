//! Services that are called directly: no sockets, no HTTP on a wire, sessions in memory.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use axum::http::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};
use axum::http::{HeaderValue, Request, Response};
use session_core::SessionManager;
use session_http::{Session, SessionBody, SessionHandle, SessionLayer};
use session_memory::MemoryStore;
use tower_layer::Layer;
use tower_service::Service;
use tower_sessions::{Session as TowerSession, SessionManagerLayer};

use crate::rounds::{Contender, Job, Tally, repeat};
use crate::sample;

/// Visited in turn.
const SESSIONS: u64 = 1_024;

/// The first is what the others are compared to.
pub(crate) async fn contenders() -> Result<Vec<Arc<dyn Contender>>> {
    let bare = handler(async |_| text(sample::READ_VALUE));
    let mut contenders: Vec<Arc<dyn Contender>> =
        vec![Arc::new(Over::new("no sessions", bare, vec![HeaderValue::from_static("nothing=yet")]))];

    let layer = SessionLayer::new(SessionManager::new(MemoryStore::default()));
    let cookies = cookies(layer.layer(handler(fill))).await?;
    contenders.push(Arc::new(Over::new("ours, untouched", layer.layer(handler(untouched)), cookies.clone())));
    contenders.push(Arc::new(Over::new("ours, read", layer.layer(handler(read)), cookies.clone())));
    contenders.push(Arc::new(Over::new("ours, counter", layer.layer(handler(counter)), cookies).counting()));
    let cookies = self::cookies(layer.layer(handler(permanent_fill))).await?;
    contenders.push(Arc::new(Over::new(
        "ours, read, cookie sent again",
        layer.layer(handler(read)),
        cookies,
    )));

    let layer = SessionManagerLayer::new(tower_sessions::MemoryStore::default());
    let cookies = self::cookies(layer.layer(handler(tower_fill))).await?;
    let service = layer.layer(handler(untouched));
    contenders.push(Arc::new(Over::new("tower-sessions, untouched", service, cookies.clone())));
    let service = layer.layer(handler(tower_read));
    contenders.push(Arc::new(Over::new("tower-sessions, read", service, cookies.clone())));
    let service = layer.layer(handler(tower_counter));
    contenders.push(Arc::new(Over::new("tower-sessions, counter", service, cookies).counting()));
    Ok(contenders)
}

type Answered = Result<Response<String>>;

async fn untouched(_: Request<()>) -> Answered {
    text(sample::READ_VALUE)
}

/// What the extractor of axum does.
async fn open(request: &Request<()>) -> Result<Session> {
    let handle = request.extensions().get::<SessionHandle>().cloned().context("no session layer")?;
    Ok(handle.open().await?)
}

async fn fill(request: Request<()>) -> Answered {
    let session = open(&request).await?;
    for (name, value) in sample::visitor() {
        session.insert(&name, &value)?;
    }
    session.insert(sample::VISITS, &0_u64)?;
    Ok(Response::default())
}

async fn permanent_fill(request: Request<()>) -> Answered {
    open(&request).await?.set_permanent(true);
    fill(request).await
}

async fn read(request: Request<()>) -> Answered {
    text(open(&request).await?.get::<String>(sample::READ)?.unwrap_or_default())
}

async fn counter(request: Request<()>) -> Answered {
    let session = open(&request).await?;
    let visits = session.update(sample::VISITS, |visits: Option<u64>| visits.unwrap_or(0) + 1)?;
    text(visits.to_string())
}

fn tower(request: &Request<()>) -> Result<TowerSession> {
    request.extensions().get().cloned().context("no session layer")
}

async fn tower_fill(request: Request<()>) -> Answered {
    let session = tower(&request)?;
    for (name, value) in sample::visitor() {
        session.insert_value(&name, value).await?;
    }
    session.insert(sample::VISITS, 0_u64).await?;
    Ok(Response::default())
}

async fn tower_read(request: Request<()>) -> Answered {
    text(tower(&request)?.get::<String>(sample::READ).await?.unwrap_or_default())
}

async fn tower_counter(request: Request<()>) -> Answered {
    let session = tower(&request)?;
    let visits = session.get::<u64>(sample::VISITS).await?.unwrap_or(0) + 1;
    session.insert(sample::VISITS, visits).await?;
    text(visits.to_string())
}

/// What a router notes about a request, with or without sessions.
#[derive(Clone)]
#[allow(dead_code, reason = "nobody reads it")]
struct Route(&'static str);

/// What handlers answer: no response comes without its type.
fn text(body: impl Into<String>) -> Answered {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

/// A function as a service.
#[derive(Clone)]
struct Handler<F>(F);

fn handler<F, W>(function: F) -> Handler<F>
where
    F: Fn(Request<()>) -> W + Clone,
    W: Future<Output = Answered>,
{
    Handler(function)
}

impl<F, W> Service<Request<()>> for Handler<F>
where
    F: Fn(Request<()>) -> W,
    W: Future<Output = Answered>,
{
    type Response = Response<String>;
    type Error = anyhow::Error;
    type Future = W;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> W {
        (self.0)(request)
    }
}

/// So many new sessions.
async fn cookies<S, B>(mut fill: S) -> Result<Vec<HeaderValue>>
where
    S: Service<Request<()>, Response = Response<B>, Error = anyhow::Error>,
{
    let mut cookies = Vec::new();
    for _ in 0..SESSIONS {
        let response = fill.call(Request::new(())).await?;
        let cookie = response.headers().get(SET_COOKIE).context("no cookie was set")?.to_str()?;
        cookies.push(cookie.split(';').next().unwrap_or_default().parse()?);
    }
    Ok(cookies)
}

/// The body of an answer, with a layer of ours around it or not.
trait Text: Send {
    fn text(self) -> String;
}

impl Text for String {
    fn text(self) -> String {
        self
    }
}

impl Text for SessionBody<String> {
    fn text(self) -> String {
        self.into_inner().unwrap_or_default()
    }
}

struct Over<S> {
    name: &'static str,
    service: S,
    cookies: Vec<HeaderValue>,
    counts: bool,
    calls: AtomicU64,
}

impl<S> Over<S> {
    fn new(name: &'static str, service: S, cookies: Vec<HeaderValue>) -> Self {
        Self { name, service, cookies, counts: false, calls: AtomicU64::new(0) }
    }

    /// Answers with the number of visits.
    fn counting(self) -> Self {
        Self { counts: true, ..self }
    }
}

#[async_trait]
impl<S, B> Contender for Over<S>
where
    S: Service<Request<()>, Response = Response<B>, Error = anyhow::Error> + Clone + Send + Sync + 'static,
    S::Future: Send,
    B: Text,
{
    fn name(&self) -> &'static str {
        self.name
    }

    async fn reset(&self) -> Result<()> {
        Ok(())
    }

    async fn run(&self, job: Job) -> Result<Tally> {
        let (mut service, sessions) = (self.service.clone(), self.cookies.len() as u64);
        repeat!(job, |_n| {
            let call = self.calls.fetch_add(1, Ordering::Relaxed);
            let mut request = Request::new(());
            request.headers_mut().insert(COOKIE, self.cookies[(call % sessions) as usize].clone());
            request.extensions_mut().insert(Route("/"));
            let text = service.call(request).await?.into_body().text();
            let right = if self.counts {
                text.parse() == Ok(call / sessions + 1)
            } else {
                text == sample::READ_VALUE
            };
            ensure!(right, "{}: call {call} was answered {text}", self.name);
        })
    }
}
