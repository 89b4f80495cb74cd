//! A model of a browser, for rule I9: whatever requests, answers, crashes, administrators and an attacker do, in whatever
//! order, *without a sign-out the browser's cookie always opens a live session of the right owner; after a sign-out or
//! revocation that was acknowledged, that session never opens again, by any secret; no superseded secret reads or writes.*
//!
//! A run has one jar with one cookie, up to four requests of the browser in flight, an attacker who may have planted the
//! first cookie, an administrator, two processes, and a clock. Each call to the store is a step of its own, which may fail,
//! take effect without an answer, or be the last one of its request. Steps are drawn at random from a seed; the shortest
//! schedule that still fails is told as a story.
//!
//! The model is an observer: it sees the calls that take effect at the store, what handlers are given, and the answers. From
//! these alone it knows which id must open which session at each moment, and compares.
//!
//! | file | what is in it |
//! |---|---|
//! | `schedule` | steps, acts, faults |
//! | `interface` | what is tested: a manager, or a session interface of yours |
//! | `draw` | random schedules |
//! | `play`, `serve`, `oversee` | requests and everything around them |
//! | `desk` | a store whose calls wait for their turn |
//! | `history` | what happened |
//! | `storing`, `judge`, `jar` | what must not, and the exceptions |

mod case;
mod desk;
mod draw;
mod history;
mod interface;
mod jar;
mod judge;
mod oversee;
mod play;
mod schedule;
mod serve;
mod shrink;
mod storing;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use session_core::{
    Clock, ManualClock, Owner, Policy, Result, Revision, SessionManager, SessionStore, Timestamp,
};

pub(crate) use case::CASES;
pub use interface::{CookieChange, Exchange, Interface};
pub use schedule::{ATTACKER, Act, Fault, OPERATOR, Pause, Person, Renewal, SLOTS, Setting, Step};

use crate::Rule;
use crate::random::Random;
use desk::{Desk, Scheduled};
use history::History;
use play::World;

const IDLE: Duration = Duration::from_secs(2_000);
const RENEWAL: Duration = Duration::from_secs(600);
const GRACE: Duration = Duration::from_secs(30);
const SUPERSEDED_FOR: Duration = Duration::from_secs(300);
const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// The model: a store, and an interface over it.
pub struct Browser {
    storage: Storage,
    interface: Box<dyn Fn(SessionManager) -> Arc<dyn Interface> + Send + Sync>,
    has_owner_index: bool,
}

type Open = dyn Fn(Arc<dyn Clock>) -> Arc<dyn SessionStore> + Send + Sync;

enum Storage {
    /// A new store for each run, and a clock that the run sets.
    New(Box<Open>),
    /// One storage, by one handle or by two.
    Handles(Vec<Arc<dyn SessionStore>>),
}

/// What must not happen has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// Which rule is broken.
    pub rule: Rule,
    /// How.
    pub what: String,
}

/// What cannot be helped, and is therefore no violation. Each is recognised by its conditions alone; what follows from it
/// for the visitor is in `docs/security.md`, "Answers that are late or lost".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Exception {
    /// The answer of a renewal comes after that of an explicit change.
    E1,
    /// The answer of an explicit change is lost.
    E2,
    /// Two explicit changes in parallel, and their answers come out of order.
    E3,
    /// Without a live cookie, a write beside a sign-in: the anonymous cookie comes last.
    E4,
    /// A session that nobody can open: a form was sent twice, an answer was lost, a request died.
    E5,
    /// A form was sent twice under a limit of sessions.
    E6,
    /// A request waited longer than `superseded_for` before it began.
    E7,
    /// A sign-in under way during a revocation begins a session after it.
    E8,
    /// A sign-out beside a sign-in: the removal of the cookie comes last.
    E9,
    /// Before anybody signed in, somebody else with the same cookie changed the session's id, or was first to show a renewed
    /// one.
    E10,
    /// The answer of a renewal comes after that of the next renewal, and after its grace.
    E11,
}

/// What a schedule led to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The exceptions that were met, in their order.
    pub exceptions: Vec<Exception>,
    /// What must not have happened, if anything.
    pub violation: Option<Violation>,
    /// What happened.
    pub story: Vec<String>,
}

/// A violation that a random run met, and the shortest schedule that was found to lead to it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Found {
    /// The seed of the run.
    pub seed: u64,
    /// The policy of the run.
    pub setting: Setting,
    /// The shortest schedule.
    pub schedule: Vec<Step>,
    /// What it led to.
    pub violation: Violation,
    /// What happened.
    pub story: Vec<String>,
}

impl Browser {
    /// Runs with a new store each, whose clock the run sets: so they are repeated exactly by their seed. Use a tokio runtime
    /// whose time is paused, or what waits a while before another try really does.
    pub fn with_new_stores(
        open: impl Fn(Arc<dyn Clock>) -> Arc<dyn SessionStore> + Send + Sync + 'static,
    ) -> Self {
        Self::new(Storage::New(Box::new(open)))
    }

    /// Runs on one storage, by one handle or by several. Time passes there as it does, so no step waits, and sessions expire
    /// by a write of their end. Each run deletes what it created.
    #[must_use]
    pub fn on_storage(handles: Vec<Arc<dyn SessionStore>>) -> Self {
        Self::new(Storage::Handles(handles))
    }

    fn new(storage: Storage) -> Self {
        Self { storage, interface: Box::new(|manager| Arc::new(manager)), has_owner_index: true }
    }

