//! A store handle that writes down what was done with it.

use std::fmt::Debug;
use std::sync::Arc;

use session_core::{
    Created, Cursor, Error, Owner, Page, Record, Result, Revision, Saved, SessionKey, SessionStore,
    Timestamp, Touched,
};

use crate::Rule;
use crate::test::{Log, Outcome};

/// No case lists as many: a listing with more pages goes round in circles.
const MOST_PAGES: usize = 10_000;

/// A handle of the store under test.
///
/// Each method comes twice: under its own name an error is a failure of the case; `try_` gives the store's result.
#[derive(Clone)]
pub(crate) struct Store {
    store: Arc<dyn SessionStore>,
    name: usize,
    rule: Rule,
    log: Arc<Log>,
}

impl Store {
    pub(crate) fn new(store: Arc<dyn SessionStore>, rule: Rule, log: Arc<Log>) -> Self {
        Self { store, name: 1, rule, log }
    }

    pub(crate) fn into_inner(self) -> Arc<dyn SessionStore> {
        self.store
    }

    /// The handle under another number in the log.
    pub(crate) fn named(self, name: usize) -> Self {
        Self { name, ..self }
    }

    fn wrote<T>(&self, call: &str, result: Result<T>, show: impl FnOnce(&T) -> String) -> Result<T> {
        let answer = match &result {
            Ok(value) => show(value),
            Err(error) => format!("Err({:?}): {}", error.kind(), chain(error)),
        };
        let handle = if self.name == 1 { String::new() } else { format!("handle {}: ", self.name) };
        self.log.note(&format!("{handle}{call} -> {answer}"));
        result
    }

    fn answer<T>(&self, result: Result<T>) -> Outcome<T> {
        result.map_err(|error| self.log.no_answer(self.rule, "an answer", &error))
    }

    pub(crate) async fn try_create(&self, key: SessionKey, record: &Record) -> Result<Created> {
        let call = format!("create({}, {})", self.log.key(key), self.log.record(record));
        self.wrote(&call, self.store.create(key, record).await, debug)
    }

    pub(crate) async fn create(&self, key: SessionKey, record: &Record) -> Outcome<Created> {
        self.answer(self.try_create(key, record).await)
    }

    /// A create that sets the scene: anything but `Stored` is a failure of C1.
    pub(crate) async fn put(&self, key: SessionKey, record: &Record) -> Outcome {
        match self.create(key, record).await? {
            Created::Stored => Ok(()),
            Created::Occupied => {
                Err(self.log.failure(Rule::C1, "create on an absent key is Stored", "Occupied"))
            }
        }
    }

    pub(crate) async fn try_load(&self, key: SessionKey) -> Result<Option<Record>> {
        let call = format!("load({})", self.log.key(key));
        let show = |found: &Option<Record>| match found {
            Some(record) => format!("Some({})", self.log.record(record)),
            None => "None".to_owned(),
        };
        self.wrote(&call, self.store.load(key).await, show)
    }

    pub(crate) async fn load(&self, key: SessionKey) -> Outcome<Option<Record>> {
        self.answer(self.try_load(key).await)
    }

    pub(crate) async fn try_save(
        &self,
        key: SessionKey,
        expected: Revision,
        record: &Record,
    ) -> Result<Saved> {
        let (name, was) = (self.log.key(key), self.log.revision(expected));
        let call = format!("save({name}, expected {was}, {})", self.log.record(record));
        self.wrote(&call, self.store.save(key, expected, record).await, debug)
    }

    pub(crate) async fn save(&self, key: SessionKey, expected: Revision, record: &Record) -> Outcome<Saved> {
        self.answer(self.try_save(key, expected, record).await)
    }

    /// A save without rivals: anything but `Stored` is a failure of S1.
    pub(crate) async fn replace(&self, key: SessionKey, expected: Revision, record: &Record) -> Outcome {
        let saved = self.save(key, expected, record).await?;
        let wanted = "save at the current revision is Stored";
        if saved == Saved::Stored { Ok(()) } else { Err(self.log.failure(Rule::S1, wanted, debug(&saved))) }
    }

    pub(crate) async fn try_touch(
        &self,
        key: SessionKey,
        expected: Revision,
        expires_at: Timestamp,
    ) -> Result<Touched> {
        let (name, was) = (self.log.key(key), self.log.revision(expected));
        let call = format!("touch({name}, expected {was}, {})", self.log.time(expires_at));
        self.wrote(&call, self.store.touch(key, expected, expires_at).await, debug)
    }

    pub(crate) async fn touch(
        &self,
        key: SessionKey,
        expected: Revision,
        expires_at: Timestamp,
    ) -> Outcome<Touched> {
        self.answer(self.try_touch(key, expected, expires_at).await)
    }

