//! What takes effect at the store, held against the rules: who may write into a session, who may end it, and when.

use session_core::{Created, Record, Revision, Saved, SessionKey, Timestamp, Touched};

use super::history::{At, Change, End, History, Life, RequestNo, SessionNo, Who};
use super::schedule::{Act, Person};
use super::{Exception, Setting};
use crate::Rule::{I1, I2, I4, I5, I6, I7};

impl History {
    pub(super) fn loaded(&mut self, by: Option<RequestNo>, key: SessionKey, found: Option<&Record>) {
        let session = self.session_of(key);
        let there = session.is_some_and(|session| self.sessions[session].is_there(self.now));
        if found.is_some() != there {
            let (was, is) = if there { ("there", "not found") } else { ("gone", "found") };
            self.violate(I4, format!("the record of {} is {was}, and is {is}", self.session_name(session)));
        }
        let (Some(by), Some(session)) = (by, session) else { return };
        self.tell(|it| format!("{} loads {}", History::name(by), it.session_name(Some(session))));
        let at = self.look(by, session);
        if !self.answers {
            return;
        }
        let request = &mut self.requests[by];
        let named = request.carried.is_some_and(|id| self.ids[id].session == session);
        if named || request.who == Who::Operator {
            request.loaded.get_or_insert(at);
        }
    }

    pub(super) fn created(
        &mut self,
        by: Option<RequestNo>,
        key: SessionKey,
        record: &Record,
        outcome: Created,
    ) {
        if outcome == Created::Occupied {
            return;
        }
        if self.session_of(key).is_some() {
            self.violate(I1, "a key is created a second time, so that what ended under it would come back");
            return;
        }
        let owner = self.person(record.owner.as_ref());
        let session = self.add_session(Life {
            key,
            creator: by,
            revision: record.revision,
            owner: None,
            expires_at: record.expires_at,
            exists: true,
            end: None,
            ended_for_good: None,
            changes: Vec::new(),
            writers: Vec::new(),
            cleared: 0,
            used: None,
        });
        let Some(by) = by else { return };
        self.tell(|_| format!("{} creates session {}", History::name(by), session + 1));
        let request = &self.requests[by];
        let had_one = request.opened.as_ref().is_some_and(|opened| opened.key.is_some() || opened.superseded);
        if had_one && request.act.signs_in().is_none() {
            let name = History::name(by);
            self.violate(
                I5,
                format!("{name} begins a session in place of the one that others ended or changed"),
            );
        }
        let at = self.look(by, session);
        self.sessions[session].writers.push((by, at));
        self.note_owner(by, session, owner, at);
    }

    pub(super) fn saved(
        &mut self,
        by: Option<RequestNo>,
        key: SessionKey,
        (expected, record): (Revision, &Record),
        outcome: Saved,
        setting: &Setting,
    ) {
        let listed = by.and_then(|by| self.requests[by].listed);
        let planned = self.planned(record.revision).min(listed.unwrap_or(Timestamp::MAX));
        let Some(session) = self.session_of(key) else { return };
        if outcome != Saved::Stored {
            let name = self.session_name(Some(session));
            self.tell(|_| {
                format!("{} saves {name}: {outcome:?}", by.map_or_else(String::new, History::name))
            });
            return;
        }
        let life = &self.sessions[session];
        if life.is_there(self.now) && life.revision == record.revision {
            // Repeated: it changed nothing.
            if let Some(by) = by {
                self.look(by, session);
            }
            return;
        }
        if !life.is_there(self.now) {
            self.violate(I4, format!("session {} has ended, and a save brings it back", session + 1));
            return;
        }
        if life.revision != expected {
            self.violate(
                I2,
                format!("session {} is saved over a version that the request had not seen", session + 1),
            );
        }
        let Some(by) = by else { return };
        let ends = record.expires_at <= planned;
        if ends && self.requests[by].act.signs_in().is_some() {
            self.deleted(by, key, true, setting);
            return;
        }
        let owner = self.person(record.owner.as_ref());
        let replaces = self.requests[by].act.signs_in().is_some() && owner.is_none();
        self.tell(|_| {
            let does = if replaces { "leaves a tombstone in place of" } else { "saves" };
            format!("{} {does} session {}", History::name(by), session + 1)
        });
        if !replaces {
            self.check_authority(by, session, "writes into");
        } else if !self.opened_it(by, session) {
            self.violate(I7, format!("{} replaces a session that it did not open", History::name(by)));
        }
        let at = self.look(by, session);
        // A request changes an id once: what it writes after that is a renewal, if it is anything of the kind.
        let has_changed = self.change_by(by, session).is_some();
        let life = &mut self.sessions[session];
        let is_first = !has_changed && life.creator != Some(by);
        if record.expires_at < life.expires_at {
            // A touch that came while the save was under way keeps the revision, and the save moves the expiry back.
            let is_use = self.requests[by].who != Who::Operator;
            life.used = life.used.filter(|_| is_use).min(Some(planned));
        }
        life.revision = record.revision;
        life.expires_at = record.expires_at;
        // One that was on its way for longer than the session may live unused takes effect, and leaves it expired.
        if ends {
            life.exists = false;
            life.end = Some(End::Emptied(by));
            return;
        }
        let act = self.requests[by].act;
        if replaces || act.changes_id() && is_first {
            life.changes.push(Change { at, by, time: planned, replaced: replaces });
        }
        if act == Act::Regenerate && is_first {
            life.cleared = at;
        }
        if replaces {
            life.owner = None;
            return;
        }
        life.writers.push((by, at));
        self.note_owner(by, session, owner, at);
        self.note_shown(by, session, planned);
    }

