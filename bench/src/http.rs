//! Whole requests: web servers in processes of their own, and 64 connections from this one, each with sixteen sessions
//! that no other has. Every answer is checked, and at the end the counts that are kept.

mod client;
pub(crate) mod cost;
mod listen;
mod place;
mod python;
pub(crate) mod serve;
mod served;
mod tower;
mod wrk;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Result;
use serde_json::json;
use tokio::process::Command;

use crate::report::Report;
use crate::rounds::{Contest, Effort};
use place::{Backend, Place};
use python::Python;
use served::{CONNECTIONS, Handler, SESSIONS, Server};

pub(crate) async fn run(effort: Effort, report: &mut Report) -> Result<()> {
    cost::run(effort, report).await?;
    let has_wrk = wrk::is_installed();
    for backend in [Backend::Memory, Backend::Redis, Backend::Valkey, Backend::Sqlite, Backend::Postgres] {
        let wanted = Handler::ALL.into_iter().filter(|handler| report.wants(&title(backend, *handler)));
        let handlers: Vec<Handler> = wanted.collect();
        // There is no time for it in a quick run, unless it is asked for.
        let wanted = |title: &str| effort.pick(report.asks_for(title), report.wants(title));
        let by_wrk = [Handler::Read, Handler::Counter].into_iter();
        let by_wrk = by_wrk.filter(|handler| has_wrk && wanted(&under_wrk(backend, *handler)));
        let by_wrk: Vec<Handler> = by_wrk.collect();
        if !handlers.is_empty() || !by_wrk.is_empty() {
            match Place::start(backend) {
                Ok(place) => frameworks_of_rust(backend, place, &handlers, &by_wrk, effort, report).await?,
                Err(error) => eprintln!("left out, {}: {error:#}", backend.name()),
            }
        }
    }
    if !has_wrk {
        eprintln!("left out, wrk: it is not installed");
    }
    for backend in [Backend::Redis, Backend::Sqlite] {
        if report.wants(&beside_python(backend)) {
            frameworks_of_python(backend, effort, report).await?;
        }
    }
    Ok(())
}

fn title(backend: Backend, handler: Handler) -> String {
    match handler {
        Handler::OneCounter => format!("Counter of one session for all through axum, in {}", backend.name()),
        _ => format!("{handler:?} through axum, {SESSIONS} sessions in {}", backend.name()),
    }
}

fn under_wrk(backend: Backend, handler: Handler) -> String {
    format!("{handler:?} under wrk, {SESSIONS} sessions in {}", backend.name())
}

fn beside_python(backend: Backend) -> String {
    format!("Counter beside Python's frameworks, sessions in {}", backend.name())
}

async fn frameworks_of_rust(
    backend: Backend,
    place: Place,
    handlers: &[Handler],
    by_wrk: &[Handler],
    effort: Effort,
    report: &mut Report,
) -> Result<()> {
    let mut tower = if backend == Backend::Memory {
        serve("tower")?
    } else {
        Command::new(crate::programs::build("servers", "session-bench-servers", "SESSION_BENCH_SERVERS")?)
    };
    if backend != Backend::Memory {
        tower.arg(place.url().await?);
    }
    let servers = [
        Server::without_sessions("no sessions", serve("none")?),
        Server::new("ours", serve(&place.url().await?)?),
        Server::new("tower-sessions", tower),
    ];
    for handler in handlers {
        let operations = match (backend, handler) {
            (_, Handler::Untouched) | (Backend::Memory, _) => effort.pick(16_000, 80_000),
            (Backend::Redis | Backend::Valkey, _) => effort.pick(12_000, 48_000),
            (Backend::Sqlite, _) => effort.pick(8_000, 32_000),
            (Backend::Postgres, _) => effort.pick(4_000, 16_000),
        };
        let one = *handler == Handler::OneCounter;
        let operations = if one { operations / 4 } else { operations };
        let contenders = servers.iter().map(|server| server.on(*handler)).collect();
        let (title, rounds) = (title(backend, *handler), effort.pick(3, 7));
        report.contest(Contest { title, contenders, tasks: CONNECTIONS, operations, rounds }).await?;
        if one {
            contended(backend, &servers[1..], report).await?;
        }
    }
    verify(&servers).await?;
    // Last, since the client does not count its visits.
    for handler in by_wrk {
        wrk::contest(&under_wrk(backend, *handler), &servers, *handler, effort, report).await?;
    }
    Ok(())
}

/// What became of the visits to one session.
async fn contended(backend: Backend, servers: &[Arc<Server>], report: &mut Report) -> Result<()> {
    let title = format!("visits to one session in {}, from {CONNECTIONS} connections", backend.name());
    let (mut rows, mut raw) = (Vec::new(), Vec::new());
    for server in servers {
        let answered = server.contended.answered.load(Ordering::Relaxed);
        let refused = server.contended.refused.load(Ordering::Relaxed);
        let kept = server.shared_visits().await?;
        let row = [answered, refused, kept].map(|count| count.to_string());
        rows.push([vec![server.name().to_owned()], row.to_vec()].concat());
        raw.push(json!({ "name": server.name(), "answered": answered, "refused": refused, "kept": kept }));
    }
    report.table(&title, &["", "answered", "refused (503)", "kept"], rows, raw);
    Ok(())
}

async fn frameworks_of_python(backend: Backend, effort: Effort, report: &mut Report) -> Result<()> {
    let python = match Python::prepare() {
        Ok(python) => python,
        Err(error) => {
            eprintln!("left out, Flask-Session and Django on {}: {error:#}", backend.name());
            return Ok(());
        }
    };
    let place = Place::start(backend)?;
    let mut servers = vec![Server::new("ours", serve(&place.url().await?)?)];
    if backend == Backend::Redis {
        let flask = python.serve("flask", "redis", &place.url().await?)?;
        servers.push(Server::new("Flask-Session", flask));
        servers.push(Server::new("Django, its cache", python.serve("django", "redis", &place.url().await?)?));
    } else {
        servers.push(Server::new("Django, its database", python.serve("django", "sqlite", &place.path())?));
    }
    for (name, framework) in [("Flask, no sessions", "flask"), ("Django, no sessions", "django")] {
        servers.push(Server::without_sessions(name, python.serve(framework, "none", "")?));
    }
    let contenders = servers.iter().map(|server| server.on(Handler::Counter)).collect();
    let (title, tasks) = (beside_python(backend), CONNECTIONS);
    let (operations, rounds) = effort.pick((1_280, 3), (6_400, 7));
    report.contest(Contest { title, contenders, tasks, operations, rounds }).await?;
    verify(&servers).await
}

/// This program, as a server.
fn serve(what: &str) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["child", "serve", what]);
    Ok(command)
}

async fn verify(servers: &[Arc<Server>]) -> Result<()> {
    for server in servers {
        server.verify().await?;
    }
    Ok(())
}
