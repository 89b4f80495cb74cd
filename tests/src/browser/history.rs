//! What happened in a run so far: sessions, ids and requests, as an observer at the store and at the browser sees them.
//! It knows nothing of how the manager works, so that it can say what must be.

use std::collections::HashMap;
use std::time::Duration;

use session_core::{ErrorKind, Outcome, Owner, Revision, SessionId, SessionKey, Timestamp};

use super::interface::CookieChange;
use super::schedule::{Act, Person};
use super::{Exception, GRACE, Violation};
use crate::Rule;

/// A moment: the number of an event. Requests that begin, calls that take effect and answers that arrive are events.
pub(super) type At = usize;
/// A session's number, in the order in which sessions began.
pub(super) type SessionNo = usize;
/// An id's number.
pub(super) type IdNo = usize;
/// A request's number.
pub(super) type RequestNo = usize;

pub(super) struct History {
    at: At,
    /// Whether the request that calls now gets an answer.
    pub(super) answers: bool,
    /// The clock that judges expiry.
    pub(super) now: Timestamp,
    pub(super) owners: [Owner; 3],
    pub(super) sessions: Vec<Life>,
    by_key: HashMap<SessionKey, SessionNo>,
    pub(super) ids: Vec<Issued>,
    by_text: HashMap<String, IdNo>,
    pub(super) requests: Vec<Request>,
    /// When each version of a record was made.
    plans: Vec<(Revision, Timestamp)>,
    /// When all sessions of somebody were revoked.
    pub(super) revocations: Vec<(At, Person)>,
    pub(super) exceptions: Vec<Exception>,
    /// The first one.
    pub(super) violation: Option<Violation>,
    pub(super) story: Option<Vec<String>>,
}

/// A session, from its creation on.
pub(super) struct Life {
    pub(super) key: SessionKey,
    pub(super) creator: Option<RequestNo>,
    pub(super) revision: Revision,
    pub(super) owner: Option<Person>,
    pub(super) expires_at: Timestamp,
    /// Whether the record is there; it may have expired.
    pub(super) exists: bool,
    pub(super) end: Option<End>,
    /// Somebody was told that it has ended.
    pub(super) ended_for_good: Option<&'static str>,
    /// Changes of its id that were asked for, in their order.
    pub(super) changes: Vec<Change>,
    /// Which requests wrote into it.
    pub(super) writers: Vec<(RequestNo, At)>,
    /// When it was emptied.
    pub(super) cleared: At,
    /// When the browser used it last, and nothing went wrong.
    pub(super) used: Option<Timestamp>,
}

/// A change of id that a request asked for.
#[derive(Clone, Copy)]
pub(super) struct Change {
    pub(super) at: At,
    pub(super) by: RequestNo,
    /// When the request looked at the clock for it.
    pub(super) time: Timestamp,
    /// Another owner signed in: the session became a tombstone.
    pub(super) replaced: bool,
}

/// Why a record is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// This request signed out.
    SignedOut(RequestNo),
    /// This request left nothing in it.
    Emptied(RequestNo),
    Revoked,
    /// A sign-in, and the limit of sessions.
    Limit(RequestNo),
    /// The request that created it withdrew it.
    Withdrawn,
    Expired,
}

/// An id that a client was given.
pub(super) struct Issued {
    pub(super) id: SessionId,
    pub(super) session: SessionNo,
    /// The last moment at which it is known to have been the right one.
    pub(super) seen: At,
    /// The one that follows it after a renewal.
    pub(super) successor: Option<IdNo>,
    /// Since when the client has shown the successor, and who did.
    pub(super) retired: Option<(Timestamp, RequestNo)>,
}

/// What an id is at present.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Opens,
    /// Its session has ended.
    Ended(End),
    /// This change, the session's last one, came after it.
    Changed(usize),
    /// It was renewed, its successor was shown by that request, and the grace is over.
    Retired(RequestNo),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Who {
    Browser,
    Attacker,
    Operator,
}

