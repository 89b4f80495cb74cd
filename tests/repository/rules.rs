//! The rules of the trait and the rules of the suite are the same ones.

use std::collections::BTreeSet;

use crate::read;

#[test]
fn the_suite_knows_the_rules_that_the_trait_documents_and_no_others() {
    let (contract, suite) = (read("session-core/src/store.rs"), read("tests/src/rule.rs"));
    let rules = documented(&contract);
    assert!(rules.len() > 40, "only {rules:?} were found");
    assert_eq!(rules, listed(&suite));
}

/// The numbers of the lines `/// - **C1** ...`.
fn documented(source: &str) -> BTreeSet<&str> {
    let items = source.lines().filter_map(|line| line.trim_start().strip_prefix("/// - **"));
    distinct(items.filter_map(|item| item.split_once("**")).map(|(rule, _)| rule))
}

/// The numbers of the lines `C1 "..."` between `rules! {` and its closing brace.
fn listed(source: &str) -> BTreeSet<&str> {
    let list = source.split_once("\nrules! {\n").and_then(|(_, rest)| rest.split_once("\n}")).unwrap().0;
    distinct(list.lines().filter_map(|line| line.trim_start().split_once(" \"")).map(|(rule, _)| rule))
}

fn distinct<'a>(rules: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let mut distinct = BTreeSet::new();
    for rule in rules {
        assert!(distinct.insert(rule), "{rule} is there twice");
    }
    distinct
}
