//! The rules of `session_core::SessionStore`, as data.

use std::fmt;

macro_rules! define {
    ([$($name:ident $text:literal)*] [$($life:ident $words:literal)*]) => {
        /// A rule of [`SessionStore`](session_core::SessionStore), by its letter and number there; or one of those about the
        /// life of a session's id (I1 to I9), which [`SessionManager`](session_core::SessionManager) keeps on any store.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Rule {
            $(#[doc = $text] $name,)*
            $(#[doc = $words] $life,)*
        }

        impl Rule {
            /// Every rule of a store, in the order of the trait's documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Every rule about the life of an id.
            pub const OF_IDS: &'static [Self] = &[$(Self::$life),*];

            /// What the rule says.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                    $(Self::$life => $words,)*
                }
            }
        }
    };
}

macro_rules! rules {
    ($($name:ident $text:literal)*) => {
        define! {
            [$($name $text)*]
            [
                I1 "an id is a key that stays and a secret that opens; a key is created once"
                I2 "a change of id is one compare-and-set save of the same record"
                I3 "after a renewal one older secret opens until the new one was shown, and for the grace; every other one is superseded"
                I4 "sign-out wins: what ended stays ended, and a sign-out is acknowledged only if it ended something or found nothing"
                I5 "old authority writes nothing into new authority, and is told so"
                I6 "a request that signs somebody in owns the outcome"
                I7 "another owner's data never stays"
                I8 "an answer sets a cookie only if its secret is new to the browser, and removes it only if its request ended the session"
                I9 "without a sign-out the browser's cookie always opens a live session of the right owner; after one that session never opens again; no superseded secret reads or writes"
            ]
        }
    };
}

// Each text says in one line what the trait's documentation says at length. That both have the same numbers is tested
// in `tests/repository/rules.rs`.
rules! {
    C1 "load returns exactly what create stored: every field, the payload byte for byte"
    C2 "on a live key create changes nothing and returns Occupied"
    C3 "on a key whose record has expired create succeeds, swept or not"
    C4 "of N concurrent creates of one key exactly one is Stored, and its record is the one that loads"
    L1 "load of an absent key is Ok(None)"
    L2 "load of an expired record is Ok(None) from the millisecond on, swept or not"
    L3 "load never gives a torn record, nor a mix of two writes"
    L4 "a failing backend is Err, never None"
    L5 "damaged bytes are an error of kind Corrupt: no panic, nothing deleted, other sessions unaffected"
    S1 "at the current revision save replaces the whole record"
    S2 "at another revision save returns Conflict and changes nothing"
    S3 "save on an absent or expired key must return Missing and create nothing: logout wins over every late write"
    S4 "of N concurrent saves from one revision exactly one is Stored"
    S5 "repeating a save that took effect (the stored revision is record.revision) returns Stored again"
    T1 "at the current revision touch moves the expiry later, never earlier, and returns Stored; revision and payload stay"
    T2 "touch of a missing or expired record returns Missing and revives nothing"
    T3 "at another revision touch returns Conflict and changes nothing"
    D1 "once delete returns, load is None and save and touch find nothing"
    D2 "delete returns whether a live record was removed; an absent key is false, not an error"
    O1 "list of an owner yields that owner's live sessions and no others, in pages, none twice, none missed that was live throughout"
    O2 "list of an owner follows save (owner set, changed, cleared), delete and expiry"
    O3 "delete_owned removes all live sessions of the owner but keep and returns how many"
    O4 "when delete_owned returns, no session that the owner had before the call is live, whatever creates and saves raced it"
    O5 "list without an owner pages through all live sessions: none twice, none missed that was live throughout"
    E1 "delete_expired removes expired records only, at most limit, and returns how many"
    E2 "repeating delete_expired drains: once it returns less than limit, nothing that had expired before the call is left; a storage that removes expired records itself returns 0"
    E3 "concurrent sweeps neither fail, nor deadlock, nor count one record twice"
    E4 "a record touched or saved during the sweep survives"
    E5 "the cost of delete_expired follows the number expired, not the number live"
    E6 "a record given with an expires_at that is not in the future is written like any other and is not live: the outcome is the usual one, and nothing is there afterwards"
    B1 "payloads of 0 bytes to the configured limit, any bytes"
    B2 "expiry from the next millisecond to Timestamp::MAX, exact to the millisecond"
    B3 "any legal owner: quotes, %_*?[]{}, emoji, trailing spaces, two that differ only in case"
    B4 "a payload over the limit is an error of kind TooLarge before anything is written"
    H1 "two handles on one storage see each other's writes at once"
    H2 "a durable store finds everything after reopening"
    H3 "two namespaces (prefix, table, directory) on one backend never see each other"
    H4 "prepare can be repeated and raced"
    H5 "now is the time by the clock that judges expiry: the server's where there is one, else the process's"
    F1 "an unreachable or hanging backend is an error of kind Unavailable or Timeout within the configured time"
    F2 "when the backend is back, the same handle works again"
    F3 "a dropped future leaves the old record or the new one, and a usable store"
    Y1 "random concurrent histories over a few keys are linearizable"
    Y2 "random sequences of operations agree with a reference model"
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self:?}] {}", self.text())
    }
}
