//! Flask-Session and Django, whole requests through gunicorn.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::sample;

const REQUIREMENTS: &str = include_str!("../../python/requirements.txt");

/// A Python with the packages that are measured, beside this program.
pub(crate) struct Python(PathBuf);

impl Python {
    /// Made once, and again when other packages are wanted.
    pub(crate) fn prepare() -> Result<Self> {
        let program = std::env::current_exe()?;
        let place = program.parent().context("this program is nowhere")?.join("python-peers");
        let (python, done) = (place.join("bin/python3"), place.join("requirements.txt"));
        if std::fs::read_to_string(&done).is_ok_and(|installed| installed == REQUIREMENTS) {
            return Ok(Self(python));
        }
        eprintln!("installing Flask and Django ...");
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&place))?;
        let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/requirements.txt");
        run(Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--requirement"])
            .arg(requirements))?;
        std::fs::write(done, REQUIREMENTS)?;
        Ok(Self(python))
    }

    /// A server of `framework` on `store`, at `place`.
    pub(crate) fn serve(&self, framework: &str, store: &str, place: &str) -> Result<tokio::process::Command> {
        let mut command = tokio::process::Command::new(&self.0);
        let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/server.py");
        command.arg(server).args([framework, store, place]);
        command.env("SESSION_BENCH_SAMPLE", serde_json::to_string(&sample::visitor())?);
        Ok(command)
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
