//! Runs the cases as the tests of a target with `harness = false`.

use std::collections::BTreeMap;
use std::env;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::{Capability, Case, Harness, Missing, cases};

/// Runs the whole suite on one backend: the `main` of a test target with `harness = false`.
///
/// The command line is that of `cargo test`: a name filters, `--exact`, `--skip`, `--list` and the others work.
/// Cases for what the backend does not claim count as ignored and are listed as not claimed.
///
/// When `start` says that something is [`Missing`], every case counts as ignored, and a line says what to install;
/// with `SESSION_REQUIRE=all`, or a comma-separated list of backends that names this one, every case fails.
/// `SESSION_SEED` repeats a run's random choices, `SESSION_CASES` makes random cases longer (default 1).
///
/// ```no_run
/// # use std::sync::Arc;
/// # use session_core::{Result, SessionStore};
/// # struct Mine;
/// # #[async_trait::async_trait]
/// # impl session_conformance::Harness for Mine {
/// #     const BACKEND: &'static str = "mine";
/// #     const CAPABILITIES: &'static [session_conformance::Capability] = &[];
/// #     type Namespace = ();
/// #     async fn namespace(&self) -> Result<()> { Ok(()) }
/// #     async fn open(&self, _: &()) -> Result<Arc<dyn SessionStore>> { unimplemented!() }
/// # }
/// fn main() -> std::process::ExitCode {
///     session_conformance::main(|| Ok(Mine))
/// }
/// ```
pub fn main<H: Harness>(start: impl FnOnce() -> Result<H, Missing>) -> ExitCode {
    let arguments = Arguments::from_args();
    let cases: Vec<Case<H>> = cases();
    if arguments.list {
        // Listing starts no server.
        let trials = cases.into_iter().map(|case| {
            let ignored = !case.applies();
            Trial::test(case.name(), || Ok(())).with_ignored_flag(ignored)
        });
        return libtest_mimic::run(&arguments, trials.collect()).exit_code();
    }
    let harness = match start() {
        Ok(harness) => Arc::new(harness),
        Err(missing) => return without_backend(&arguments, cases, &missing),
    };
    report_not_claimed(&cases);
    let trials = cases.into_iter().map(|case| trial(case, Arc::clone(&harness))).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Servers that belong to the harness stop here.
    drop(harness);
    conclusion.exit_code()
}

fn trial<H: Harness>(case: Case<H>, harness: Arc<H>) -> Trial {
    let name = case.name();
    if !case.applies() {
        return Trial::test(name, move || not_applicable(&case)).with_ignored_flag(true);
    }
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let outcome = runtime.block_on(case.run(harness));
        // A store that hangs in a blocking call must not keep the other cases from being reported.
        runtime.shutdown_background();
        outcome.map_err(Failed::from)
    })
}

/// Reached through `--ignored` only, where an answer is better than silence.
fn not_applicable<H: Harness>(case: &Case<H>) -> Result<(), Failed> {
    let why = case.not_claimed().map_or_else(
        || "is about backends that claim less".to_owned(),
        |capability| format!("needs {capability}, which the harness does not claim"),
    );
    Err(format!("{} {why}", case.name()).into())
}

fn report_not_claimed<H: Harness>(cases: &[Case<H>]) {
    let mut count = BTreeMap::<String, usize>::new();
    // That a storage does not expire by itself is no lack.
    let lacks = |capability: &Capability| *capability != Capability::SelfExpiring;
    for capability in cases.iter().filter_map(Case::not_claimed).filter(lacks) {
        *count.entry(capability.to_string()).or_default() += 1;
    }
    if !count.is_empty() {
        let parts: Vec<_> = count.iter().map(|(name, count)| format!("{name} ({count} cases)")).collect();
        eprintln!("{}: not claimed: {}", H::BACKEND, parts.join(", "));
    }
}

fn without_backend<H: Harness>(arguments: &Arguments, cases: Vec<Case<H>>, missing: &Missing) -> ExitCode {
    let required = is_required(H::BACKEND, env::var("SESSION_REQUIRE").ok().as_deref());
    if !required {
        eprintln!("{}: ignored: {missing} (SESSION_REQUIRE={} makes this a failure)", H::BACKEND, H::BACKEND);
    }
    let trials = cases.into_iter().map(|case| {
        let message = format!("{}: {missing}", H::BACKEND);
        Trial::test(case.name(), move || Err(message.into())).with_ignored_flag(!required || !case.applies())
    });
    libtest_mimic::run(arguments, trials.collect()).exit_code()
}

fn is_required(backend: &str, setting: Option<&str>) -> bool {
    setting.is_some_and(|list| list.split(',').map(str::trim).any(|name| name == "all" || name == backend))
}

#[cfg(test)]
mod tests {
    use super::is_required;

    #[test]
    fn a_backend_is_required_by_its_name_or_by_all() {
        assert!(is_required("redis", Some("all")) && is_required("redis", Some("sqlite, redis")));
        assert!(!is_required("redis", None) && !is_required("redis", Some("")));
        assert!(!is_required("redis", Some("redis-cluster")));
    }
}
