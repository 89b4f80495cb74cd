//! What the crates depend on: versions of Rust, licences, sources.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{list, metadata, none_of, published, read, text};

#[test]
fn no_dependency_needs_a_newer_rust_than_the_crate_that_it_serves() {
    let metadata = metadata();
    let mut problems = Vec::new();
    for package in published(&metadata) {
        let ours = version(text(&package["rust_version"]));
        for dependency in built_with(&metadata, package) {
            let theirs = text(&dependency["rust_version"]);
            if version(theirs) > ours {
                problems.push(format!(
                    "{} needs Rust {theirs} for {}",
                    text(&package["name"]),
                    named(dependency)
                ));
            }
        }
    }
    none_of(&problems);
}

#[test]
fn every_dependency_comes_from_crates_io() {
    let metadata = metadata();
    let mut problems = Vec::new();
    for package in list(&metadata["packages"]) {
        // No source: a member of the workspace.
        if !package["source"].is_null() && text(&package["source"]) != CRATES_IO {
            problems.push(format!("{} comes from {}", named(package), package["source"]));
        }
    }
    none_of(&problems);
}

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[test]
fn every_licence_is_one_that_deny_toml_allows() {
    let allowed = allowed_licences();
    assert!(allowed.contains("MIT"), "deny.toml was not understood: {allowed:?}");
    let metadata = metadata();
    let mut problems = Vec::new();
    for package in list(&metadata["packages"]) {
        let licence = text(&package["license"]);
        if !satisfies(licence, &allowed) {
            problems.push(format!("{}: {licence:?} is not allowed", named(package)));
        }
    }
    none_of(&problems);
}

/// The quoted words of `allow = [..]` under `[licenses]`.
fn allowed_licences() -> BTreeSet<String> {
    let deny = read("deny.toml");
    let section = deny.split("[licenses]").nth(1).unwrap_or_default();
    let list = section.split("allow = [").nth(1).and_then(|rest| rest.split(']').next()).unwrap_or_default();
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Whether an SPDX expression is met: in every part joined by `AND`, one of those joined by `OR` is allowed.
fn satisfies(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let plain = expression.replace('/', " OR ").replace(['(', ')'], " ");
    plain.split(" AND ").all(|part| part.split(" OR ").any(|licence| allowed.contains(licence.trim())))
}

#[test]
fn licence_expressions_are_read_as_spdx_means_them() {
    let allowed: BTreeSet<_> = ["MIT", "Unicode-3.0"].map(str::to_owned).into();
    for good in ["MIT", "Apache-2.0 OR MIT", "MIT/Apache-2.0", "(MIT OR Apache-2.0) AND Unicode-3.0"] {
        assert!(satisfies(good, &allowed), "{good}");
    }
    for bad in ["", "Apache-2.0", "GPL-3.0 AND MIT", "(MIT OR Apache-2.0) AND GPL-3.0"] {
        assert!(!satisfies(bad, &allowed), "{bad}");
    }
}

/// Everything that is compiled to build `package` with all features, tests left out.
fn built_with<'m>(metadata: &'m Value, package: &Value) -> Vec<&'m Value> {
    let nodes: BTreeMap<_, _> =
        list(&metadata["resolve"]["nodes"]).iter().map(|node| (text(&node["id"]), node)).collect();
    let mut seen = BTreeSet::new();
    let mut waiting = vec![text(&package["id"])];
    while let Some(id) = waiting.pop() {
        for dependency in list(&nodes[id]["deps"]) {
            let kinds = list(&dependency["dep_kinds"]);
            let id = text(&dependency["pkg"]);
            if kinds.iter().any(|kind| kind["kind"] != "dev") && seen.insert(id) {
                waiting.push(id);
            }
        }
    }
    list(&metadata["packages"]).iter().filter(|package| seen.contains(text(&package["id"]))).collect()
}

fn named(package: &Value) -> String {
    format!("{} {}", text(&package["name"]), text(&package["version"]))
}

/// `1.89` is `1.89.0`, and less than `1.89.1` and `1.100`; nothing declared is the least.
fn version(text: &str) -> Vec<u64> {
    let mut parts: Vec<_> = text.split('.').filter_map(|part| part.parse().ok()).collect();
    while parts.last() == Some(&0) {
        parts.pop();
    }
    parts
}

#[test]
fn versions_are_compared_by_their_numbers() {
    assert!(version("") < version("1.0"));
    assert_eq!(version("1.89"), version("1.89.0"));
    assert!(version("1.89") < version("1.89.1") && version("1.89.1") < version("1.100"));
}
