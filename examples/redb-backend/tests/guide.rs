//! The guide's blocks are this crate's code, to the letter.

mod skeleton;

use std::fs;
use std::path::Path;

/// Lines without the indentation that they have in common.
fn flush_left<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let indent = |line: &&&str| line.len() - line.trim_start().len();
    let common =
        lines.iter().filter(|line| !line.trim().is_empty()).map(|line| indent(&line)).min().unwrap_or(0);
    lines.iter().map(|line| line.get(common..).unwrap_or_default()).collect()
}

#[test]
fn every_block_of_the_guide_stands_in_the_crate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let files = [
        "Cargo.toml",
        "src/error.rs",
        "src/layout.rs",
        "src/store.rs",
        "tests/conformance.rs",
        "tests/skeleton/mod.rs",
    ]
    .map(read);
    let guide = read("../../docs/write-a-backend.md");
    let mut blocks = 0;
    for part in guide.split("\n```").skip(1).step_by(2) {
        let (language, block) = part.split_once('\n').unwrap();
        if !matches!(language, "rust" | "toml") {
            continue;
        }
        blocks += 1;
        let block: Vec<_> = block.lines().collect();
        let stands = files.iter().any(|file| {
            let lines: Vec<_> = file.lines().collect();
            lines.windows(block.len()).any(|window| flush_left(window) == block)
        });
        assert!(stands, "this block of the guide is not in the crate:\n{}", block.join("\n"));
    }
    assert!(blocks >= 28, "only {blocks} blocks were found");
}

#[test]
fn the_skeleton_of_the_guide_compiles_as_a_store() {
    fn is_a_store<S: session_core::SessionStore>() {}
    is_a_store::<skeleton::RedbStore>();
}
