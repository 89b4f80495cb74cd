//! What a request finds when its session is opened, and what it says in the end, held against the rules.

use session_core::{ErrorKind, Outcome, SessionId, SessionLimit, Timestamp};

use super::history::{
    Done, End, History, IdNo, Issued, Opened, Request, RequestNo, SessionNo, Standing, Who,
};
use super::interface::CookieChange;
use super::schedule::{Act, Person};
use super::{IDLE, SUPERSEDED_FOR, Setting};
use crate::Rule::{I1, I3, I4, I5, I6, I7, I8, I9};

impl History {
    /// An id opens its session if it is the right one, and nothing else does.
    pub(super) fn judge_open(&mut self, by: RequestNo) {
        let Some(opened) = self.requests[by].opened.clone() else { return };
        let name = Self::name(by);
        self.tell(|it| it.opened_text(by, &opened));
        self.requests[by].opened_at = self.now;
        let Some(id) = self.requests[by].carried else {
            let session = opened.key.and_then(|key| self.session_of(key));
            if let (Some(session), Who::Operator) = (session, self.requests[by].who) {
                self.judge_content(by, session, &opened);
            } else if opened.key.is_some() {
                self.violate(I1, format!("{name} carried no cookie and gets a session that is stored"));
            }
            return;
        };
        let session = self.ids[id].session;
        let life = &self.sessions[session];
        let (standing, is_there) = (self.standing(id), life.is_there(self.now));
        let is_opened = opened.key == Some(life.key);
        let text = self.id_name(id);
        match standing {
            Standing::Opens if is_opened => {}
            Standing::Opens => {
                self.violate(I9, format!("{name} shows the right id ({text}) and does not get its session"));
            }
            _ if opened.key.is_some() => {
                let (rule, why) = Self::reason(standing);
                self.violate(rule, format!("{name} gets a session with {text}, {why}"));
            }
            Standing::Changed(at) if is_there && !opened.superseded => {
                let change = self.sessions[session].changes[at];
                self.requests[by].came_late = true;
                if self.is_recent(&change, SUPERSEDED_FOR) {
                    let why = "although the id was changed a short time ago";
                    self.violate(I3, format!("{name} begins anew with {text}, {why}"));
                }
            }
            Standing::Retired(_) if is_there && !opened.superseded => self.requests[by].came_late = true,
            _ => {}
        }
        self.check_expiry(session);
        if is_opened {
            self.judge_content(by, session, &opened);
        }
    }

    fn reason(standing: Standing) -> (crate::Rule, &'static str) {
        match standing {
            Standing::Ended(_) => (I4, "which has ended"),
            Standing::Changed(_) => (I5, "whose id was changed since"),
            Standing::Retired(_) | Standing::Opens => (I3, "an old id after the grace"),
        }
    }

    /// A session that is used lives as long as the policy says.
    pub(super) fn check_expiry(&mut self, session: SessionNo) {
        let life = &self.sessions[session];
        let due = |used: Timestamp| self.now >= used.saturating_add(IDLE * 9 / 10);
        if life.end.is_none()
            && !life.is_tombstone()
            && life.expires_at <= self.now
            && !life.used.is_none_or(due)
        {
            self.violate(I9, format!("session {} expires although it was in use", session + 1));
        }
    }

    fn judge_content(&mut self, by: RequestNo, session: SessionNo, opened: &Opened) {
        let name = Self::name(by);
        let owner = self.person(opened.owner.as_ref());
        let life = &self.sessions[session];
        if owner != life.owner {
            let (is, was) = (whose(owner), whose(life.owner));
            self.violate(I9, format!("{name} finds session {} {is}, and it is {was}", session + 1));
        }
        let mut list = opened.list.clone();
        list.sort_unstable();
        if list.windows(2).any(|two| two[0] == two[1]) {
            self.violate(I9, format!("{name} finds one update twice: {:?}", names(&list)));
        }
        for &mark in opened.marks.iter().chain(&opened.list) {
            self.judge_mark(by, session, mark, owner);
        }
        let life = &self.sessions[session];
        let missing: Vec<_> = life
            .writers
            .iter()
            .filter(|(_, at)| *at >= life.cleared)
            .map(|(writer, _)| *writer)
            .filter(|writer| {
                let request = &self.requests[*writer];
                let done = request.done.as_ref();
                let promised = done.is_some_and(|done| done.is_acknowledged() && done.key == Some(life.key));
                let found = if request.act == Act::Update { &opened.list } else { &opened.marks };
                promised && request.act.leaves_mark() && !found.contains(writer)
            })
            .collect();
        if !missing.is_empty() {
            let (who, what) = (names(&missing), session + 1);
            self.violate(I9, format!("{name} does not find what {who} stored in session {what}"));
        }
    }

