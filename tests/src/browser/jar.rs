//! The browser's cookie: what it is after each answer, what it should be, and which exceptions there are.

use super::Exception;
use super::history::{At, End, Fate, History, IdNo, RequestNo, SessionNo, Standing, Who};
use super::interface::CookieChange;
use super::schedule::{Act, Person};
use crate::Rule::I9;

/// What the browser holds, and what its user believes.
#[derive(Clone, Copy, Default)]
pub(super) struct Jar {
    pub(super) cookie: Option<Cookie>,
    belief: Option<Belief>,
}

#[derive(Clone, Copy)]
pub(super) struct Cookie {
    pub(super) id: IdNo,
    /// When it came.
    since: At,
    /// Whose answer brought it; none's if it was planted.
    from: Option<RequestNo>,
}

/// An answer said that somebody is signed in, and no later one said anything else.
#[derive(Clone, Copy)]
struct Belief {
    person: Person,
    session: SessionNo,
    since: At,
}

impl Jar {
    pub(super) fn plant(&mut self, id: IdNo, since: At) {
        self.cookie = Some(Cookie { id, since, from: None });
    }

    /// An answer arrives.
    pub(super) fn deliver(&mut self, it: &mut History, by: RequestNo) {
        let at = it.tick();
        it.requests[by].fate = Fate::Delivered(at);
        it.tell(|_| format!("the answer to {} arrives", History::name(by)));
        let Some(done) = it.requests[by].done.clone() else { return };
        let act = it.requests[by].act;
        let acknowledged = done.is_acknowledged();
        let person = act.signs_in().filter(|_| acknowledged);
        match (&done.cookie, it.requests[by].given) {
            (CookieChange::Set(_), Some(id)) => {
                if person.is_none() {
                    self.check_replacement(it, by, it.ids[id].session);
                }
                self.cookie = Some(Cookie { id, since: at, from: Some(by) });
            }
            (CookieChange::Remove, _) => {
                self.check_removal(it, by);
                self.cookie = None;
            }
            _ => {}
        }
        let session = done.key.and_then(|key| it.session_of(key));
        match (person, session) {
            (Some(person), Some(session)) => self.belief = Some(Belief { person, session, since: at }),
            _ if act == Act::SignOut && acknowledged => self.belief = None,
            _ if act == Act::Regenerate && self.belief.map(|belief| belief.session) == session => {
                self.belief = None;
            }
            _ => {}
        }
    }

    /// An answer other than a sign-in's sets the cookie of `session`.
    fn check_replacement(&mut self, it: &mut History, by: RequestNo, session: SessionNo) {
        let Some(belief) = self.belief.filter(|belief| belief.holds(it) && belief.session != session) else {
            return;
        };
        self.belief = None;
        let request = &it.requests[by];
        let creates = it.sessions[session].creator == Some(by);
        let opened_nothing = request.opened.as_ref().is_none_or(|opened| opened.key.is_none());
        let exception = if request.came_late && creates {
            Exception::E7
        } else if request.begun >= belief.since || creates && !opened_nothing {
            let name = History::name(by);
            let what = format!("{name} puts another cookie over that of {}'s session", belief.person);
            it.violate(I9, what);
            return;
        } else if creates {
            Exception::E4
        } else if it.change_by(by, session).is_some() {
            Exception::E3
        } else {
            Exception::E1
        };
        it.except(exception);
    }

    /// The answer to a sign-out takes the cookie away, whosever it is by now.
    fn check_removal(&mut self, it: &mut History, by: RequestNo) {
        let Some(cookie) = self.cookie else { return };
        let session = it.ids[cookie.id].session;
        if it.opened_it(by, session) || matches!(it.standing(cookie.id), Standing::Ended(_)) {
            return;
        }
        if it.requests[by].begun >= cookie.since {
            it.violate(I9, format!("{} takes away a cookie that it was not sent with", History::name(by)));
        } else if it.sessions[session].owner.is_some() {
            self.belief = None;
            it.except(Exception::E9);
        }
    }

    /// Nothing is on its way: the cookie has to open a live session of the right owner.
    pub(super) fn judge(&mut self, it: &mut History) {
        let Some(cookie) = self.cookie else {
            if let Some(belief) = self.belief.filter(|belief| belief.holds(it)) {
                it.violate(I9, format!("{} signed in, and the browser has no cookie", belief.person));
            }
            return;
        };
        let session = it.ids[cookie.id].session;
        it.check_expiry(session);
        match it.standing(cookie.id) {
            Standing::Opens => {
                if let Some(belief) =
                    self.belief.filter(|belief| belief.holds(it) && belief.session != session)
                {
                    it.violate(
                        I9,
                        format!("{} signed in, and the cookie is another session's", belief.person),
                    );
                }
                return;
            }
            Standing::Ended(End::Withdrawn) => {
                it.violate(I9, "the browser was given the cookie of a session that was withdrawn");
            }
            Standing::Ended(End::Limit(by)) => {
                if it.is_browsers(by) && it.requests[by].begun < cookie.since {
                    it.except(Exception::E6);
                }
            }
            Standing::Ended(_) => {}
            Standing::Retired(by) if !it.is_browsers(by) => it.except(Exception::E10),
            // The answer that brought the older id is older than the renewal whose successor the browser has shown.
            Standing::Retired(by) if it.requests[by].begun < cookie.since => it.except(Exception::E11),
            Standing::Retired(_) => {
                it.violate(I9, "the browser has an id that was renewed, and the grace is over");
            }
            Standing::Changed(change) => self.judge_change(it, cookie, session, change),
        }
        self.belief = None;
    }

    /// The cookie's session goes on under another id.
    fn judge_change(&self, it: &mut History, cookie: Cookie, session: SessionNo, change: usize) {
        let change = it.sessions[session].changes[change];
        let changer = &it.requests[change.by];
        let told = changer.done.as_ref().is_some_and(|done| matches!(done.cookie, CookieChange::Set(_)));
        let exception = match changer.fate {
            _ if changer.who == Who::Attacker => Exception::E10,
            Fate::Lost | Fate::UnderWay => Exception::E2,
            Fate::Delivered(_) if changer.done.as_ref().is_some_and(|done| done.commit.is_err()) => {
                Exception::E2
            }
            Fate::Delivered(at) if told && at < cookie.since => {
                let explicit = |by| it.change_by(by, session).is_some();
                if cookie.from.is_some_and(explicit) { Exception::E3 } else { Exception::E1 }
            }
            // The session that the sign-in began was revoked, or ended by a limit, before the answer was made.
            Fate::Delivered(_) if change.replaced && it.has_no_session(change.by) => return,
            Fate::Delivered(_) => {
                let name = History::name(change.by);
                it.violate(I9, format!("{name} changed the id, and the browser was not told"));
                return;
            }
        };
        it.except(exception);
    }
}

impl History {
    /// Whether everything that the request began has ended.
    fn has_no_session(&self, by: RequestNo) -> bool {
        !self.sessions.iter().any(|life| life.creator == Some(by) && life.is_live(self.now))
    }
}

impl Belief {
    /// Whether what the user believes is still so at the server.
    fn holds(&self, it: &History) -> bool {
        let life = &it.sessions[self.session];
        life.is_live(it.now) && life.owner == Some(self.person)
    }
}
