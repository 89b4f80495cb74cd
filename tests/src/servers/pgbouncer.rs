//! A PgBouncer of one's own, before a PostgreSQL of one's own.

use std::{fs, io};

use super::listening::{Listening, Ready};
use super::postgres::Postgres;
use super::process::{Process, Spec, find};
use crate::Missing;

/// A PgBouncer with transaction pooling: each statement that is no part of a transaction may go to another connection
/// of the pooler's own.
#[derive(Debug)]
pub struct PgBouncer(Listening);

impl PgBouncer {
    /// Starts a pooler before `server`. Each of `settings` is a line of the section `[pgbouncer]` of its file, such as
    /// `("default_pool_size", "3")`.
    ///
    /// # Errors
    /// [`Missing`] when `PgBouncer` is not installed, or cannot be started here.
    pub fn start(server: &Postgres, settings: &[(&str, &str)]) -> Result<Self, Missing> {
        let pgbouncer = find("pgbouncer", "pgbouncer")?;
        let ready = Ready::PgIsReady(find("pg_isready", "postgresql-client")?);
        let started = Listening::start(
            "PgBouncer",
            |directory, port| {
                let (file, users) = (directory.join("pgbouncer.ini"), directory.join("users"));
                fs::write(&users, "\"session\" \"\"\n")?;
                let mut text = format!(
                    "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nauth_file = {}\n\
                     listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\n\
                     pool_mode = transaction\nmax_client_conn = 1000\nstats_users = session\n\
                     ignore_startup_parameters = extra_float_digits\n",
                    server.port(),
                    users.display(),
                );
                for (name, value) in settings {
                    text.push_str(&format!("{name} = {value}\n"));
                }
                fs::write(&file, text)?;
                Ok(Spec::new(&pgbouncer).user_if_root("postgres").arg(file))
            },
            ready,
        );
        started.map(Self)
    }

    /// Where to connect, as a superuser of the server.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://session@127.0.0.1:{}/postgres", self.0.port())
    }

    /// The pooler's process, to be paused, killed or looked into.
    #[must_use]
    pub fn process(&self) -> &Process {
        self.0.process()
    }

    /// Starts the pooler again on the same port, after a kill or instead of one.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart(&self) -> io::Result<()> {
        self.0.restart()
    }
}
