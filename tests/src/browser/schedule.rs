//! What happens in a run, step by step: small enough to be drawn at random, removed one by one, and read.

use std::fmt;

use session_core::SessionLimit;

/// Who signs in in this browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Person {
    /// The first user.
    Ada,
    /// Somebody else who uses the same browser.
    Bob,
    /// The attacker, who has an account, too.
    Mallory,
}

/// What a request does to its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// Looks at everything.
    Read,
    /// Inserts an entry of its own.
    Write,
    /// Appends to a list that all requests share, by `update`.
    Update,
    /// Inserts a voucher, for [`Consume`](Self::Consume).
    Stock,
    /// Takes the voucher, which one request may get.
    Consume,
    /// Signs this person in, and inserts an entry.
    SignIn(Person),
    /// Signs out.
    SignOut,
    /// Gives the session a new id.
    Rotate,
    /// Empties the session under a new id, and inserts an entry.
    Regenerate,
}

/// What goes wrong with one call to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Nothing.
    None,
    /// The call does not reach the store, and is an error.
    Refused,
    /// The call takes effect, and its answer is lost: an error.
    AnswerLost,
    /// The call takes effect, and the request dies with it: its process crashed, or its client went away.
    Crash,
}

/// How far the clock moves on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pause {
    /// A second.
    Moment,
    /// Past the grace of a renewal.
    Grace,
    /// Past the time for which an older id is recognised as superseded.
    Superseded,
    /// Past the age at which an id is renewed.
    Renewal,
    /// More than half the idle timeout.
    HalfIdle,
    /// Past the idle timeout.
    Idle,
}

/// One step of a run. `slot` names one of the browser's [`SLOTS`] requests in flight. A step for which there is no occasion,
/// such as the answer to a request that has none, is skipped: so a schedule stays one whichever of its steps are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Before anything else the attacker begins a session, signed in with his own account or not, and plants its cookie.
    Plant {
        /// Whether he signs in.
        signed_in: bool,
    },
    /// The attacker copies the browser's cookie, while nobody is signed in with it.
    Spy,
    /// The browser sends a request, with the cookie that its jar holds now.
    Begin {
        /// Which of its connections it uses.
        slot: u8,
        /// What the handler will do.
        act: Act,
        /// Which of the two processes gets it.
        server: u8,
        /// Whether the handler tries again when a commit fails and may be tried again.
        retries: bool,
    },
    /// The attacker sends a request with a cookie that he has.
    Attack {
        /// Which of his cookies.
        cookie: u8,
        /// What the handler will do.
        act: Act,
        /// Which of the two processes gets it.
        server: u8,
    },
    /// An administrator changes a session by its key.
    Operate {
        /// Which of the sessions that there have been.
        session: u8,
        /// Which of the two processes does it.
        server: u8,
    },
    /// A request goes on by one call to the store.
    Call {
        /// Whose.
        slot: u8,
        /// What goes wrong with it.
        fault: Fault,
    },
    /// A request goes on until its answer is there, or it waits for another one.
    Finish {
        /// Which.
        slot: u8,
    },
    /// The client of a request goes away, or its process crashes, between two calls.
    Drop {
        /// Which.
        slot: u8,
    },
    /// The answer to a request arrives at the browser.
    Deliver {
        /// Which.
        slot: u8,
    },
    /// The answer to a request is lost on its way.
    Lose {
        /// Which.
        slot: u8,
    },
    /// Time passes.
    Wait(Pause),
    /// An administrator revokes a session by its key.
    Revoke {
        /// Which of the sessions that there have been.
        session: u8,
    },
    /// All sessions of somebody are revoked.
    RevokeAll(Person),
    /// All sessions of somebody but the browser's are revoked.
    RevokeOthers(Person),
    /// A session expires before its time.
    Expire {
        /// Which of the sessions that there have been.
        session: u8,
    },
}

/// How many requests a browser has in flight at most.
pub const SLOTS: u8 = 4;
/// The attacker's request in flight, for [`Step::Call`] and the like.
pub const ATTACKER: u8 = SLOTS;
/// The administrator's.
pub const OPERATOR: u8 = SLOTS + 1;
/// All of them.
pub(super) const ALL_SLOTS: usize = SLOTS as usize + 2;

/// The policy of a run, as far as it differs from run to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// When ids are renewed.
    pub renewal: Renewal,
    /// How many sessions an owner may have.
    pub limit: Option<SessionLimit>,
}

/// When ids are renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Never.
    Never,
    /// When they have the age that [`Pause::Renewal`] passes.
    ByAge,
    /// With each request, unless an older id still opens the session.
    AtOnce,
}

impl Default for Setting {
    fn default() -> Self {
        Self { renewal: Renewal::ByAge, limit: None }
    }
}

impl Person {
    pub(super) const ALL: [Self; 3] = [Self::Ada, Self::Bob, Self::Mallory];
}

impl Act {
    /// Whether the act changes the id of a stored session.
    pub(super) fn changes_id(self) -> bool {
        matches!(self, Self::SignIn(_) | Self::Rotate | Self::Regenerate)
    }

    /// Whether the act puts something into the session that can be recognised.
    pub(super) fn leaves_mark(self) -> bool {
        matches!(self, Self::Write | Self::Update | Self::SignIn(_) | Self::Regenerate)
    }

    /// Whether a request without authority must say that it was dropped.
    pub(super) fn changes_data(self) -> bool {
        !matches!(self, Self::Read | Self::Consume | Self::SignOut)
    }

    pub(super) fn signs_in(self) -> Option<Person> {
        if let Self::SignIn(person) = self { Some(person) } else { None }
    }
}

impl Step {
    /// The same step with less in it.
    pub(super) fn simpler(self) -> Option<Self> {
        Some(match self {
            Self::Begin { slot, act, retries: true, server } => {
                Self::Begin { slot, act, retries: false, server }
            }
            Self::Begin { slot, act, retries: false, server } if server > 0 => {
                Self::Begin { slot, act, retries: false, server: 0 }
            }
            Self::Attack { cookie, act, server } if server > 0 => Self::Attack { cookie, act, server: 0 },
            Self::Operate { session, server } if server > 0 => Self::Operate { session, server: 0 },
            Self::Plant { signed_in: true } => Self::Plant { signed_in: false },
            Self::Call { slot, fault } if fault != Fault::None => Self::Call { slot, fault: Fault::None },
            Self::Call { slot, fault: Fault::None } => Self::Finish { slot },
            _ => return None,
        })
    }
}

impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ada => "ada",
            Self::Bob => "bob",
            Self::Mallory => "mallory",
        })
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("reads"),
            Self::Write => f.write_str("writes an entry"),
            Self::Update => f.write_str("appends to the list"),
            Self::Stock => f.write_str("puts a voucher in"),
            Self::Consume => f.write_str("takes the voucher"),
            Self::SignIn(person) => write!(f, "signs {person} in"),
            Self::SignOut => f.write_str("signs out"),
            Self::Rotate => f.write_str("changes the id"),
            Self::Regenerate => f.write_str("starts the session anew"),
        }
    }
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Moment => "a second passes",
            Self::Grace => "the grace of a renewal passes",
            Self::Superseded => "the time passes for which an older id counts as superseded",
            Self::Renewal => "the age passes at which ids are renewed",
            Self::HalfIdle => "more than half of the idle timeout passes",
            Self::Idle => "the idle timeout passes",
        })
    }
}
