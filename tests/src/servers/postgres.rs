//! A PostgreSQL server of one's own.

use std::io;

use super::listening::{Listening, Ready};
use super::process::{Process, Spec, find};
use crate::Missing;

/// A PostgreSQL server in a temporary directory, on a free port of 127.0.0.1, without a password.
///
/// It does not flush to the disk: what it acknowledged survives a kill of the server, not a loss of power.
#[derive(Debug)]
pub struct Postgres(Listening);

impl Postgres {
    /// Makes a cluster and starts a server on it. Each of `settings` is a line of `postgresql.conf`, such as
    /// `("timezone", "Asia/Kolkata")`.
    ///
    /// # Errors
    /// [`Missing`] when PostgreSQL is not installed, or cannot be started here.
    pub fn start(settings: &[(&str, &str)]) -> Result<Self, Missing> {
        let initdb = find("initdb", "postgresql")?;
        let postgres = find("postgres", "postgresql")?;
        let ready = Ready::PgIsReady(find("pg_isready", "postgresql-client")?);
        let as_user = |spec: Spec| spec.user_if_root("postgres");
        let started = Listening::start(
            "PostgreSQL",
            |directory, port| {
                let data = directory.join("data");
                let init = as_user(Spec::new(&initdb))
                    .arg("--pgdata")
                    .arg(&data)
                    .args(["--username=session", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"])
                    .arg("--no-sync");
                init.hand_over(directory)?;
                init.run()?;
                let mut spec = as_user(Spec::new(&postgres)).arg("-D").arg(&data).arg("-k").arg(directory);
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
            ready,
        );
        started.map(Self)
    }

    /// Where to connect, as a superuser.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://session@127.0.0.1:{}/postgres", self.port())
    }

    /// The port of 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port()
    }

    /// The server's process, to be paused, killed or looked into.
    #[must_use]
    pub fn process(&self) -> &Process {
        self.0.process()
    }

    /// Starts the server again on the same data and port, after a kill or instead of one.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart(&self) -> io::Result<()> {
        self.0.restart()
    }
}
