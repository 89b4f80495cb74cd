//! A MariaDB server of one's own.

use std::io;

use super::listening::{Listening, Ready};
use super::process::{Process, Spec, find};
use crate::Missing;

/// A MariaDB server in a temporary directory, on a free port of 127.0.0.1, with the user `root` without a password
/// and the database `test`.
///
/// It does not flush to the disk: what it acknowledged survives a kill of the server, not a loss of power.
#[derive(Debug)]
pub struct MariaDb(Listening);

impl MariaDb {
    /// Makes the system tables and starts a server on them. Each of `options` is an option of `mariadbd`, such as
    /// `--default-time-zone=+05:45`.
    ///
    /// # Errors
    /// [`Missing`] when MariaDB is not installed, or cannot be started here.
    pub fn start(options: &[&str]) -> Result<Self, Missing> {
        let install = find("mariadb-install-db", "mariadb-server")?;
        let server = find("mariadbd", "mariadb-server")?;
        let as_user = |spec: Spec| spec.user_if_root("mysql");
        let started = Listening::start(
            "MariaDB",
            |directory, port| {
                let datadir = format!("--datadir={}", directory.join("data").display());
                let init = as_user(Spec::new(&install)).args(["--no-defaults", &datadir]).args([
                    "--auth-root-authentication-method=normal",
                    "--skip-name-resolve",
                    "--innodb-log-file-size=16M",
                ]);
                // What says how the files are laid out holds from the first moment.
                let init = init.args(options.iter().filter(|option| option.starts_with("--innodb-")));
                init.hand_over(directory)?;
                init.run()?;
                let socket = format!("--socket={}", directory.join("socket").display());
                let pid = format!("--pid-file={}", directory.join("pid").display());
                Ok(as_user(Spec::new(&server))
                    .args(["--no-defaults", &datadir, &socket, &pid, "--bind-address=127.0.0.1"])
                    .arg(format!("--port={port}"))
                    .args([
                        "--skip-name-resolve",
                        "--skip-log-bin",
                        "--max-connections=400",
                        "--innodb-buffer-pool-size=64M",
                        "--innodb-log-file-size=64M",
                        // Written at each commit and left to the system to flush: tests kill servers, never the
                        // machine. On a slow disk the tables of each case would take most of the time.
                        "--innodb-flush-log-at-trx-commit=2",
                        "--innodb-flush-method=nosync",
                        "--skip-sync-frm",
                    ])
                    .args(options))
            },
            Ready::PortAnswers,
        );
        started.map(Self)
    }

    /// Where to connect, as a superuser.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mysql://root@127.0.0.1:{}/test", self.port())
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
