//! What a case works with: a namespace, handles that write down what was done, and questions with answers.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use session_core::{Owner, Record, Revision, SessionId, SessionKey, SessionStore, Timestamp};

use crate::harness::{AnyHarness, AnyNamespace};
use crate::store::{Store, chain};
use crate::{Capability, Failure, Rule};

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Far enough away that no case reaches it.
pub(crate) const FAR: Duration = Duration::from_secs(3600);

/// A case's namespace and tools.
pub(crate) struct Test {
    harness: Arc<dyn AnyHarness>,
    namespace: AnyNamespace,
    rule: Rule,
    log: Arc<Log>,
}

impl Test {
    pub(crate) async fn new(harness: Arc<dyn AnyHarness>, rule: Rule, log: Arc<Log>) -> Outcome<Self> {
        let made = harness.namespace().await;
        let namespace =
            made.map_err(|error| log.no_answer(rule, "an answer from Harness::namespace", &error))?;
        Ok(Self { harness, namespace, rule, log })
    }

    pub(crate) fn log(&self) -> Arc<Log> {
        Arc::clone(&self.log)
    }

    pub(crate) fn has(&self, capability: Capability) -> bool {
        self.harness.has(capability)
    }

    pub(crate) fn max_payload(&self) -> usize {
        self.harness.max_payload()
    }

    pub(crate) fn patience(&self) -> Duration {
        self.harness.patience()
    }

    /// A namespace beside this one, with a log in common.
    pub(crate) async fn another_namespace(&self) -> Outcome<Self> {
        let made = self.harness.namespace().await;
        let namespace =
            made.map_err(|error| self.log.no_answer(self.rule, "an answer from Harness::namespace", &error))?;
        Ok(Self { harness: Arc::clone(&self.harness), namespace, rule: self.rule, log: self.log() })
    }

    /// A new handle, prepared.
    pub(crate) async fn store(&self) -> Outcome<Store> {
        let store = self.unprepared().await?;
        self.answer("prepare(), with which every case begins", store.prepare().await)?;
        Ok(Store::new(store, self.rule, self.log()))
    }

    /// A new handle on which nobody has called `prepare`.
    pub(crate) async fn unprepared(&self) -> Outcome<Arc<dyn SessionStore>> {
        self.answer("Harness::open", self.harness.open(&self.namespace).await)
    }

    /// Several handles: each opened anew where they can be open together, else clones of one.
    pub(crate) async fn stores(&self, count: usize) -> Outcome<Vec<Store>> {
        let first = self.store().await?;
        let mut stores = vec![first.clone()];
        while stores.len() < count {
            let next = if self.has(Capability::Shared) { self.store().await? } else { first.clone() };
            stores.push(next.named(stores.len() + 1));
        }
        Ok(stores)
    }

    /// Several handles, without a log.
    pub(crate) async fn raw_stores(&self, count: usize) -> Outcome<Vec<Arc<dyn SessionStore>>> {
        Ok(self.stores(count).await?.into_iter().map(Store::into_inner).collect())
    }

    pub(crate) async fn pause(&self) -> Outcome {
        self.log.note("the backend is stopped");
        self.answer("Harness::pause", self.harness.pause(&self.namespace).await)
    }

    pub(crate) async fn resume(&self) -> Outcome {
        self.log.note("the backend goes on");
        self.answer("Harness::resume", self.harness.resume(&self.namespace).await)
    }

    pub(crate) async fn damage(&self, key: SessionKey) -> Outcome {
        self.log.note(&format!("the stored bytes of {} are damaged", self.log.key(key)));
        self.answer("Harness::damage", self.harness.damage(&self.namespace, key).await)
    }

    /// Wants a `prepare` to have succeeded.
    pub(crate) fn prepared(&self, rule: Rule, result: session_core::Result<()>) -> Outcome {
        self.log.note(&format!("prepare() -> {result:?}"));
        result.map_err(|error| self.log.failure(rule, "prepare succeeds", chain(&error)))
    }

    /// The answer; an error is a failure of the case.
    pub(crate) fn did<T>(&self, what: &str, result: session_core::Result<T>) -> Outcome<T> {
        self.answer(what, result)
    }

    fn answer<T>(&self, what: &str, result: session_core::Result<T>) -> Outcome<T> {
        result.map_err(|error| self.log.no_answer(self.rule, format_args!("an answer from {what}"), &error))
    }

    /// A new key, as random as a real one.
    pub(crate) fn key(&self) -> Outcome<SessionKey> {
        let id = SessionId::generate();
        Ok(id.map_err(|error| self.log.no_answer(self.rule, "a random id", &error))?.key())
    }

    pub(crate) fn revision(&self) -> Outcome<Revision> {
        self.answer("Revision::generate", Revision::generate())
    }

