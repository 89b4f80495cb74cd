//! Tells an application what happens to its sessions.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use tracing::{error, warn};

use crate::{Owner, SessionKey, Timestamp};

/// How many events may wait for a slow observer.
const QUEUE: usize = 1_024;

/// Hears what happens to sessions: for an audit log, an alert, a mail "somebody signed in".
///
/// It runs on a thread of its own and cannot slow or fail a request. When it is too slow, and 1,024 events wait, further
/// ones are dropped, and a warning is logged. One that panics is logged, and hears the next event. What waits when the
/// process ends is lost: an audit that must be complete belongs to the handler.
pub trait Observer: Send + 'static {
    /// One event.
    fn observe(&mut self, event: Event);
}

impl<F: FnMut(Event) + Send + 'static> Observer for F {
    fn observe(&mut self, event: Event) {
        self(event);
    }
}

/// Something that happened to a session. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The session; `None` when it was all of an owner's.
    pub key: Option<SessionKey>,
    /// Whose session it is, as far as that is known.
    pub owner: Option<Owner>,
    /// When, by the store's clock.
    pub at: Timestamp,
}

/// What happened to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// It was stored for the first time.
    Created,
    /// Its owner signed in.
    SignedIn,
    /// It has a new secret, because a request asked for one.
    IdChanged,
    /// It has a new secret, because the old one had reached the policy's age.
    IdRenewed,
    /// It ended.
    Ended(EndReason),
    /// A sign-in was refused: its owner has as many sessions as the policy allows.
    Refused,
    /// A request came with an id that had been changed a short time before. Often a request that was under way; many of
    /// them are a sign of theft.
    SupersededSecret,
    /// A request came with the key of a live session and a secret that does not open it: a sign of theft or of guessing.
    WrongSecret,
    /// It cannot be decoded, and counts as ended ([`Undecodable::Ended`](crate::Undecodable::Ended)).
    Undecodable,
}

/// Why a session ended. Those that expire are not told of: no program sees it happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// A request destroyed it: a sign-out.
    Destroyed,
    /// A request left nothing in it.
    Emptied,
    /// It was revoked from outside.
    Revoked,
    /// Its owner signed in once more than the policy allows.
    OverLimit,
    /// Another owner signed in in the same browser.
    Replaced,
    /// The policy, which became stricter, allows it no longer.
    Outlived,
}

#[derive(Clone, Default)]
pub(super) struct Events(Option<SyncSender<Event>>);

impl Events {
    pub(super) fn to(mut observer: impl Observer) -> Self {
        let (sender, events) = sync_channel::<Event>(QUEUE);
        let run = move || {
            for event in events {
                if catch_unwind(AssertUnwindSafe(|| observer.observe(event))).is_err() {
                    error!(target: "session", "an observer of sessions panicked");
                }
            }
        };
        match std::thread::Builder::new().name("session-observer".to_owned()).spawn(run) {
            Ok(_) => Self(Some(sender)),
            Err(error) => {
                error!(target: "session", %error, "no thread for the observer of sessions: it hears nothing");
                Self(None)
            }
        }
    }

    pub(super) fn tell(&self, event: impl FnOnce() -> Event) {
        if let Some(sender) = &self.0
            && let Err(TrySendError::Full(event)) = sender.try_send(event())
        {
            warn!(target: "session", kind = ?event.kind, "an observer of sessions is too slow: an event is dropped");
        }
    }
}