    fn judge_mark(&mut self, by: RequestNo, session: SessionNo, mark: RequestNo, reader: Option<Person>) {
        let (name, other) = (Self::name(by), Self::name(mark));
        let life = &self.sessions[session];
        if !life.writers.iter().any(|(writer, at)| *writer == mark && *at >= life.cleared) {
            let what = session + 1;
            self.violate(I7, format!("{name} finds what {other} wrote, which is not session {what}'s"));
        }
        let Some(writer) = self.requests.get(mark) else { return };
        let (done, private_to) = (writer.done.as_ref().map(|done| &done.commit), writer.private_to);
        // Whose answer was lost cannot know what became of it.
        if let (Some(Ok((_, true))), false) = (done, writer.faulted) {
            self.violate(I5, format!("{name} finds what {other} wrote, which was told that it was dropped"));
        }
        if let Some(person) = private_to.filter(|person| reader != Some(*person)) {
            let reader = whose(reader);
            self.violate(I7, format!("{name} reads what {other} wrote for {person}, and is {reader}"));
        }
    }

    /// What a request says in the end is so.
    pub(super) fn judge_done(&mut self, by: RequestNo, done: Done, setting: &Setting) {
        self.tell(|it| it.done_text(by, &done));
        self.requests[by].private_to =
            self.person(done.owner.as_ref()).filter(|person| *person != Person::Mallory);
        let request = &self.requests[by];
        let opened = request.opened.clone().unwrap_or_default();
        let (act, faulted) = (request.act, request.faulted);
        let refused = opened.superseded || request.came_late;
        let name = Self::name(by);
        let session = opened.key.and_then(|key| self.session_of(key));
        match &done.commit {
            Err(ErrorKind::Superseded) if act == Act::SignOut && refused => {}
            Err(ErrorKind::TooManySessions) if matches!(setting.limit, Some(SessionLimit::Refuse(_))) => {}
            Err(kind) if !faulted => {
                self.violate(I9, format!("{name} fails with {kind:?}, and nothing had gone wrong"));
            }
            Err(_) => {}
            Ok(_) if act == Act::SignOut && refused => {
                self.violate(I4, format!("{name} is told that it signed out, and has ended nothing"));
            }
            Ok((_, true)) if act.signs_in().is_some_and(|person| !self.may_drop(by, person, setting)) => {
                self.violate(I6, format!("{name} signs in and is dropped"));
            }
            Ok(_) => {
                self.judge_leftovers(by);
                if done.is_acknowledged() {
                    self.judge_promise(by, &done, &opened, session);
                }
            }
        }
        if let (Some(session), Ok(_), false) = (session, &done.commit, faulted)
            && done.key == opened.key
            && self.requests[by].who != Who::Operator
        {
            let used = self.requests[by].opened_at;
            let life = &mut self.sessions[session];
            life.used = life.used.max(Some(used));
        }
        self.judge_consumed(by, done.consumed);
        self.judge_cookie(by, &done.cookie, session);
        self.requests[by].done = Some(done);
        self.requests[by].done_at = Some(self.tick());
    }

    /// Whether a sign-in may be dropped: under a limit, beside another one of the same person, or if it was revoked.
    fn may_drop(&self, by: RequestNo, person: Person, setting: &Setting) -> bool {
        let begun = self.requests[by].begun;
        let beside = |(at, other): (usize, &Request)| {
            let counted = other.done.as_ref().is_some_and(|done| done.commit.is_ok());
            let is_over = counted && other.done_at.is_some_and(|done| done < begun);
            at != by && other.act.signs_in() == Some(person) && !is_over
        };
        let revoked = self.sessions.iter().any(|life| {
            let is_own = life.writers.iter().any(|(writer, _)| *writer == by);
            is_own && !life.is_live(self.now) && !matches!(life.end, Some(End::Limit(_)))
        });
        setting.limit.is_some() && (revoked || self.requests.iter().enumerate().any(beside))
    }

    fn judge_promise(&mut self, by: RequestNo, done: &Done, opened: &Opened, session: Option<SessionNo>) {
        let (name, act) = (Self::name(by), self.requests[by].act);
        let is_new = matches!(done.commit, Ok((Outcome::Created | Outcome::Rotated, _)));
        if is_new && !matches!(done.cookie, CookieChange::Set(_)) {
            self.violate(I8, format!("{name} gave the session a new id, and its answer does not bring it"));
        }
        if act.changes_data() && opened.superseded && act.signs_in().is_none() {
            self.violate(I5, format!("{name} {act} with an id that was changed, and is told that it did"));
        }
        if act.leaves_mark() && done.key.is_none() {
            let rule = if act.signs_in().is_some() { I6 } else { I9 };
            self.violate(rule, format!("{name} {act}, and nothing is stored"));
        }
        if let Some(person) = act.signs_in() {
            if self.person(done.owner.as_ref()) != Some(person) {
                self.violate(I6, format!("{name} {act}, and the session is not {person}'s"));
            }
            let before = self.person(opened.owner.as_ref());
            if let Some(session) = session.filter(|_| before.is_some_and(|before| before != person)) {
                let life = &mut self.sessions[session];
                if !life.is_live(self.now) {
                    life.ended_for_good = Some("somebody else signed in");
                } else if life.owner.is_some() {
                    // Another request may have started it anew meanwhile: it is nobody's then.
                    self.violate(I7, format!("{name} {act}, and session {} is still open", session + 1));
                }
            }
        }
        if let (Act::SignOut, Some(session)) = (act, session) {
            if self.sessions[session].is_there(self.now) {
                self.violate(I4, format!("{name} {act}, and session {} is still there", session + 1));
            }
            self.sessions[session].ended_for_good = Some("a sign-out");
        }
    }

