//! A PostgreSQL server of one's own.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::process::{Process, Spec, find, free_port};
use crate::Missing;

/// A PostgreSQL server in a temporary directory, on a free port of 127.0.0.1, without a password.
///
/// It does not flush to the disk: what it acknowledged survives a kill of the server, not a loss of power.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    port: u16,
    pg_isready: PathBuf,
}

/// How long a server may take to start on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_secs(60);

impl Postgres {
    /// Makes a cluster and starts a server on it. Each of `settings` is a line of `postgresql.conf`, such as
    /// `("timezone", "Asia/Kolkata")`.
    ///
    /// # Errors
    /// [`Missing`] when PostgreSQL is not installed, or cannot be started here.
    pub fn start(settings: &[(&str, &str)]) -> Result<Self, Missing> {
        let initdb = find("initdb", "postgresql")?;
        let postgres = find("postgres", "postgresql")?;
        let pg_isready = find("pg_isready", "postgresql-client")?;
        let start = || {
            let port = free_port()?;
            let process = Process::start(
                |directory| {
                    let data = directory.join("data");
                    let as_user = |spec: Spec| spec.user_if_root("postgres");
                    let init = as_user(Spec::new(&initdb))
                        .arg("--pgdata")
                        .arg(&data)
                        .args(["--username=session", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"])
                        .arg("--no-sync");
                    init.hand_over(directory)?;
                    init.run()?;
                    let mut spec =
                        as_user(Spec::new(&postgres)).arg("-D").arg(&data).arg("-k").arg(directory);
                    let port = port.to_string();
                    let common = [
                        ("port", port.as_str()),
                        ("listen_addresses", "127.0.0.1"),
                        ("fsync", "off"),
                        ("max_connections", "400"),
                        ("shared_buffers", "32MB"),
                        ("deadlock_timeout", "100ms"),
                    ];
                    for (name, value) in common.iter().chain(settings) {
                        spec = spec.arg("-c").arg(format!("{name}={value}"));
                    }
                    Ok(spec)
                },
                || is_ready(&pg_isready, port),
                STARTS_WITHIN,
            )?;
            Ok(Self { process, port, pg_isready: pg_isready.clone() })
        };
        start().map_err(|error: io::Error| Missing::new(format!("PostgreSQL cannot be started: {error}")))
    }

    /// Where to connect, as a superuser.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://session@127.0.0.1:{}/postgres", self.port)
    }

    /// The port of 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's process, to be paused, killed or looked into.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Starts the server again on the same data and port, after a kill or instead of one.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart(&self) -> io::Result<()> {
        self.process.restart(|| is_ready(&self.pg_isready, self.port), STARTS_WITHIN)
    }
}

/// The port answers before the server takes connections, above all while it recovers from a crash.
fn is_ready(pg_isready: &Path, port: u16) -> bool {
    let mut command = Command::new(pg_isready);
    command.args(["--quiet", "--username=session", "--host=127.0.0.1", "--port"]).arg(port.to_string());
    command.stdin(Stdio::null()).status().is_ok_and(|status| status.success())
}