    /// A record that lives for an hour, with a revision and a payload of its own.
    pub(crate) fn record(&self) -> Outcome<Record> {
        let revision = self.revision()?;
        let now = Timestamp::now();
        Ok(Record {
            revision,
            owner: None,
            // Not a round number, and not the time of writing: a store that puts in its own clock is found out.
            created_at: Timestamp::from_millis(now.as_millis() - 86_399_877),
            expires_at: now.saturating_add(FAR),
            payload: Arc::from(format!("payload of {revision}").as_bytes()),
        })
    }

    pub(crate) fn owned(&self, owner: &Owner) -> Outcome<Record> {
        Ok(Record { owner: Some(owner.clone()), ..self.record()? })
    }

    /// A record that ends at `expires_at`.
    pub(crate) fn until(&self, expires_at: Timestamp) -> Outcome<Record> {
        Ok(Record { expires_at, ..self.record()? })
    }

    /// An owner that no other case has: `text` with something random behind it.
    pub(crate) fn owner(&self, text: &str) -> Outcome<Owner> {
        let text = format!("{text}-{}", self.revision()?);
        self.answer("Owner::new", Owner::new(text))
    }

    /// A moment from now: long enough to write a record, short enough to wait for its end.
    pub(crate) fn soon(&self) -> Timestamp {
        Timestamp::now().saturating_add(Duration::from_millis(40))
    }

    /// Returns once `expires_at` has come on this machine's clock.
    pub(crate) async fn wait_until_past(&self, expires_at: Timestamp) {
        let mut now = Timestamp::now();
        while now < expires_at {
            tokio::time::sleep(expires_at.saturating_since(now)).await;
            now = Timestamp::now();
        }
    }

    /// Returns just after the clock has shown a new millisecond; spins for less than one.
    pub(crate) fn start_of_millisecond(&self) {
        let before = Timestamp::now();
        while Timestamp::now() == before {
            std::hint::spin_loop();
        }
    }

    /// How long a case waits for an answer from a backend that hangs: beyond the harness's patience there is room
    /// for a busy machine.
    pub(crate) fn hanging(&self) -> Duration {
        self.patience() * 2 + Duration::from_secs(5)
    }

    /// The keys of the owner's live sessions, sorted.
    pub(crate) async fn keys_of(&self, store: &Store, owner: &Owner) -> Outcome<Vec<SessionKey>> {
        let pages = store.pages(Some(owner), 100).await?;
        let mut keys: Vec<_> = pages.into_iter().flatten().map(|(key, _)| key).collect();
        keys.sort_unstable();
        Ok(keys)
    }

    /// Puts each of two sessions under the other one's key.
    pub(crate) async fn swap(&self, store: &Store, a: SessionKey, b: SessionKey) -> Outcome {
        let (was_a, was_b) = (store.load(a).await?, store.load(b).await?);
        for (key, record) in [(a, was_b), (b, was_a)] {
            store.delete(key).await?;
            if let Some(record) = record {
                store.put(key, &record).await?;
            }
        }
        Ok(())
    }

    /// Keys by their short names.
    pub(crate) fn named(&self, keys: &[SessionKey]) -> String {
        let names: Vec<_> = keys.iter().map(|key| self.log.key(*key)).collect();
        format!("[{}]", names.join(", "))
    }

    /// What was found instead of `wanted`.
    pub(crate) fn unlike(&self, wanted: &Record, found: Option<&Record>) -> String {
        found.map_or_else(|| "None".to_owned(), |found| difference(wanted, found))
    }

    pub(crate) fn shown(&self, found: Option<&Record>) -> String {
        found.map_or_else(|| "None".to_owned(), |record| format!("Some({})", self.log.record(record)))
    }

    /// Wants `got` to be `wanted`.
    pub(crate) fn want<T: PartialEq + Debug>(&self, rule: Rule, got: T, wanted: T) -> Outcome {
        if got == wanted { Ok(()) } else { Err(self.log.failure(rule, Shown(wanted), Shown(got))) }
    }

    /// Wants `holds`, in words where the values alone do not tell.
    pub(crate) fn ensure(
        &self,
        rule: Rule,
        holds: bool,
        wanted: impl fmt::Display,
        got: impl fmt::Display,
    ) -> Outcome {
        if holds { Ok(()) } else { Err(self.log.failure(rule, wanted, got)) }
    }

    /// Wants `key` to hold exactly `wanted`.
    pub(crate) async fn want_record(
        &self,
        rule: Rule,
        store: &Store,
        key: SessionKey,
        wanted: &Record,
    ) -> Outcome {
        match store.load(key).await? {
            Some(got) if got == *wanted => Ok(()),
            Some(got) => Err(self.log.failure(rule, self.log.record(wanted), difference(wanted, &got))),
            None => Err(self.log.failure(rule, self.log.record(wanted), "None")),
        }
    }

