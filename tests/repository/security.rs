//! Every test that `docs/security.md` names is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::{none_of, read, root};

#[test]
fn every_test_that_the_page_on_security_names_exists() {
    let mut functions = BTreeSet::new();
    collect(&root(), &mut functions);
    let page = read("docs/security.md");
    let rows: Vec<_> =
        page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Line")).collect();
    assert!(rows.len() > 50, "only {} rows were found", rows.len());
    let mut problems = Vec::new();
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [.., how, tests] = &cells[..] else { panic!("not a row: {row}") };
        if tests.is_empty() && !how.contains("application") && !row.contains("none:") {
            problems.push(format!("no test shows it: {row}"));
        }
        for name in tests.split('`').skip(1).step_by(2) {
            if !functions.contains(name) {
                problems.push(format!("there is no test {name}"));
            }
        }
    }
    none_of(&problems);
}

/// The names of all functions in the Rust files below `directory`.
fn collect(directory: &Path, functions: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            collect(&path, functions);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let names = text.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next());
            functions.extend(names.map(str::to_owned));
        }
    }
}
