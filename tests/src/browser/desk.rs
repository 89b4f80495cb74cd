//! Where the requests of a run wait for their turn at the store.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use session_core::{
    Clock, Created, Cursor, Error, ErrorKind, ManualClock, Owner, Page, Record, Result, Revision, Saved,
    SessionKey, SessionStore, Timestamp, Touched,
};

use super::Setting;
use super::history::{History, Opened, RequestNo};
use super::schedule::{ALL_SLOTS, Fault};

/// Everything has a time of its own, so that no order depends on what is random in a key.
pub(super) const MOMENT: Duration = Duration::from_millis(1);

/// What the scheduler and the stores of a run share.
pub(super) struct Desk {
    clock: Option<Arc<ManualClock>>,
    setting: Setting,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) history: History,
    /// Whose future is being polled.
    current: Option<(usize, RequestNo)>,
    slots: [Slot; ALL_SLOTS],
}

/// Where a request is.
#[derive(Clone, Copy, Default)]
struct Slot {
    /// It waits before a call.
    waits: bool,
    /// It may go on, and this goes wrong.
    granted: Option<Fault>,
    /// It is in a call.
    calls: bool,
    /// It died.
    dead: bool,
}

/// A slot's present state, for the scheduler.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It waits before a call to the store.
    AtCall,
    /// It is in a call, and something real has to happen until it goes on.
    InCall,
    /// It waits for another request, or for a while.
    Elsewhere,
    Dead,
}

