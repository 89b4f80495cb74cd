//! What every crate that is published carries.

use std::fs;

use crate::{directory, list, members, metadata, none_of, published, read, text};

#[test]
fn every_published_crate_has_its_papers() {
    let metadata = metadata();
    let mut problems = Vec::new();
    for package in published(&metadata) {
        let name = text(&package["name"]);
        for field in ["description", "license", "readme", "rust_version"] {
            if text(&package[field]).is_empty() {
                problems.push(format!("{name}: Cargo.toml has no {field}"));
            }
        }
        for field in ["keywords", "categories"] {
            if list(&package[field]).is_empty() {
                problems.push(format!("{name}: Cargo.toml has no {field}"));
            }
        }
        if text(&package["edition"]) != "2024" {
            problems.push(format!("{name}: the edition is not 2024"));
        }
        let features = package["features"].as_object().map_or(0, |features| features.len());
        if features > 0 && package["metadata"]["docs"]["rs"]["all-features"] != true {
            problems.push(format!("{name}: docs.rs would leave out features: set all-features"));
        }
        for file in ["README.md", "CHANGELOG.md"] {
            if !directory(package).join(file).is_file() {
                problems.push(format!("{name}: there is no {file}"));
            }
        }
        for file in ["LICENSE-MIT", "LICENSE-APACHE"] {
            if fs::read_to_string(directory(package).join(file)).ok() != Some(read(file)) {
                problems.push(format!("{name}: {file} does not say what the root's says: ln -s ../{file}"));
            }
        }
    }
    none_of(&problems);
}

#[test]
fn every_member_takes_the_lints_and_versions_of_the_workspace() {
    let metadata = metadata();
    let mut problems = Vec::new();
    for package in members(&metadata) {
        let name = text(&package["name"]);
        let manifest = fs::read_to_string(text(&package["manifest_path"])).unwrap();
        if !manifest.contains("[lints]\nworkspace = true") {
            problems.push(format!("{name}: [lints] workspace = true is missing"));
        }
        let mut in_dependencies = false;
        for line in manifest.lines() {
            if line.starts_with('[') {
                in_dependencies = line.contains("dependencies");
            } else if in_dependencies && line.contains('=') && !takes_no_version(line) {
                problems.push(format!("{name}: its version belongs in the root's Cargo.toml: {line}"));
            }
        }
    }
    none_of(&problems);
}

/// The workspace's, or none at all: a path that a published crate leaves out.
fn takes_no_version(line: &str) -> bool {
    line.contains("workspace = true") || line.contains("{ path = ") && !line.contains("version")
}

#[test]
fn the_readme_names_every_published_crate_and_no_other() {
    let metadata = metadata();
    let readme = read("README.md");
    let names: Vec<_> = published(&metadata).map(|package| text(&package["name"])).collect();
    let mut problems = Vec::new();
    for name in &names {
        if !readme.contains(&format!("`{name}`")) {
            problems.push(format!("README.md does not name `{name}`"));
        }
    }
    for word in readme.split(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
        if word.starts_with("session-") && !names.contains(&word) {
            problems.push(format!("README.md names {word}, which is not in the workspace"));
        }
    }
    none_of(&problems);
}
