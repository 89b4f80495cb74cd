//! A case: one claim about a store, and how it is run.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use tokio::sync::{RwLock, oneshot};

use crate::cases::GROUPS;
use crate::harness::AnyHarness;
use crate::test::{Log, Outcome, Test};
use crate::{Capability, Failure, Harness, Rule};

type Run = fn(Test) -> Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// A line of the table of cases.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) rules: &'static [Rule],
    pub(crate) needs: &'static [Capability],
    pub(crate) unless: &'static [Capability],
    pub(crate) run: Run,
}

/// A line of the table: `case!(create::claim_in_words: C1, C2; needs OwnerIndex)`; the function has the claim's name.
macro_rules! case {
    ($group:ident::$claim:ident: $($rule:ident),+ $(; needs $($need:ident),+)? $(; unless $($not:ident),+)?) => {
        $crate::case::Entry {
            name: concat!(stringify!($group), "::", stringify!($claim)),
            rules: &[$($crate::Rule::$rule),+],
            needs: &[$($($crate::Capability::$need),+)?],
            unless: &[$($($crate::Capability::$not),+)?],
            run: |test| Box::pin(async move { $claim(&test).await }),
        }
    };
}
pub(crate) use case;

/// One claim about a store, ready to run on a harness of type `H`.
pub struct Case<H> {
    entry: &'static Entry,
    /// Cases that stop the whole backend run alone.
    alone: Arc<RwLock<()>>,
    harness: PhantomData<fn(H)>,
}

/// Every case of the suite, for runners other than [`main`](crate::main()).
///
/// ```
/// # fn of<H: session_conformance::Harness>() {
/// for case in session_conformance::cases::<H>() {
///     println!("{} tests {:?}", case.name(), case.rules());
/// }
/// # }
/// ```
#[must_use]
pub fn cases<H: Harness>() -> Vec<Case<H>> {
    let alone = Arc::new(RwLock::new(()));
    let entries = GROUPS.iter().flat_map(|group| group.iter());
    entries.map(|entry| Case { entry, alone: Arc::clone(&alone), harness: PhantomData }).collect()
}

impl<H: Harness> Case<H> {
    /// `group::claim_in_words`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.entry.name
    }

    /// The rules that the claim is about; the first one is the one that a failure is most likely to cite.
    #[must_use]
    pub fn rules(&self) -> &'static [Rule] {
        self.entry.rules
    }

    /// The capability that is not claimed, if that is why the case does not apply to this backend.
    #[must_use]
    pub fn not_claimed(&self) -> Option<Capability> {
        self.entry.needs.iter().copied().find(|need| !H::CAPABILITIES.contains(need))
    }

    /// Whether the case says something about this backend: nothing that it needs is unclaimed, and nothing that it
    /// is about the absence of is claimed.
    #[must_use]
    pub fn applies(&self) -> bool {
        self.not_claimed().is_none() && !self.entry.unless.iter().any(|not| H::CAPABILITIES.contains(not))
    }

    /// Runs the case in a namespace of its own. Needs a multi-threaded tokio runtime with time enabled.
    ///
    /// # Errors
    /// The [`Failure`] tells which rule was broken and how. A panic of the store and a case that hangs are
    /// failures too.
    pub async fn run(&self, harness: Arc<H>) -> Result<(), Failure> {
        let (shared, exclusive);
        if self.entry.needs.contains(&Capability::Pause) {
            exclusive = Some(Arc::clone(&self.alone).write_owned().await);
            shared = None;
        } else {
            shared = Some(Arc::clone(&self.alone).read_owned().await);
            exclusive = None;
        }
        let outcome = self.run_in_namespace(harness).await;
        drop((shared, exclusive));
        outcome
    }

    async fn run_in_namespace(&self, harness: Arc<dyn AnyHarness>) -> Result<(), Failure> {
        let rule = self.entry.rules.first().copied().unwrap_or(Rule::C1);
        let (log, run, limit) = (Arc::new(Log::default()), self.entry.run, harness.time_limit());
        let of_test = Arc::clone(&log);
        let mut task = tokio::spawn(async move { run(Test::new(harness, rule, of_test).await?).await });
        let (_running, time_is_up) = alarm(limit);
        tokio::select! {
            done = &mut task => match done {
                Ok(outcome) => outcome,
                Err(panic) => Err(log.failure(rule, "no panic", panicked(panic))),
            },
            Ok(()) = time_is_up => {
                task.abort();
                let got = format!("{}: still not done after {limit:?}", self.entry.name);
                Err(log.failure(rule, "every operation answers", got))
            }
        }
    }
}

/// Says when `limit` has passed, unless the sender is dropped before. It has a thread of its own: a store that blocks
/// every thread of the runtime stops the runtime's timers too.
fn alarm(limit: Duration) -> (mpsc::Sender<()>, oneshot::Receiver<()>) {
    let ((running, ended), (ring, rung)) = (mpsc::channel(), oneshot::channel());
    thread::spawn(move || {
        if ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            let _ = ring.send(());
        }
    });
    (running, rung)
}

fn panicked(error: tokio::task::JoinError) -> String {
    match error.try_into_panic() {
        Ok(payload) => {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
            format!("a panic: {}", text.unwrap_or("(no message)"))
        }
        Err(error) => error.to_string(),
    }
}

impl<H> fmt::Debug for Case<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("name", &self.entry.name).field("rules", &self.entry.rules).finish()
    }
}
