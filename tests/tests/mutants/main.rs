//! Mutants: broken stores, each of which breaks one rule and must be caught on that rule.
//!
//! A rule without a mutant is not tested. To add one, write a method of the store in the file of its group, wrong;
//! what is not written is the reference store's. Many are real bugs of this field.

#![allow(clippy::unwrap_used)] // a test that is not `#[test]`: a poisoned lock may stop it

#[path = "../support/mod.rs"]
#[allow(dead_code)]
mod support;

/// `mutant! { S3 SaveUpserts; save(self, at, key, expected, record) { .. } }`: a store that is the reference store
/// but for the methods that are written. `at` is the reference store; a type after the name is what a handle holds.
macro_rules! mutant {
    ($rule:ident $name:ident $(($state:ty))?; $($methods:tt)*) => {
        #[derive(Debug, Default)]
        #[allow(dead_code)]
        struct $name $((pub $state))?;

        impl $crate::Mutant for $name {
            const RULE: session_conformance::Rule = session_conformance::Rule::$rule;
        }

        mutant! { @ $name [] $($methods)* }
    };
    (@ $name:ident [$($done:tt)*]) => {
        #[async_trait::async_trait]
        impl Broken for $name { $($done)* }
    };
    (@ $n:ident [$($d:tt)*] opened($s:ident, $at:ident) $body:block $($rest:tt)*) => {
        mutant! { @ $n [$($d)* fn opened(&$s, $at: &Reference) $body] $($rest)* }
    };
    (@ $n:ident [$($d:tt)*] prepare($s:ident, $at:ident) $body:block $($rest:tt)*) => {
        mutant! { @ $n [$($d)* async fn prepare(&$s, $at: &Reference) -> Result<()> $body] $($rest)* }
    };
    (@ $n:ident [$($d:tt)*] create($s:ident, $at:ident, $key:ident, $record:ident) $body:block $($rest:tt)*) => {
        mutant! { @ $n [$($d)*
            async fn create(&$s, $at: &Reference, $key: SessionKey, $record: &Record) -> Result<Created> $body
        ] $($rest)* }
    };
    (@ $n:ident [$($d:tt)*] load($s:ident, $at:ident, $key:ident) $body:block $($rest:tt)*) => {
        mutant! { @ $n [$($d)*
            async fn load(&$s, $at: &Reference, $key: SessionKey) -> Result<Option<Record>> $body
        ] $($rest)* }
    };
    (@ $n:ident [$($d:tt)*] save($s:ident, $at:ident, $key:ident, $expected:ident, $record:ident) $body:block
        $($rest:tt)*) => {
        mutant! { @ $n [$($d)*
            async fn save(
                &$s, $at: &Reference, $key: SessionKey, $expected: Revision, $record: &Record,
            ) -> Result<Saved> $body
        ] $($rest)* }
    };
    (@ $n:ident [$($d:tt)*] touch($s:ident, $at:ident, $key:ident, $expected:ident, $expires_at:ident) $body:block
        $($rest:tt)*) => {
        mutant! { @ $n [$($d)*
            async fn touch(
                &$s, $at: &Reference, $key: SessionKey, $expected: Revision, $expires_at: Timestamp,
            ) -> Result<Touched> $body
        ] $($rest)* }
    };
    (@ $n:ident [$($d:tt)*] delete($s:ident, $at:ident, $key:ident) $body:block $($rest:tt)*) => {
        mutant! { @ $n [$($d)*
            async fn delete(&$s, $at: &Reference, $key: SessionKey) -> Result<bool> $body
        ] $($rest)* }
    };
    (@ $n:ident [$($d:tt)*] list($s:ident, $at:ident, $owner:ident, $cursor:ident, $limit:ident) $body:block
        $($rest:tt)*) => {
        mutant! { @ $n [$($d)*
            async fn list(
                &$s, $at: &Reference, $owner: Option<&Owner>, $cursor: Option<&Cursor>, $limit: usize,
            ) -> Result<Page> $body
        ] $($rest)* }
    };
    (@ $n:ident [$($d:tt)*] delete_owned($s:ident, $at:ident, $owner:ident, $keep:ident) $body:block
        $($rest:tt)*) => {
        mutant! { @ $n [$($d)*
            async fn delete_owned(&$s, $at: &Reference, $owner: &Owner, $keep: Option<SessionKey>) -> Result<u64>
            $body
        ] $($rest)* }
    };
    (@ $n:ident [$($d:tt)*] delete_expired($s:ident, $at:ident, $limit:ident) $body:block $($rest:tt)*) => {
        mutant! { @ $n [$($d)*
            async fn delete_expired(&$s, $at: &Reference, $limit: usize) -> Result<u64> $body
        ] $($rest)* }
    };
    (@ $n:ident [$($d:tt)*] now($s:ident, $at:ident) $body:block $($rest:tt)*) => {
        mutant! { @ $n [$($d)* async fn now(&$s, $at: &Reference) -> Result<Timestamp> $body] $($rest)* }
    };
}

