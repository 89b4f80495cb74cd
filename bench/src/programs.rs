//! Programs that have to be built for themselves, because their dependencies or their allocator cannot stand beside ours.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// Builds the program `name` of the package in `directory`, below this one's; or takes the one that `variable` names.
pub(crate) fn build(directory: &str, name: &str, variable: &str) -> Result<PathBuf> {
    if let Some(built) = std::env::var_os(variable) {
        return Ok(built.into());
    }
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(directory).join("Cargo.toml");
    // `cargo run` names itself and its toolchain to what it runs; without it, the one that a shell would find.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--quiet", "--release", "--locked", "--message-format=json", "--bin", name])
        .arg("--manifest-path")
        .arg(manifest)
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "{name} cannot be built");
    String::from_utf8(output.stdout)?
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)))
        .context("cargo did not say where the program is")
}