    /// A touch without rivals: anything but `Stored` is a failure of T1.
    pub(crate) async fn prolong(
        &self,
        key: SessionKey,
        expected: Revision,
        expires_at: Timestamp,
    ) -> Outcome {
        let touched = self.touch(key, expected, expires_at).await?;
        let wanted = "touch at the current revision is Stored";
        if touched == Touched::Stored {
            Ok(())
        } else {
            Err(self.log.failure(Rule::T1, wanted, debug(&touched)))
        }
    }

    pub(crate) async fn try_delete(&self, key: SessionKey) -> Result<bool> {
        let call = format!("delete({})", self.log.key(key));
        self.wrote(&call, self.store.delete(key).await, debug)
    }

    pub(crate) async fn delete(&self, key: SessionKey) -> Outcome<bool> {
        self.answer(self.try_delete(key).await)
    }

    pub(crate) async fn try_list(
        &self,
        owner: Option<&Owner>,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page> {
        let whose = owner.map_or_else(|| "everyone".to_owned(), |owner| format!("owner {owner:?}"));
        let from = cursor.map_or("from the start", |_| "from the cursor");
        let call = format!("list({whose}, {from}, limit {limit})");
        self.wrote(&call, self.store.list(owner, cursor, limit).await, |page| self.page(page))
    }

    pub(crate) async fn list(
        &self,
        owner: Option<&Owner>,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Outcome<Page> {
        self.answer(self.try_list(owner, cursor, limit).await)
    }

    /// Every page of a listing, to its end.
    pub(crate) async fn pages(
        &self,
        owner: Option<&Owner>,
        limit: usize,
    ) -> Outcome<Vec<Vec<(SessionKey, Record)>>> {
        pages(std::slice::from_ref(self), owner, limit).await
    }

    /// The keys of all live sessions, sorted.
    pub(crate) async fn everything(&self) -> Outcome<Vec<SessionKey>> {
        let mut keys: Vec<_> =
            self.pages(None, 100).await?.into_iter().flatten().map(|(key, _)| key).collect();
        keys.sort_unstable();
        Ok(keys)
    }

    pub(crate) async fn try_delete_owned(&self, owner: &Owner, keep: Option<SessionKey>) -> Result<u64> {
        let kept = keep.map_or_else(|| "nothing".to_owned(), |key| self.log.key(key));
        let call = format!("delete_owned({owner:?}, keep {kept})");
        self.wrote(&call, self.store.delete_owned(owner, keep).await, debug)
    }

    pub(crate) async fn delete_owned(&self, owner: &Owner, keep: Option<SessionKey>) -> Outcome<u64> {
        self.answer(self.try_delete_owned(owner, keep).await)
    }

    pub(crate) async fn try_delete_expired(&self, limit: usize) -> Result<u64> {
        self.wrote(&format!("delete_expired({limit})"), self.store.delete_expired(limit).await, debug)
    }

    pub(crate) async fn delete_expired(&self, limit: usize) -> Outcome<u64> {
        self.answer(self.try_delete_expired(limit).await)
    }

    pub(crate) async fn try_now(&self) -> Result<Timestamp> {
        self.wrote("now()", self.store.now().await, |now| self.log.time(*now))
    }

    pub(crate) async fn now(&self) -> Outcome<Timestamp> {
        self.answer(self.try_now().await)
    }

    fn page(&self, page: &Page) -> String {
        let keys: Vec<_> = page.sessions.iter().map(|(key, _)| self.log.key(*key)).collect();
        let end = if page.next.is_some() { "and a cursor" } else { "and the end" };
        format!("[{}] {end}", keys.join(", "))
    }
}

/// Every page of a listing, to its end, each on another one of the handles.
pub(crate) async fn pages(
    stores: &[Store],
    owner: Option<&Owner>,
    limit: usize,
) -> Outcome<Vec<Vec<(SessionKey, Record)>>> {
    let (mut pages, mut cursor) = (Vec::new(), None);
    loop {
        let store = &stores[pages.len() % stores.len()];
        let Page { sessions, next } = store.list(owner, cursor.as_ref(), limit).await?;
        pages.push(sessions);
        if next.is_none() {
            return Ok(pages);
        }
        if pages.len() > MOST_PAGES {
            let rule = if owner.is_some() { Rule::O1 } else { Rule::O5 };
            let got = format!("{MOST_PAGES} pages and a cursor");
            return Err(store.log.failure(rule, "a listing ends", got));
        }
        cursor = next;
    }
}

fn debug<T: Debug>(value: &T) -> String {
    format!("{value:?}")
}

/// An error's message and those of its causes.
pub(crate) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
