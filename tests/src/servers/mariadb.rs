//! A MariaDB server of one's own.

use std::io;
use std::time::Duration;

use super::process::{Process, Spec, find, free_port, port_answers};
use crate::Missing;

/// A MariaDB server in a temporary directory, on a free port of 127.0.0.1, with the user `root` without a password
/// and the database `test`.
///
/// It does not flush to the disk: what it acknowledged survives a kill of the server, not a loss of power.
#[derive(Debug)]
pub struct MariaDb {
    process: Process,
    port: u16,
}

/// How long a server may take to start on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_secs(60);

impl MariaDb {
    /// Makes the system tables and starts a server on them. Each of `options` is an option of `mariadbd`, such as
    /// `--default-time-zone=+05:45`.
    ///
    /// # Errors
    /// [`Missing`] when MariaDB is not installed, or cannot be started here.
    pub fn start(options: &[&str]) -> Result<Self, Missing> {
        let install = find("mariadb-install-db", "mariadb-server")?;
        let server = find("mariadbd", "mariadb-server")?;
        let start = || {
            let port = free_port()?;
            let process = Process::start(
                |directory| {
                    let data = directory.join("data");
                    let as_user = |spec: Spec| spec.user_if_root("mysql");
                    let datadir = format!("--datadir={}", data.display());
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
                            // Written at each commit, flushed once a second.
                            "--innodb-flush-log-at-trx-commit=2",
                        ])
                        .args(options))
                },
                || port_answers(port),
                STARTS_WITHIN,
            )?;
            Ok(Self { process, port })
        };
        start().map_err(|error: io::Error| Missing::new(format!("MariaDB cannot be started: {error}")))
    }

    /// Where to connect, as a superuser.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mysql://root@127.0.0.1:{}/test", self.port)
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
        self.process.restart(|| port_answers(self.port), STARTS_WITHIN)
    }
}
