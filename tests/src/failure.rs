//! A broken rule, told so that a backend's author can mend it without reading the suite.

use std::fmt;

use crate::Rule;

/// A broken rule: which one, what was done, what was wanted, and what came.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Failure {
    /// The rule that the store broke.
    pub rule: Rule,
    /// The operations so far and their answers, oldest first.
    pub did: Vec<String>,
    /// What the rule wants.
    pub wanted: String,
    /// What came instead.
    pub got: String,
}

/// How many operations are shown: the last ones, since the first ones only set the scene.
const SHOWN: usize = 24;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.rule)?;
        let hidden = self.did.len().saturating_sub(SHOWN);
        let mut title = "did:   ";
        if hidden > 0 {
            writeln!(f, "  {title} ({hidden} earlier operations)")?;
            title = "       ";
        }
        for line in &self.did[hidden..] {
            writeln!(f, "  {title} {line}")?;
            title = "       ";
        }
        writeln!(f, "  wanted: {}", indented(&self.wanted))?;
        write!(f, "  got:    {}", indented(&self.got))
    }
}

fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n          ")
}

impl std::error::Error for Failure {}
