//! The tutorials as they are written for Flask, served by it.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// Why the reference cannot run, if it cannot.
pub(crate) fn missing() -> Option<String> {
    let output = python("versions.py").output();
    let why = match output {
        Ok(output) if output.status.success() => return None,
        Ok(output) => String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned(),
        Err(error) => format!("python3: {error}"),
    };
    Some(format!("Flask is missing ({why}): tests/run machine installs it into target/flask"))
}

/// Where `program` is served: one of the tutorials, or `together`, which has the routes of all.
pub(crate) fn address_of(program: &str) -> SocketAddr {
    static PORTS: OnceLock<(Child, serde_json::Value)> = OnceLock::new();
    let (_, ports) = PORTS.get_or_init(start);
    let port = ports[program].as_u64().unwrap();
    SocketAddr::from(([127, 0, 0, 1], port.try_into().unwrap()))
}

/// It ends with its standard input, which this process holds: so with it, however it ends.
fn start() -> (Child, serde_json::Value) {
    let mut process = python("server.py").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (process, serde_json::from_str(&line).unwrap())
}

/// With the packages of `target/flask` before any others of the machine.
fn python(script: &str) -> Command {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let packages: PathBuf = here.join("../target/flask");
    let mut command = Command::new("python3");
    command.arg(here.join("tests/flask").join(script)).env("PYTHONPATH", packages);
    command.env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
    command
}
