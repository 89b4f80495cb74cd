//! A server that listens on a port of 127.0.0.1: started, waited for and started again.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::process::{Process, Spec, free_port, port_answers};
use crate::Missing;

/// How long a server may take to start on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// How often another port is tried: somebody may take it between our looking and the server's listening.
const ATTEMPTS: u32 = 3;

#[derive(Debug)]
pub(super) struct Listening {
    process: Process,
    port: u16,
    ready: Ready,
}

/// What says that a server takes connections.
#[derive(Debug)]
pub(super) enum Ready {
    PortAnswers,
    /// The port of PostgreSQL answers before the server takes connections, above all while it recovers from a crash:
    /// its own program `pg_isready` asks.
    PgIsReady(PathBuf),
}

impl Listening {
    /// Starts what `spec` says for a new directory and a free port.
    pub(super) fn start(
        name: &str,
        spec: impl Fn(&Path, u16) -> io::Result<Spec>,
        ready: Ready,
    ) -> Result<Self, Missing> {
        let mut attempt = 1;
        loop {
            let started = free_port().and_then(|port| {
                let spec = |directory: &Path| spec(directory, port);
                Ok((Process::start(spec, || ready.says_so(port), STARTS_WITHIN)?, port))
            });
            match started {
                Ok((process, port)) => return Ok(Self { process, port, ready }),
                Err(_) if attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(Missing::new(format!("{name} cannot be started: {error}"))),
            }
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn process(&self) -> &Process {
        &self.process
    }

    pub(super) fn restart(&self) -> io::Result<()> {
        self.process.restart(|| self.ready.says_so(self.port), STARTS_WITHIN)
    }
}

impl Ready {
    fn says_so(&self, port: u16) -> bool {
        let program = match self {
            Self::PortAnswers => return port_answers(port),
            Self::PgIsReady(program) => program,
        };
        let mut command = Command::new(program);
        command.args(["--quiet", "--username=session", "--host=127.0.0.1", "--port"]).arg(port.to_string());
        command.stdin(Stdio::null()).status().is_ok_and(|status| status.success())
    }
}