    /// A request that succeeded leaves no second session.
    fn judge_leftovers(&mut self, by: RequestNo) {
        let own = self.sessions.iter().filter(|life| life.creator == Some(by) && life.is_live(self.now));
        if own.count() > 1 {
            self.violate(I1, format!("{} leaves a session that nobody can open", Self::name(by)));
        }
    }

    fn judge_consumed(&mut self, by: RequestNo, voucher: Option<RequestNo>) {
        let Some(voucher) = voucher else { return };
        let got =
            |request: &Request| request.done.as_ref().is_some_and(|done| done.consumed == Some(voucher));
        // Whoever put it in may have put it in twice, if an answer was lost.
        let again = self.requests.get(voucher).is_none_or(|request| request.faulted);
        if !again && self.requests.iter().any(got) {
            self.violate(I9, format!("{} gets a voucher that another request got", Self::name(by)));
        }
    }

    /// `[I8]`
    fn judge_cookie(&mut self, by: RequestNo, cookie: &CookieChange, session: Option<SessionNo>) {
        let name = Self::name(by);
        match cookie {
            CookieChange::Keep => {}
            CookieChange::Remove => {
                let end = session.and_then(|session| self.sessions[session].end);
                if !matches!(end, Some(End::SignedOut(who) | End::Emptied(who)) if who == by) {
                    self.violate(I8, format!("{name} removes the cookie, and has not ended the session"));
                }
            }
            CookieChange::Set(text) => {
                let known = self.id_of(text);
                if known.is_some() && known == self.requests[by].carried {
                    self.violate(I8, format!("{name} sends the cookie that the browser has"));
                }
                let id = text.parse::<SessionId>().ok();
                let session = id.as_ref().and_then(|id| self.session_of(id.key()));
                let seen = session.and_then(|session| self.last_look(by, session));
                if let (Some(id), Some(session), Some(seen)) = (id, session, seen) {
                    let issued = Issued { id, session, seen, successor: None, retired: None };
                    let id = self.issue(by, known, text, issued);
                    self.requests[by].given = Some(id);
                } else {
                    self.violate(I8, format!("{name} sets a cookie that is of no session it has seen"));
                }
            }
        }
    }

    /// Notes that a request was given an id.
    fn issue(&mut self, by: RequestNo, known: Option<IdNo>, text: &str, issued: Issued) -> IdNo {
        let (session, seen, name) = (issued.session, issued.seen, Self::name(by));
        let id = match known {
            None => self.add_id(text, issued),
            Some(id) => {
                let before = self.ids[id].seen;
                let between = |at| before.min(seen) < at && at < before.max(seen);
                if self.sessions[session].changes.iter().any(|change| between(change.at)) {
                    self.violate(I3, format!("{name} is given an id that was changed already"));
                }
                self.ids[id].seen = before.max(seen);
                id
            }
        };
        let renewed = self.requests[by].carried.filter(|old| {
            let same = self.ids[*old].session == session && *old != id;
            same && self.change_by(by, session).is_none()
        });
        if let Some(old) = renewed {
            let successor = *self.ids[old].successor.get_or_insert(id);
            if successor != id {
                self.violate(I3, format!("{name} is given a second successor of one id"));
            }
        }
        id
    }

    fn opened_text(&self, by: RequestNo, opened: &Opened) -> String {
        let name = Self::name(by);
        if opened.superseded {
            return format!("{name} has an id that was changed: it opens nothing");
        }
        match opened.key.and_then(|key| self.session_of(key)) {
            None => format!("{name} begins with an empty session"),
            Some(session) => {
                format!("{name} opens session {}, {}", session + 1, whose(self.person(opened.owner.as_ref())))
            }
        }
    }

    fn done_text(&self, by: RequestNo, done: &Done) -> String {
        let says = match &done.commit {
            Ok((outcome, false)) => format!("{outcome:?}"),
            Ok((outcome, true)) => format!("{outcome:?}, its changes dropped"),
            Err(kind) => format!("the error {kind:?}"),
        };
        let cookie = match &done.cookie {
            CookieChange::Keep => "no cookie",
            CookieChange::Set(_) => "a new cookie",
            CookieChange::Remove => "a removal of the cookie",
        };
        format!("{} is done: {says}; its answer has {cookie}", Self::name(by))
    }

    /// Whether a request acts for the browser's user.
    pub(super) fn is_browsers(&self, request: RequestNo) -> bool {
        self.requests[request].who == Who::Browser
    }
}

pub(super) fn whose(owner: Option<Person>) -> String {
    owner.map_or_else(|| "nobody's".to_owned(), |person| format!("{person}'s"))
}

fn names(requests: &[RequestNo]) -> String {
    requests.iter().map(|request| History::name(*request)).collect::<Vec<_>>().join(", ")
}
