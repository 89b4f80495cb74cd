//! Checks of the repository itself, which no crate can make of itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

mod decisions;
mod dependencies;
mod documents;
mod manifests;
mod rules;
mod security;

/// The root of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What cargo answers to these arguments in the workspace, without changing `Cargo.lock`.
fn cargo(arguments: &[&str]) -> String {
    let output =
        Command::new(env!("CARGO")).args(arguments).arg("--locked").current_dir(root()).output().unwrap();
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What cargo knows of the workspace and of everything that it depends on with all features.
fn metadata() -> Value {
    serde_json::from_str(&cargo(&["metadata", "--all-features", "--format-version", "1"])).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The workspace's packages, and of them those that are published.
fn members(metadata: &Value) -> impl Iterator<Item = &Value> {
    let ids = list(&metadata["workspace_members"]);
    list(&metadata["packages"]).iter().filter(move |package| ids.contains(&package["id"]))
}

fn published(metadata: &Value) -> impl Iterator<Item = &Value> {
    members(metadata).filter(|package| package["publish"].is_null())
}

fn directory(package: &Value) -> PathBuf {
    Path::new(text(&package["manifest_path"])).parent().unwrap().to_owned()
}

/// Fails with all problems at once.
fn none_of(problems: &[String]) {
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}