/// What the files of mutants work with.
mod prelude {
    pub(crate) use std::collections::{BTreeMap, HashMap};
    pub(crate) use std::sync::atomic::Ordering::SeqCst;
    pub(crate) use std::sync::{Arc, LazyLock, Mutex};
    pub(crate) use std::time::Duration;

    pub(crate) use session_core::{
        Created, Cursor, ErrorKind, Owner, Page, Record, Result, Revision, Saved, SessionKey, SessionStore,
        Timestamp, Touched,
    };

    pub(crate) use crate::support::{
        Broken, Data, MAX_PAYLOAD, Reference, check_size, for_ever, live, meanwhile,
    };
    pub(crate) use crate::{Caught, caught, fail, millis};
}

mod bytes;
mod clock;
mod create;
mod delete;
mod expiry;
mod handles;
mod histories;
mod list;
mod load;
mod many;
mod owner;
mod save;
mod touch;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use session_conformance::{Case, Rule, cases};
use session_core::{Error, ErrorKind, Result, Timestamp};
use support::{Bench, Broken};

/// A broken store and the rule that it breaks.
trait Mutant: Broken + Default {
    const RULE: Rule;
}

/// A mutant whose type has been forgotten, so that the suite is compiled once and not for each of them.
struct Caught {
    name: String,
    rule: Rule,
    bench: fn() -> Bench,
}

fn caught<M: Mutant>() -> Caught {
    Caught { name: std::any::type_name::<M>().replace("mutants::", ""), rule: M::RULE, bench: Bench::of::<M> }
}

/// Runs the cases of the rule until one of them cites it. What two tasks do at once differs from run to run, so a
/// mutant has several chances.
async fn is_caught(rule: Rule, bench: Arc<Bench>) -> Result<(), String> {
    let mut others = BTreeSet::new();
    for _ in 0..5 {
        let of_rule = |case: &Case<Bench>| case.applies() && case.rules().contains(&rule);
        for case in cases::<Bench>().into_iter().filter(of_rule) {
            match case.run(Arc::clone(&bench)).await {
                Err(failure) if failure.rule == rule => return Ok(()),
                Err(failure) => drop(others.insert(format!("{} failed, but on:\n{failure}", case.name()))),
                Ok(()) => {}
            }
        }
    }
    let others: Vec<_> = others.into_iter().collect();
    Err(format!("not caught on {rule}\n{}", others.join("\n")))
}

fn fail<T>(kind: ErrorKind) -> Result<T> {
    Err(Error::new(kind, "a mutant's error"))
}

fn millis(time: Timestamp, change: impl FnOnce(i64) -> i64) -> Timestamp {
    Timestamp::from_millis(change(time.as_millis()))
}

fn main() -> ExitCode {
    let groups = [
        create::mutants(),
        load::mutants(),
        save::mutants(),
        touch::mutants(),
        delete::mutants(),
        list::mutants(),
        owner::mutants(),
        expiry::mutants(),
        bytes::mutants(),
        many::mutants(),
        handles::mutants(),
        clock::mutants(),
        histories::mutants(),
    ];
    let mutants: Vec<_> = groups.into_iter().flatten().collect();
    let broken: BTreeSet<_> = mutants.iter().map(|mutant| mutant.rule).collect();
    let mut trials: Vec<_> = mutants.into_iter().map(trial).collect();
    trials.push(Trial::test("every_rule_has_a_mutant", move || {
        // E5 is about cost, which the trait does not show: each backend has a test of its own.
        let without: Vec<_> =
            Rule::ALL.iter().filter(|rule| !broken.contains(rule) && **rule != Rule::E5).collect();
        if without.is_empty() { Ok(()) } else { Err(format!("no mutant breaks {without:?}").into()) }
    }));
    trials.push(Trial::test("every_rule_has_a_case", || {
        let cases = cases::<Bench>();
        let untested = |rule: &&Rule| !cases.iter().any(|case| case.rules().contains(rule));
        let without: Vec<_> = Rule::ALL.iter().filter(untested).collect();
        if without == [&Rule::E5] { Ok(()) } else { Err(format!("no case tests {without:?}").into()) }
    }));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial(mutant: Caught) -> Trial {
    Trial::test(format!("{:?}::{}", mutant.rule, mutant.name), move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let outcome = runtime.block_on(is_caught(mutant.rule, Arc::new((mutant.bench)())));
        runtime.shutdown_background();
        outcome.map_err(Failed::from)
    })
}