    /// Tests this interface over the manager.
    #[must_use]
    pub fn with_interface<I: Interface>(
        mut self,
        interface: impl Fn(SessionManager) -> I + Send + Sync + 'static,
    ) -> Self {
        self.interface = Box::new(move |manager| Arc::new(interface(manager)));
        self
    }

    /// The store cannot list or revoke an owner's sessions.
    #[must_use]
    pub fn without_owner_index(mut self) -> Self {
        self.has_owner_index = false;
        self
    }

    /// Plays one schedule, and lets everything come to its end.
    ///
    /// # Errors
    /// The store's, where no request was to have them.
    pub async fn play(&self, setting: Setting, schedule: &[Step]) -> Result<Report> {
        self.replay(setting, schedule, true).await
    }

    /// A random run. What it found, if it found anything, is shrunk.
    ///
    /// # Errors
    /// As [`play`](Self::play).
    pub async fn run(&self, seed: u64) -> Result<std::result::Result<Vec<Exception>, Box<Found>>> {
        let mut random = Random::new(seed);
        let setting = draw::setting(&mut random, self.has_owner_index);
        let mut world = self.world(setting, false)?;
        let mut schedule = Vec::new();
        if let Some(step) = draw::first(&mut random) {
            world.perform(step).await?;
            schedule.push(step);
        }
        for _ in 0..draw::length(&mut random) {
            if world.is_violated() {
                break;
            }
            let step = draw::step(&world, &mut random);
            schedule.push(step);
            world.perform(step).await?;
        }
        let report = self.end(world).await?;
        match report.violation {
            None => Ok(Ok(report.exceptions)),
            Some(violation) => Ok(Err(Box::new(self.shrink(seed, setting, schedule, violation).await?))),
        }
    }

    async fn replay(&self, setting: Setting, schedule: &[Step], tells: bool) -> Result<Report> {
        let mut world = self.world(setting, tells)?;
        for step in schedule {
            if world.is_violated() {
                break;
            }
            world.perform(*step).await?;
        }
        self.end(world).await
    }

    /// What a run begins with.
    fn world(&self, setting: Setting, tells: bool) -> Result<World> {
        let (clock, handles) = match &self.storage {
            Storage::New(open) => {
                let clock = Arc::new(ManualClock::new(START));
                let store = open(Arc::<ManualClock>::clone(&clock));
                (Some(clock), vec![Arc::clone(&store), store])
            }
            Storage::Handles(handles) => (None, handles.clone()),
        };
        // On a storage that others use, too, the owners are this run's own.
        let tag = if clock.is_some() { String::new() } else { format!("-{}", Revision::generate()?) };
        let [ada, bob, mallory] = Person::ALL.map(|person| Owner::new(format!("{person}{tag}")));
        let now = clock.as_ref().map_or_else(Timestamp::now, |clock| clock.now());
        let history = History::new([ada?, bob?, mallory?], now, tells);
        let desk = Arc::new(Desk::new(clock.clone(), setting, history));
        let renewal = match setting.renewal {
            Renewal::Never => None,
            Renewal::ByAge if clock.is_some() => Some(RENEWAL),
            Renewal::ByAge | Renewal::AtOnce => Some(Duration::ZERO),
        };
        let policy = Policy::default()
            .with_idle_timeout(IDLE)
            .with_absolute_lifetime(None)
            .with_renewal_after(renewal)
            .with_renewal_grace(GRACE)
            .with_superseded_for(SUPERSEDED_FOR)
            .with_session_limit(setting.limit);
        let mut servers = Vec::new();
        for handle in &handles {
            let store = Scheduled { desk: Arc::clone(&desk), inner: Arc::clone(handle) };
            let mut manager = SessionManager::new(store).with_policy(policy.clone());
            if let Some(clock) = &clock {
                manager = manager.with_clock(Arc::<ManualClock>::clone(clock));
            }
            servers.push(((self.interface)(manager.clone()), manager));
        }
        let store = Arc::clone(&handles[0]);
        Ok(World::new(desk, setting, store, servers, self.has_owner_index))
    }

    async fn end(&self, mut world: World) -> Result<Report> {
        world.finish_all().await?;
        if !world.is_violated() {
            world.judge_all().await?;
        }
        if matches!(self.storage, Storage::Handles(_)) {
            let keys: Vec<_> = world.desk.history(|it| it.sessions.iter().map(|life| life.key).collect());
            for key in keys {
                world.store.delete(key).await?;
            }
        }
        Ok(world.desk.history(|it| Report {
            exceptions: std::mem::take(&mut it.exceptions),
            violation: it.violation.take(),
            story: it.story.take().unwrap_or_default(),
        }))
    }
}

/// How long a pause is.
fn length(pause: Pause) -> Duration {
    let more = Duration::from_millis(1);
    match pause {
        Pause::Moment => Duration::from_secs(1),
        Pause::Grace => GRACE + more,
        Pause::Superseded => SUPERSEDED_FOR + more,
        Pause::Renewal => RENEWAL + more,
        Pause::HalfIdle => IDLE * 11 / 20,
        Pause::Idle => IDLE + more,
    }
}

impl fmt::Debug for Browser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Browser").field("has_owner_index", &self.has_owner_index).finish_non_exhaustive()
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.violation)?;
        writeln!(f, "SESSION_BROWSER_SEED={} SESSION_BROWSER_RUNS=1 finds it again", self.seed)?;
        writeln!(f, "the shortest way to it that was found, with {:?}:", self.setting)?;
        for (at, line) in self.story.iter().enumerate() {
            writeln!(f, "{:>4}. {line}", at + 1)?;
        }
        write!(f, "as a schedule: {:?}", self.schedule)
    }
}