/// What has become of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It runs, or its answer is on its way.
    UnderWay,
    Delivered(At),
    /// Its answer never arrives.
    Lost,
}

pub(super) struct Request {
    pub(super) who: Who,
    pub(super) act: Act,
    pub(super) carried: Option<IdNo>,
    pub(super) begun: At,
    /// When it loaded the session that it named.
    pub(super) loaded: Option<At>,
    pub(super) opened: Option<Opened>,
    pub(super) opened_at: Timestamp,
    /// When it listed an owner's sessions last.
    pub(super) listed: Option<Timestamp>,
    /// It named a session that is there, by an older id that is not recognised as such any more.
    pub(super) came_late: bool,
    /// The id that its answer sets.
    pub(super) given: Option<IdNo>,
    /// Something went wrong with one of its calls.
    pub(super) faulted: bool,
    /// When it last saw each session.
    pub(super) looks: Vec<(SessionNo, At)>,
    pub(super) done: Option<Done>,
    pub(super) done_at: Option<At>,
    pub(super) fate: Fate,
    /// Whose eyes the entry that it writes is for.
    pub(super) private_to: Option<Person>,
}

/// What a handler found when its session was opened.
#[derive(Clone, Debug, Default)]
pub(super) struct Opened {
    pub(super) key: Option<SessionKey>,
    pub(super) superseded: bool,
    pub(super) owner: Option<Owner>,
    /// The requests whose entries are there.
    pub(super) marks: Vec<RequestNo>,
    /// The requests that appended to the list.
    pub(super) list: Vec<RequestNo>,
}

/// How a request ended.
#[derive(Clone, Debug)]
pub(super) struct Done {
    /// What the last commit said.
    pub(super) commit: Result<(Outcome, bool), ErrorKind>,
    pub(super) cookie: CookieChange,
    pub(super) key: Option<SessionKey>,
    pub(super) owner: Option<Owner>,
    /// The voucher that it got.
    pub(super) consumed: Option<RequestNo>,
}

impl Done {
    /// Whether the client may rely on what it asked for.
    pub(super) fn is_acknowledged(&self) -> bool {
        let over = [Outcome::Ended, Outcome::Superseded];
        matches!(&self.commit, Ok((outcome, false)) if !over.contains(outcome))
    }
}

impl Life {
    /// Whether the record is a live one, be it a tombstone.
    pub(super) fn is_there(&self, now: Timestamp) -> bool {
        self.exists && self.expires_at > now
    }

    pub(super) fn is_tombstone(&self) -> bool {
        self.changes.last().is_some_and(|change| change.replaced)
    }

    pub(super) fn is_live(&self, now: Timestamp) -> bool {
        self.is_there(now) && !self.is_tombstone()
    }
}

impl History {
    pub(super) fn new(owners: [Owner; 3], now: Timestamp, tells: bool) -> Self {
        Self {
            at: 0,
            answers: true,
            now,
            owners,
            sessions: Vec::new(),
            by_key: HashMap::new(),
            ids: Vec::new(),
            by_text: HashMap::new(),
            requests: Vec::new(),
            plans: Vec::new(),
            revocations: Vec::new(),
            exceptions: Vec::new(),
            violation: None,
            story: tells.then(Vec::new),
        }
    }

    /// The next moment.
    pub(super) fn tick(&mut self) -> At {
        self.at += 1;
        self.at
    }

    /// Adds a line to the story, if it is told.
    pub(super) fn tell(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.story.is_some() {
            let line = line(self);
            self.story.get_or_insert_default().push(line);
        }
    }

    /// Something happened that must not.
    pub(super) fn violate(&mut self, rule: Rule, what: impl Into<String>) {
        if self.violation.is_none() {
            let what = what.into();
            self.tell(|_| format!("!! {what}"));
            self.violation = Some(Violation { rule, what });
        }
    }

    /// Something happened that should not, and cannot be helped.
    pub(super) fn except(&mut self, exception: Exception) {
        self.tell(|_| format!("(this is exception {exception:?})"));
        self.exceptions.push(exception);
    }

