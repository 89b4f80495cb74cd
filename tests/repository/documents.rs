//! The documents hold together.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{none_of, root};

#[test]
fn every_relative_link_leads_somewhere() {
    let mut problems = Vec::new();
    let documents = documents(&root());
    assert!(documents.len() > 3, "only {documents:?} were found");
    for document in &documents {
        let text = fs::read_to_string(document).unwrap();
        for link in links(&prose(&text)) {
            if let Some(problem) = problem(document, link) {
                problems.push(format!("{}: {link}: {problem}", document.display()));
            }
        }
    }
    none_of(&problems);
}

fn problem(document: &Path, link: &str) -> Option<&'static str> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, heading) = link.split_once('#').unwrap_or((link, ""));
    let target = if path.is_empty() { document.to_owned() } else { document.parent()?.join(path) };
    if path.contains("::") {
        return None; // an item of the crate, which rustdoc checks
    }
    if !target.exists() {
        return Some("there is no such file");
    }
    if heading.is_empty() {
        return None;
    }
    let text = fs::read_to_string(target).ok()?;
    (!headings(&prose(&text)).any(|slug| slug == heading)).then_some("there is no such heading")
}

/// All Markdown files but those that builds leave behind.
fn documents(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && name != ".git" {
            found.extend(documents(&path));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    found
}

/// The text without blocks of code.
fn prose(text: &str) -> String {
    let blocks = text.split("```").step_by(2);
    blocks.collect::<Vec<_>>().join("\n")
}

/// The targets of `[text](target)`.
fn links(text: &str) -> Vec<&str> {
    let after = text.split("](").skip(1);
    after
        .filter_map(|rest| rest.split(')').next())
        .filter(|link| !link.contains(char::is_whitespace))
        .collect()
}

/// What a heading is called in a link: lower case, hyphens for spaces, no punctuation.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let titles = text.lines().filter(|line| line.starts_with('#'));
    titles.map(|title| {
        let title = title.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        title.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
    })
}

#[test]
fn links_and_headings_are_found_in_prose_and_not_in_code() {
    let text = "# A title: it's `so`\n[one](a.md#b) [two](https://x.y)\n```rust\nlet x = y[0](z);\n```\n[three](c.md)";
    assert_eq!(links(&prose(text)), ["a.md#b", "https://x.y", "c.md"]);
    assert_eq!(headings(&prose(text)).collect::<Vec<_>>(), ["a-title-its-so"]);
}