impl Desk {
    pub(super) fn new(clock: Option<Arc<ManualClock>>, setting: Setting, history: History) -> Self {
        let state = State { history, current: None, slots: Default::default() };
        Self { clock, setting, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn history<T>(&self, use_it: impl FnOnce(&mut History) -> T) -> T {
        let mut state = self.lock();
        state.history.now = self.now();
        use_it(&mut state.history)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.as_ref().map_or_else(Timestamp::now, |clock| clock.now())
    }

    /// Moves the clock on, where it can be.
    pub(super) fn pass(&self, time: Duration) {
        if let Some(clock) = &self.clock {
            clock.advance(time);
        }
    }

    pub(super) fn has_clock(&self) -> bool {
        self.clock.is_some()
    }

    /// Names the request whose future is about to be polled.
    pub(super) fn enter(&self, slot: usize, request: RequestNo) {
        self.lock().current = Some((slot, request));
    }

    pub(super) fn exit(&self) {
        self.lock().current = None;
    }

    pub(super) fn clear(&self, slot: usize) {
        self.lock().slots[slot] = Slot::default();
    }

    pub(super) fn place(&self, slot: usize) -> Place {
        match self.lock().slots[slot] {
            Slot { dead: true, .. } => Place::Dead,
            Slot { waits: true, .. } => Place::AtCall,
            Slot { calls: true, .. } => Place::InCall,
            _ => Place::Elsewhere,
        }
    }

    /// Lets a request that waits before a call go on.
    pub(super) fn grant(&self, slot: usize, fault: Fault) {
        self.pass(MOMENT);
        let mut state = self.lock();
        let Slot { waits, granted, .. } = &mut state.slots[slot];
        *waits = false;
        *granted = Some(fault);
    }

    /// A handler tells what it found.
    pub(super) fn opened(&self, request: RequestNo, opened: Opened) {
        self.lock().history.requests[request].opened = Some(opened);
    }

    /// A call to the store: it waits for its turn, takes effect, is noted, and is answered, or not. Calls that no request
    /// makes are the scheduler's own.
    async fn call<T>(
        &self,
        run: impl Future<Output = Result<T>> + Send,
        note: impl FnOnce(&mut History, Option<RequestNo>, &T) + Send,
    ) -> Result<T> {
        let Some((slot, request)) = self.lock().current else { return run.await };
        {
            let mut state = self.lock();
            state.slots[slot].waits = true;
        }
        let fault = poll_fn(|_| match self.lock().slots[slot].granted.take() {
            Some(fault) => Poll::Ready(fault),
            None => Poll::Pending,
        })
        .await;
        if fault != Fault::None {
            self.lock().history.requests[request].faulted = true;
        }
        if fault == Fault::Refused {
            self.history(|it| it.tell(|_| format!("a call of {} is refused", History::name(request))));
            return Err(Error::new(ErrorKind::Unavailable, "the model refuses a call"));
        }
        let answer = self.in_call(slot, run).await;
        if let Ok(answer) = &answer {
            self.history(|it| {
                it.answers = !matches!(fault, Fault::AnswerLost | Fault::Crash);
                note(it, Some(request), answer);
            });
        }
        match fault {
            Fault::AnswerLost => {
                self.history(|it| {
                    it.tell(|_| format!("the answer of that call to {} is lost", History::name(request)));
                });
                Err(Error::new(ErrorKind::Timeout, "the model loses an answer"))
            }
            Fault::Crash => {
                self.lock().slots[slot].dead = true;
                std::future::pending().await
            }
            Fault::None | Fault::Refused => answer,
        }
    }
}

impl Desk {
    /// The scheduler waits meanwhile.
    async fn in_call<T>(&self, slot: usize, run: impl Future<Output = T> + Send) -> T {
        self.lock().slots[slot].calls = true;
        let answer = run.await;
        self.lock().slots[slot].calls = false;
        answer
    }

    /// A call without a turn of its own, since whether the manager makes it depends on when it made the last one.
    async fn aside<T>(&self, run: impl Future<Output = T> + Send) -> T {
        let current = self.lock().current;
        match current {
            Some((slot, _)) => self.in_call(slot, run).await,
            None => run.await,
        }
    }
}

/// A store each call of which waits for its turn at the desk.
pub(super) struct Scheduled {
    pub(super) desk: Arc<Desk>,
    pub(super) inner: Arc<dyn SessionStore>,
}

impl std::fmt::Debug for Scheduled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl SessionStore for Scheduled {
    async fn prepare(&self) -> Result<()> {
        self.desk.aside(self.inner.prepare()).await
    }

    async fn create(&self, key: SessionKey, record: &Record) -> Result<Created> {
        let note = |it: &mut History, by, outcome: &Created| it.created(by, key, record, *outcome);
        self.desk.call(self.inner.create(key, record), note).await
    }

    async fn load(&self, key: SessionKey) -> Result<Option<Record>> {
        let note = |it: &mut History, by, found: &Option<Record>| it.loaded(by, key, found.as_ref());
        self.desk.call(self.inner.load(key), note).await
    }

    async fn save(&self, key: SessionKey, expected: Revision, record: &Record) -> Result<Saved> {
        // The manager looks at the clock when it makes a record, and sends it again if an answer is lost.
        self.desk.history(|it| it.plan(record.revision));
        let note = |it: &mut History, by, outcome: &Saved| {
            it.saved(by, key, (expected, record), *outcome, &self.desk.setting);
        };
        self.desk.call(self.inner.save(key, expected, record), note).await
    }

    async fn touch(&self, key: SessionKey, expected: Revision, expires_at: Timestamp) -> Result<Touched> {
        let note = |it: &mut History, by, outcome: &Touched| it.touched(by, key, expires_at, *outcome);
        self.desk.call(self.inner.touch(key, expected, expires_at), note).await
    }

    async fn delete(&self, key: SessionKey) -> Result<bool> {
        let note = |it: &mut History, by: Option<RequestNo>, live: &bool| {
            if let Some(by) = by {
                it.deleted(by, key, *live, &self.desk.setting);
            }
        };
        self.desk.call(self.inner.delete(key), note).await
    }

    async fn list(&self, owner: Option<&Owner>, cursor: Option<&Cursor>, limit: usize) -> Result<Page> {
        // A sign-in under a limit has made its record when it lists.
        let current = self.desk.lock().current;
        if let Some((_, request)) = current {
            self.desk.history(|it| it.requests[request].listed = Some(it.now));
        }
        self.desk.call(self.inner.list(owner, cursor, limit), |_, _, _| ()).await
    }

    async fn delete_owned(&self, owner: &Owner, keep: Option<SessionKey>) -> Result<u64> {
        self.desk.call(self.inner.delete_owned(owner, keep), |_, _, _| ()).await
    }

    async fn delete_expired(&self, limit: usize) -> Result<u64> {
        self.desk.call(self.inner.delete_expired(limit), |_, _, _| ()).await
    }

    async fn now(&self) -> Result<Timestamp> {
        self.desk.aside(self.inner.now()).await
    }
}