    pub(super) fn plan(&mut self, revision: Revision) {
        if !self.plans.iter().any(|(made, _)| *made == revision) {
            self.plans.push((revision, self.now));
        }
    }

    pub(super) fn planned(&self, revision: Revision) -> Timestamp {
        self.plans.iter().find(|(made, _)| *made == revision).map_or(self.now, |(_, at)| *at)
    }

    pub(super) fn session_of(&self, key: SessionKey) -> Option<SessionNo> {
        self.by_key.get(&key).copied()
    }

    pub(super) fn add_session(&mut self, life: Life) -> SessionNo {
        self.by_key.insert(life.key, self.sessions.len());
        self.sessions.push(life);
        self.sessions.len() - 1
    }

    pub(super) fn person(&self, owner: Option<&Owner>) -> Option<Person> {
        let at = self.owners.iter().position(|known| Some(known) == owner)?;
        Some(Person::ALL[at])
    }

    pub(super) fn owner(&self, person: Person) -> Owner {
        self.owners[person as usize].clone()
    }

    /// The request sees the session as it is, if it gets an answer.
    pub(super) fn look(&mut self, by: RequestNo, session: SessionNo) -> At {
        let at = self.tick();
        if !self.answers {
            return at;
        }
        let looks = &mut self.requests[by].looks;
        match looks.iter_mut().find(|(seen, _)| *seen == session) {
            Some((_, last)) => *last = at,
            None => looks.push((session, at)),
        }
        at
    }

    pub(super) fn last_look(&self, by: RequestNo, session: SessionNo) -> Option<At> {
        self.requests[by].looks.iter().find(|(seen, _)| *seen == session).map(|(_, at)| *at)
    }

    /// The change of the session's id that this request made, if it made one.
    pub(super) fn change_by(&self, by: RequestNo, session: SessionNo) -> Option<&Change> {
        self.sessions[session].changes.iter().rfind(|change| change.by == by && !change.replaced)
    }

    pub(super) fn id_of(&self, text: &str) -> Option<IdNo> {
        self.by_text.get(text).copied()
    }

    pub(super) fn add_id(&mut self, text: &str, issued: Issued) -> IdNo {
        self.by_text.insert(text.to_owned(), self.ids.len());
        self.ids.push(issued);
        self.ids.len() - 1
    }

    /// Why the session is not live, where it is not.
    pub(super) fn end_of(&self, session: SessionNo) -> Option<End> {
        let life = &self.sessions[session];
        life.end.or((life.expires_at <= self.now).then_some(End::Expired))
    }

    pub(super) fn standing(&self, id: IdNo) -> Standing {
        let issued = &self.ids[id];
        let life = &self.sessions[issued.session];
        if let Some(end) = self.end_of(issued.session) {
            return Standing::Ended(end);
        }
        match life.changes.last() {
            Some(change) if change.at > issued.seen => return Standing::Changed(life.changes.len() - 1),
            _ => {}
        }
        match issued.retired {
            Some((since, by)) if self.now >= since.saturating_add(GRACE) => Standing::Retired(by),
            _ => Standing::Opens,
        }
    }

    /// Whether an older id is recognised as such, which it must be for some time after the last change.
    pub(super) fn is_recent(&self, change: &Change, superseded_for: Duration) -> bool {
        self.now < change.time.saturating_add(superseded_for)
    }

    /// `A`, `B`, ..: in the order in which requests begin.
    pub(super) fn name(request: RequestNo) -> String {
        match u8::try_from(request) {
            Ok(at @ 0..26) => char::from(b'A' + at).to_string(),
            _ => format!("R{request}"),
        }
    }

    /// `session 2`, and the id's number in it: `session 2, id 1`.
    pub(super) fn id_name(&self, id: IdNo) -> String {
        let session = self.ids[id].session;
        let before = self.ids[..id].iter().filter(|other| other.session == session).count();
        format!("session {}, id {}", session + 1, before + 1)
    }
}