    pub(super) fn touched(
        &mut self,
        by: Option<RequestNo>,
        key: SessionKey,
        expires_at: Timestamp,
        outcome: Touched,
    ) {
        let (Some(session), Some(by)) = (self.session_of(key), by) else { return };
        self.tell(|_| format!("{} touches session {}: {outcome:?}", History::name(by), session + 1));
        if outcome != Touched::Stored {
            return;
        }
        if !self.sessions[session].is_there(self.now) {
            self.violate(I4, format!("session {} has ended, and a touch finds it", session + 1));
            return;
        }
        self.check_authority(by, session, "moves the expiry of");
        self.look(by, session);
        let life = &mut self.sessions[session];
        life.expires_at = life.expires_at.max(expires_at);
    }

    /// A request deletes a record.
    pub(super) fn deleted(&mut self, by: RequestNo, key: SessionKey, live: bool, setting: &Setting) {
        let Some(session) = self.session_of(key) else { return };
        self.tell(|_| {
            let gone = if live { "" } else { ", which is gone already" };
            format!("{} deletes session {}{gone}", History::name(by), session + 1)
        });
        self.check_delete(session, live);
        if !live {
            return;
        }
        let life = &self.sessions[session];
        let request = &self.requests[by];
        let end = match request.act {
            Act::SignIn(person) if setting.limit.is_some() && life.owner == Some(person) => End::Limit(by),
            Act::SignOut if self.opened_it(by, session) => End::SignedOut(by),
            // The answer to the creation was lost, so it withdraws what nobody can open.
            _ if life.creator == Some(by) && request.faulted => End::Withdrawn,
            act => {
                self.violate(
                    I4,
                    format!("{}, which {act}, deletes session {}", History::name(by), session + 1),
                );
                return;
            }
        };
        self.end(session, end);
    }

    pub(super) fn check_delete(&mut self, session: SessionNo, live: bool) {
        if live != self.sessions[session].is_there(self.now) {
            self.violate(I4, format!("a delete of session {} says {live}, which is not so", session + 1));
        }
    }

    pub(super) fn end(&mut self, session: SessionNo, end: End) {
        self.tick();
        let life = &mut self.sessions[session];
        life.exists = false;
        life.end = Some(end);
    }

    /// Whether the request opened the session, with the id that it carried.
    pub(super) fn opened_it(&self, by: RequestNo, session: SessionNo) -> bool {
        let opened = self.requests[by].opened.as_ref();
        opened.is_some_and(|opened| opened.key == Some(self.sessions[session].key))
    }

    /// Old authority writes nothing into new authority.
    fn check_authority(&mut self, by: RequestNo, session: SessionNo, does: &str) {
        let request = &self.requests[by];
        if request.who == Who::Operator {
            return;
        }
        let own_change = self.change_by(by, session).map(|change| change.at);
        let opened = request.loaded.filter(|_| self.opened_it(by, session));
        let creation = (self.sessions[session].creator == Some(by)).then_some(0);
        let Some(since) = own_change.max(opened).or(creation) else {
            self.violate(
                I5,
                format!("{} {does} session {}, which it did not open", History::name(by), session + 1),
            );
            return;
        };
        let others = |change: &&Change| change.by != by && change.at > since;
        if let Some(change) = self.sessions[session].changes.iter().find(others) {
            let (own, other) = (History::name(by), History::name(change.by));
            self.violate(
                I5,
                format!("{own} {does} session {}, whose id {other} had changed meanwhile", session + 1),
            );
        }
    }

    fn note_owner(&mut self, by: RequestNo, session: SessionNo, owner: Option<Person>, at: At) {
        let before = self.sessions[session].owner;
        let life = &mut self.sessions[session];
        life.owner = owner;
        let (act, begun) = (self.requests[by].act, self.requests[by].begun);
        match (before, owner) {
            (before, after) if before == after => return,
            (_, Some(person)) if act.signs_in() != Some(person) => {
                self.violate(I6, format!("session {} is {person}'s, whom nobody signed in", session + 1));
            }
            (Some(before), Some(after)) => {
                self.violate(I7, format!("session {} was {before}'s and is {after}'s", session + 1));
            }
            (Some(person), None) if act != Act::Regenerate => {
                self.violate(
                    I6,
                    format!("session {} is {person}'s no more, and nobody asked for that", session + 1),
                );
            }
            _ => {}
        }
        let revoked =
            |(revoked, whose): &&(At, Person)| Some(*whose) == owner && begun < *revoked && *revoked < at;
        if self.revocations.iter().any(|revocation| revoked(&revocation)) {
            self.except(Exception::E8);
        }
    }

    /// With this write the request notes that its client showed the successor of an older id.
    fn note_shown(&mut self, by: RequestNo, session: SessionNo, planned: Timestamp) {
        let Some(shown) = self.requests[by].carried.filter(|_| self.opened_it(by, session)) else { return };
        for issued in &mut self.ids {
            if issued.successor == Some(shown) && issued.session == session {
                issued.retired.get_or_insert((planned, by));
            }
        }
    }

    pub(super) fn session_name(&self, session: Option<SessionNo>) -> String {
        session.map_or_else(|| "an unknown session".to_owned(), |session| format!("session {}", session + 1))
    }
}
