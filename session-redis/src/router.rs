//! Brings a command to the server that answers for its key, and says what became of it.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value, cmd};
use session_core::{Error, Result};
use tokio::time::Instant;

use crate::address;
use crate::config::RedisConfig;
use crate::error::{self, Fault};
use crate::link::Link;
use crate::script::Script;

/// A command, and what must be known to send it again.
pub(crate) struct Request {
    command: Cmd,
    script: Option<&'static Script>,
    effect: Effect,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Changes nothing, so that it can be repeated when the answer was lost.
    Read,
    /// Never repeated once it may have been executed: between the two another write could come, and the second
    /// answer would be a lie about the first.
    Write,
}

impl Request {
    pub(crate) fn read(command: Cmd) -> Self {
        Self { command, script: None, effect: Effect::Read }
    }

    pub(crate) fn write(command: Cmd) -> Self {
        Self { command, script: None, effect: Effect::Write }
    }

    pub(crate) fn script(script: &'static Script, keys: &[&str], args: &[&[u8]]) -> Self {
        Self { command: script.call(keys, args), script: Some(script), effect: Effect::Write }
    }
}

#[derive(Debug)]
pub(crate) struct Router {
    link: Arc<Link>,
    timeout: Duration,
    wait: Option<(usize, Duration)>,
}

impl Router {
    pub(crate) fn new(config: &RedisConfig) -> Result<Self, Error> {
        let link = Arc::new(Link::new(address::parse(&config.url)?, config.connect_timeout)?);
        Ok(Self { link, timeout: config.timeout, wait: config.wait })
    }

    /// When an exchange that begins now must be over.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout + self.wait.map_or(Duration::ZERO, |(_, within)| within)
    }

    /// The servers that hold sessions.
    pub(crate) fn masters(&self) -> Vec<Arc<Link>> {
        vec![Arc::clone(&self.link)]
    }

    pub(crate) async fn run(&self, request: &Request) -> Result<Value> {
        let deadline = self.deadline();
        let mut again = true;
        loop {
            let fault = match self.send(request, deadline).await {
                Ok(value) => return Ok(value),
                Err(fault) => fault,
            };
            match (fault, request.script) {
                (Fault::Refused(source), Some(script)) if again && source.code() == Some("NOSCRIPT") => {
                    let loaded = self.link.one(&script.load(), deadline).await;
                    loaded.map_err(|fault| fault.into_error(self.link.name()))?;
                }
                (Fault::Lost(_), _)
                    if again && request.effect == Effect::Read && Instant::now() < deadline => {}
                (fault, _) => return Err(fault.into_error(self.link.name())),
            }
            again = false;
        }
    }

    async fn send(&self, request: &Request, deadline: Instant) -> Result<Value, Fault> {
        let Some((replicas, within)) = self.wait.filter(|_| request.effect == Effect::Write) else {
            return self.link.one(&request.command, deadline).await;
        };
        let mut wait = cmd("WAIT");
        wait.arg(replicas).arg(within.as_millis().max(1).to_string());
        let mut commands = redis::pipe();
        commands.add_command(request.command.clone()).add_command(wait);
        let mut replies = self.link.many(&commands, deadline).await?.into_iter();
        let (Some(reply), Some(confirmed)) = (replies.next(), replies.next()) else {
            return Err(Fault::Lost(error::unexpected_reply()));
        };
        let reply = reply.extract_error().map_err(Fault::Refused)?;
        match confirmed.extract_error().map_err(Fault::Refused)? {
            Value::Int(got) if usize::try_from(got).is_ok_and(|got| got >= replicas) => Ok(reply),
            Value::Int(got) => Err(Fault::Lost(error::not_replicated(replicas, got))),
            _ => Err(Fault::Lost(error::unexpected_reply())),
        }
    }
}
