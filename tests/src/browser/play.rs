//! Plays a schedule: requests, whose futures this file polls itself, and everything around them.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use session_core::{Result, SessionManager, SessionStore};

use super::Setting;
use super::desk::{Desk, MOMENT, Place};
use super::history::{Done, Fate, History, IdNo, Request, RequestNo, Who};
use super::interface::Interface;
use super::jar::Jar;
use super::schedule::{ALL_SLOTS, ATTACKER, Act, Fault, OPERATOR, Person, SLOTS, Step};
use super::serve::{Job, operate, serve};
use crate::Rule::I9;

/// Longer than a commit waits between its tries.
const NAP: Duration = Duration::from_millis(70);
/// More calls than a request ever needs.
const MOST_CALLS: u32 = 400;

/// One run.
pub(super) struct World {
    pub(super) desk: Arc<Desk>,
    pub(super) setting: Setting,
    /// The store, without the desk before it.
    pub(super) store: Arc<dyn SessionStore>,
    pub(super) interfaces: Vec<Arc<dyn Interface>>,
    pub(super) managers: Vec<SessionManager>,
    pub(super) has_owner_index: bool,
    pub(super) jar: Jar,
    /// The ids that the attacker has.
    pub(super) stolen: Vec<IdNo>,
    flights: [Option<Flight>; ALL_SLOTS],
    calls: u32,
}

/// A request in flight, until its answer has arrived.
struct Flight {
    request: RequestNo,
    future: Pin<Box<dyn Future<Output = Done> + Send>>,
    flag: Arc<Flag>,
    judged: bool,
    done: bool,
}

/// Whether a future wants to be polled.
struct Flag {
    woken: AtomicBool,
    run: Mutex<Option<Waker>>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, SeqCst);
        if let Some(run) = &*self.run.lock().unwrap_or_else(PoisonError::into_inner) {
            run.wake_by_ref();
        }
    }
}

/// What a slot can do next.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Can {
    Begin,
    Call,
    Deliver,
    Nothing,
}

impl World {
    pub(super) fn new(
        desk: Arc<Desk>,
        setting: Setting,
        store: Arc<dyn SessionStore>,
        servers: Vec<(Arc<dyn Interface>, SessionManager)>,
        has_owner_index: bool,
    ) -> Self {
        let (interfaces, managers) = servers.into_iter().unzip();
        Self {
            desk,
            setting,
            store,
            interfaces,
            managers,
            has_owner_index,
            jar: Jar::default(),
            stolen: Vec::new(),
            flights: Default::default(),
            calls: 0,
        }
    }

    pub(super) fn can(&self, slot: usize) -> Can {
        match &self.flights[slot] {
            None => Can::Begin,
            Some(Flight { done: true, .. }) => Can::Deliver,
            Some(_) if self.desk.place(slot) == Place::AtCall => Can::Call,
            Some(_) => Can::Nothing,
        }
    }

    pub(super) fn is_violated(&self) -> bool {
        self.desk.history(|it| it.violation.is_some())
    }