    /// Wants nothing live under `key`.
    pub(crate) async fn want_absent(&self, rule: Rule, store: &Store, key: SessionKey) -> Outcome {
        match store.load(key).await? {
            None => Ok(()),
            Some(got) => Err(self.log.failure(
                rule,
                format!("load of {} gives None", self.log.key(key)),
                format!("Some({})", self.log.record(&got)),
            )),
        }
    }
}

/// Shows a value.
struct Shown<T>(T);

impl<T: Debug> fmt::Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The fields that differ, in words.
pub(crate) fn difference(wanted: &Record, got: &Record) -> String {
    // All fields by name: a new field of the record does not compile until it is compared.
    let Record { revision, owner, created_at, expires_at, payload } = got;
    let mut parts = Vec::new();
    if *revision != wanted.revision {
        parts.push(format!("revision is {revision}, wanted {}", wanted.revision));
    }
    if *owner != wanted.owner {
        parts.push(format!("owner is {owner:?}, wanted {:?}", wanted.owner));
    }
    if *created_at != wanted.created_at {
        parts.push(time_difference("created_at", wanted.created_at, *created_at));
    }
    if *expires_at != wanted.expires_at {
        parts.push(time_difference("expires_at", wanted.expires_at, *expires_at));
    }
    if *payload != wanted.payload {
        let same = payload.iter().zip(wanted.payload.iter()).take_while(|(a, b)| a == b).count();
        let (got, wanted) = (payload.len(), wanted.payload.len());
        parts.push(format!("payload has {got} bytes, wanted {wanted}, and differs from byte {same} on"));
    }
    format!("a record whose {}", parts.join(" and whose "))
}

fn time_difference(field: &str, wanted: Timestamp, got: Timestamp) -> String {
    let by = got.as_millis().wrapping_sub(wanted.as_millis());
    format!("{field} is {got}, wanted {wanted} ({by:+} ms)")
}

/// What a case did so far, with short names for keys and revisions.
#[derive(Default)]
pub(crate) struct Log(Mutex<Lines>);

#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    keys: HashMap<SessionKey, usize>,
    revisions: HashMap<Revision, usize>,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what was done.
    pub(crate) fn clear(&self) {
        *self.lock() = Lines::default();
    }

    pub(crate) fn note(&self, line: &str) {
        self.lock().lines.push(line.to_owned());
    }

    /// `A`, `B`, .. `Z`, `K26`, ..: in the order in which keys appear.
    pub(crate) fn key(&self, key: SessionKey) -> String {
        let mut log = self.lock();
        let next = log.keys.len();
        match *log.keys.entry(key).or_insert(next) {
            at @ 0..26 => char::from(b'A' + u8::try_from(at).unwrap_or(0)).to_string(),
            at => format!("K{at}"),
        }
    }

    /// `r1`, `r2`, ..: in the order in which revisions appear.
    pub(crate) fn revision(&self, revision: Revision) -> String {
        let mut log = self.lock();
        let next = log.revisions.len() + 1;
        format!("r{}", log.revisions.entry(revision).or_insert(next))
    }

    pub(crate) fn record(&self, record: &Record) -> String {
        let revision = self.revision(record.revision);
        let owner = record.owner.as_ref().map_or_else(String::new, |owner| format!("owner {owner:?}, "));
        let (expires_at, bytes) = (self.time(record.expires_at), record.payload.len());
        format!("{{{revision}, {owner}expires {expires_at}, {bytes} bytes}}")
    }

    /// A point in time as the distance from now, with the exact number.
    pub(crate) fn time(&self, time: Timestamp) -> String {
        let distance = time.as_millis().saturating_sub(Timestamp::now().as_millis());
        match time {
            Timestamp::EPOCH => "at the epoch".to_owned(),
            Timestamp::MAX => "at Timestamp::MAX".to_owned(),
            _ => format!("at {time} (now {distance:+} ms)"),
        }
    }

    /// An error where an answer was wanted.
    pub(crate) fn no_answer(
        &self,
        rule: Rule,
        wanted: impl fmt::Display,
        error: &session_core::Error,
    ) -> Failure {
        self.failure(rule, wanted, format_args!("an error of kind {:?}: {}", error.kind(), chain(error)))
    }

    pub(crate) fn failure(&self, rule: Rule, wanted: impl fmt::Display, got: impl fmt::Display) -> Failure {
        let (wanted, got) = (wanted.to_string(), got.to_string());
        Failure { rule, did: self.lock().lines.clone(), wanted, got }
    }
}
