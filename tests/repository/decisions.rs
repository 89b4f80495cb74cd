//! Listings in `docs/decisions.md` are what cargo says today.

use std::fs;

use crate::{cargo, read, root};

const DECISIONS: &str = "docs/decisions.md";
const BEGIN: &str = "<!-- listing: cargo tree -->\n```text\n";
const END: &str = "```\n<!-- end -->";

/// With `SESSION_BLESS=1` in the environment the listing is written instead.
#[test]
fn the_default_build_of_the_core_is_listed_and_light() {
    let tree = cargo(&[
        "tree",
        "--package=session-core",
        "--edges=normal,build",
        "--target=x86_64-unknown-linux-gnu",
        "--charset=ascii",
        "--format={p}",
    ]);
    // The first line ends with the place of this checkout.
    let tree: String =
        tree.lines().map(|line| line.split(" (").next().unwrap_or_default().to_owned() + "\n").collect();
    let text = read(DECISIONS);
    let (before, rest) = text.split_once(BEGIN).expect("no listing begins");
    let (listed, after) = rest.split_once(END).expect("no listing ends");
    if std::env::var_os("SESSION_BLESS").is_some() {
        fs::write(root().join(DECISIONS), format!("{before}{BEGIN}{tree}{END}{after}")).unwrap();
    } else {
        assert_eq!(listed, tree, "the listing in {DECISIONS} is old: run this test with SESSION_BLESS=1");
    }
    let packages: std::collections::BTreeSet<_> =
        tree.lines().map(|line| line.trim_start_matches(['|', '`', '-', ' '])).collect();
    assert!(packages.len() < 40, "the core's default build takes {} packages", packages.len());
}