    /// Performs a step, if there is an occasion for it.
    pub(super) async fn perform(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Plant { signed_in } => self.plant(signed_in).await,
            Step::Spy => self.spy(),
            Step::Begin { slot, act, server, retries } => {
                let slot = usize::from(slot % SLOTS);
                if self.flights[slot].is_none() {
                    let carried = self.jar.cookie.map(|cookie| cookie.id);
                    self.begin(slot, Who::Browser, act, carried, server, retries).await;
                }
            }
            Step::Attack { cookie, act, server } => {
                if self.flights[usize::from(ATTACKER)].is_none() && !self.stolen.is_empty() {
                    let carried = self.stolen[usize::from(cookie) % self.stolen.len()];
                    self.begin(usize::from(ATTACKER), Who::Attacker, act, Some(carried), server, false).await;
                }
            }
            Step::Operate { session, server } => self.operate(session, server).await,
            Step::Call { slot, fault } => self.call(usize::from(slot) % ALL_SLOTS, fault).await,
            Step::Finish { slot } => self.finish(usize::from(slot) % ALL_SLOTS).await,
            Step::Drop { slot } => {
                let slot = usize::from(slot) % ALL_SLOTS;
                if matches!(self.can(slot), Can::Call | Can::Nothing) {
                    self.lose(slot, "dies between two calls");
                    self.settle().await;
                }
            }
            Step::Deliver { slot } => self.deliver(usize::from(slot) % ALL_SLOTS),
            Step::Lose { slot } => {
                let slot = usize::from(slot) % ALL_SLOTS;
                if self.can(slot) == Can::Deliver {
                    self.lose(slot, "gets no answer: it is lost on its way");
                }
            }
            Step::Wait(pause) => {
                if self.desk.has_clock() {
                    self.desk.pass(super::length(pause));
                    self.desk.history(|it| it.tell(|_| format!("{pause}")));
                }
            }
            Step::Revoke { .. } | Step::RevokeAll(_) | Step::RevokeOthers(_) | Step::Expire { .. } => {
                self.oversee(step).await?;
            }
        }
        if self.is_quiet() {
            self.judge_jar().await?;
        }
        Ok(())
    }

    /// Whether no request of the browser is under way.
    fn is_quiet(&self) -> bool {
        self.flights[..usize::from(SLOTS)].iter().all(Option::is_none)
    }

    async fn plant(&mut self, signed_in: bool) {
        if self.desk.history(|it| !it.requests.is_empty()) {
            return;
        }
        let act = if signed_in { Act::SignIn(Person::Mallory) } else { Act::Write };
        let slot = usize::from(ATTACKER);
        self.begin(slot, Who::Attacker, act, None, 0, false).await;
        self.finish(slot).await;
        if let Some(&id) = self.stolen.first() {
            let since = self.desk.history(|it| {
                it.tell(|_| "the attacker plants his cookie in the browser".to_owned());
                it.tick()
            });
            self.jar.plant(id, since);
        }
    }

    fn spy(&mut self) {
        let Some(id) = self.jar.cookie.map(|cookie| cookie.id) else { return };
        let is_anonymous = self.desk.history(|it| {
            let is_anonymous = it.sessions[it.ids[id].session].owner.is_none();
            if is_anonymous {
                it.tell(|_| "the attacker copies the browser's cookie".to_owned());
            }
            is_anonymous
        });
        if is_anonymous && !self.stolen.contains(&id) {
            self.stolen.push(id);
        }
    }

    async fn begin(
        &mut self,
        slot: usize,
        who: Who,
        act: Act,
        carried: Option<IdNo>,
        server: u8,
        retries: bool,
    ) {
        // As with calls: a request without a cookie looks at the clock before its first one.
        self.desk.pass(MOMENT);
        let (request, cookie) = self.note_request(who, act, carried);
        let owner = act.signs_in().map(|person| self.desk.history(|it| it.owner(person)));
        let interface = Arc::clone(&self.interfaces[usize::from(server) % self.interfaces.len()]);
        let job = Job { request, act, owner, retries: if retries { 2 } else { 0 } };
        let desk = Arc::clone(&self.desk);
        self.launch(slot, request, Box::pin(serve(interface, desk, cookie, job))).await;
    }

    async fn operate(&mut self, session: u8, server: u8) {
        let slot = usize::from(OPERATOR);
        let key = self.desk.history(|it| {
            let at = usize::from(session).checked_rem(it.sessions.len())?;
            Some(it.sessions[at].key)
        });
        let Some(key) = key.filter(|_| self.flights[slot].is_none()) else { return };
        let (request, _) = self.note_request(Who::Operator, Act::Write, None);
        let manager = self.managers[usize::from(server) % self.managers.len()].clone();
        let desk = Arc::clone(&self.desk);
        self.launch(slot, request, Box::pin(operate(manager, desk, key, request))).await;
    }

    fn note_request(&self, who: Who, act: Act, carried: Option<IdNo>) -> (RequestNo, Option<String>) {
        self.desk.history(|it| {
            let (begun, request) = (it.tick(), it.requests.len());
            it.tell(|it| {
                let actor = match who {
                    Who::Browser => "the browser",
                    Who::Attacker => "the attacker",
                    Who::Operator => "an administrator",
                };
                let with = carried.map_or_else(|| "no cookie".to_owned(), |id| it.id_name(id));
                format!("{actor} sends request {}, which {act}, with {with}", History::name(request))
            });
            it.requests.push(Request {
                who,
                act,
                carried,
                begun,
                loaded: None,
                opened: None,
                opened_at: it.now,
                listed: None,
                came_late: false,
                given: None,
                faulted: false,
                looks: Vec::new(),
                done: None,
                done_at: None,
                fate: Fate::UnderWay,
                private_to: None,
            });
            (request, carried.map(|id| it.ids[id].id.expose()))
        })
    }

    async fn launch(
        &mut self,
        slot: usize,
        request: RequestNo,
        future: Pin<Box<dyn Future<Output = Done> + Send>>,
    ) {
        self.desk.clear(slot);
        let flag = Arc::new(Flag { woken: AtomicBool::new(true), run: Mutex::default() });
        self.flights[slot] = Some(Flight { request, future, flag, judged: false, done: false });
        self.settle().await;
    }

    async fn call(&mut self, slot: usize, fault: Fault) {
        if self.can(slot) != Can::Call {
            return;
        }
        self.calls += 1;
        self.desk.grant(slot, fault);
        if let Some(flight) = &self.flights[slot] {
            flight.flag.woken.store(true, SeqCst);
        }
        self.settle().await;
    }

    async fn finish(&mut self, slot: usize) {
        while self.can(slot) == Can::Call && self.calls < MOST_CALLS {
            self.call(slot, Fault::None).await;
        }
    }

    /// Everything that is under way comes to its end.
    pub(super) async fn finish_all(&mut self) -> Result<()> {
        let mut naps = 0;
        while !self.is_violated() && self.flights.iter().flatten().any(|flight| !flight.done) {
            let calling = (0..ALL_SLOTS).find(|slot| self.can(*slot) == Can::Call);
            if let Some(slot) = calling {
                self.finish(slot).await;
            } else {
                naps += 1;
                tokio::time::sleep(NAP).await;
                self.settle().await;
            }
            if self.calls >= MOST_CALLS || naps > 100 {
                self.desk.history(|it| it.violate(I9, "a request never gets an answer"));
            }
        }
        for slot in 0..ALL_SLOTS {
            self.deliver(slot);
        }
        self.judge_jar().await
    }

    fn deliver(&mut self, slot: usize) {
        if self.can(slot) != Can::Deliver {
            return;
        }
        let Some(flight) = self.flights[slot].take() else { return };
        let jar = &mut self.jar;
        self.desk.history(|it| jar.deliver(it, flight.request));
    }

    fn lose(&mut self, slot: usize, how: &str) {
        let Some(flight) = self.flights[slot].take() else { return };
        self.desk.history(|it| {
            it.requests[flight.request].fate = Fate::Lost;
            it.tell(|_| format!("{} {how}", History::name(flight.request)));
        });
    }

    /// Polls until every request waits for its turn, for another request, or is done.
    async fn settle(&mut self) {
        self.settle_now().await;
        // Whoever waits a while before the next try is let go on, so that what follows does not depend on the time.
        let waits = |slot| self.can(slot) == Can::Nothing;
        if self.desk.has_clock() && (0..ALL_SLOTS).any(waits) {
            tokio::time::sleep(NAP).await;
            self.settle_now().await;
        }
    }

    async fn settle_now(&mut self) {
        poll_fn(|context| {
            if self.poll_woken(context) {
                // Each round is a poll of its own: what counts how much a task has done (tokio's budget) makes the futures
                // of a task that goes on and on wait.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let in_call = (0..ALL_SLOTS).any(|slot| self.desk.place(slot) == Place::InCall);
            if in_call { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }

    /// Polls each future that wants to be; whether there was one.
    fn poll_woken(&mut self, run: &mut Context<'_>) -> bool {
        let mut any = false;
        for slot in 0..ALL_SLOTS {
            let Some(flight) = self.flights[slot].as_mut().filter(|flight| !flight.done) else { continue };
            *flight.flag.run.lock().unwrap_or_else(PoisonError::into_inner) = Some(run.waker().clone());
            if !flight.flag.woken.swap(false, SeqCst) {
                continue;
            }
            any = true;
            self.desk.enter(slot, flight.request);
            let waker = Waker::from(Arc::clone(&flight.flag));
            let poll = flight.future.as_mut().poll(&mut Context::from_waker(&waker));
            self.desk.exit();
            let request = flight.request;
            if !flight.judged {
                flight.judged = self.desk.history(|it| {
                    let opened = it.requests[request].opened.is_some();
                    if opened {
                        it.judge_open(request);
                    }
                    opened
                });
            }
            if let Poll::Ready(done) = poll {
                flight.done = true;
                self.desk.history(|it| it.judge_done(request, done, &self.setting));
                self.take_answer(slot, request);
            } else if self.desk.place(slot) == Place::Dead {
                self.desk.clear(slot);
                self.lose(slot, "dies with that call");
            }
        }
        any
    }

    /// Answers to others than the browser arrive at once.
    fn take_answer(&mut self, slot: usize, request: RequestNo) {
        if slot < usize::from(SLOTS) {
            return;
        }
        self.flights[slot] = None;
        let given = self.desk.history(|it| {
            let at = it.tick();
            it.requests[request].fate = Fate::Delivered(at);
            it.requests[request].given
        });
        if let Some(id) = given.filter(|id| !self.stolen.contains(id)) {
            self.stolen.push(id);
        }
    }
}
