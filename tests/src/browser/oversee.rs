//! What happens from outside: revocations and expiry; and looks into the store that no request takes.

use session_core::{Record, Result, Revision, Saved, SessionLimit, Timestamp};

use super::Exception;
use super::history::{Done, End, Life, Request, SessionNo, Standing};
use super::play::World;
use super::schedule::{Person, Step};
use crate::Rule::{I4, I7, I9};

impl World {
    pub(super) async fn oversee(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Revoke { session } => self.revoke(session).await,
            Step::RevokeAll(person) => self.revoke_owned(person, false).await,
            Step::RevokeOthers(person) => self.revoke_owned(person, true).await,
            Step::Expire { session } => self.expire(session).await,
            _ => Ok(()),
        }
    }

    fn pick(&self, session: u8) -> Option<SessionNo> {
        self.desk.history(|it| {
            let at = usize::from(session).checked_rem(it.sessions.len())?;
            it.sessions[at].is_there(it.now).then_some(at)
        })
    }

    async fn revoke(&mut self, session: u8) -> Result<()> {
        let Some(session) = self.pick(session) else { return Ok(()) };
        let key = self.desk.history(|it| it.sessions[session].key);
        let live = self.managers[0].revoke(key).await?;
        self.desk.history(|it| {
            it.tell(|_| format!("an administrator revokes session {}", session + 1));
            it.check_delete(session, live);
            it.end(session, End::Revoked);
            it.sessions[session].ended_for_good = Some("its revocation");
        });
        Ok(())
    }

    async fn revoke_owned(&mut self, person: Person, keeps: bool) -> Result<()> {
        if !self.has_owner_index {
            return Ok(());
        }
        let (owner, kept) = self.desk.history(|it| {
            let kept = self.jar.cookie.map(|cookie| it.ids[cookie.id].session);
            (it.owner(person), kept.filter(|_| keeps))
        });
        let manager = &self.managers[0];
        let ended = match kept.map(|session| self.desk.history(|it| it.sessions[session].key)) {
            Some(keep) => manager.revoke_others_of(&owner, keep).await?,
            None if keeps => return Ok(()),
            None => manager.revoke_all_of(&owner).await?,
        };
        self.desk.history(|it| {
            it.tell(|_| {
                let which = if keeps { "other sessions" } else { "sessions" };
                format!("all {which} of {person} are revoked")
            });
            let at = it.tick();
            if !keeps {
                it.revocations.push((at, person));
            }
            let mut count = 0;
            for session in 0..it.sessions.len() {
                let life = &it.sessions[session];
                if life.is_there(it.now) && life.owner == Some(person) && Some(session) != kept {
                    count += 1;
                    it.end(session, End::Revoked);
                    it.sessions[session].ended_for_good = Some("a revocation of all its owner's");
                }
            }
            if ended != count {
                it.violate(I4, format!("{person} had {count} sessions, and {ended} were revoked"));
            }
        });
        Ok(())
    }

    /// The session's time is up before the clock says so: on a server nobody can set the clock.
    async fn expire(&mut self, session: u8) -> Result<()> {
        let Some(session) = self.pick(session) else { return Ok(()) };
        let key = self.desk.history(|it| it.sessions[session].key);
        let Some(record) = self.store.load(key).await? else { return Ok(()) };
        let over = Record { revision: Revision::generate()?, expires_at: Timestamp::EPOCH, ..record };
        if self.store.save(key, record.revision, &over).await? == Saved::Stored {
            self.desk.history(|it| {
                it.tell(|_| format!("session {} expires", session + 1));
                it.end(session, End::Expired);
            });
        }
        Ok(())
    }

    /// Nothing of the browser is under way.
    pub(super) async fn judge_jar(&mut self) -> Result<()> {
        let jar = &mut self.jar;
        let id = self.desk.history(|it| {
            jar.judge(it);
            let id = jar.cookie.map(|cookie| cookie.id).filter(|_| it.violation.is_none())?;
            Some((it.ids[id].id.clone(), it.standing(id) == Standing::Opens))
        });
        let Some((id, opens)) = id else { return Ok(()) };
        let session = self.managers[0].open(Some(&id)).await?;
        if session.key().is_some() != opens {
            let what = if opens { "opens nothing" } else { "opens a session" };
            self.desk.history(|it| it.violate(I9, format!("the browser's cookie {what}, which is wrong")));
        }
        Ok(())
    }

    /// At the end of a run: what has ended is gone for good, and lists say what there is.
    pub(super) async fn judge_all(&mut self) -> Result<()> {
        let ended: Vec<_> = self.desk.history(|it| {
            let ended = |(at, life): (usize, &Life)| {
                life.ended_for_good.map(|why| (at, life.key, life.is_tombstone(), why))
            };
            it.sessions.iter().enumerate().filter_map(ended).collect()
        });
        for (session, key, is_tombstone, why) in ended {
            let record = self.store.load(key).await?;
            if record.is_some_and(|record| !is_tombstone || record.owner.is_some()) {
                self.desk.history(|it| {
                    it.violate(I4, format!("session {} is there after {why}", session + 1));
                });
            }
            let ids: Vec<_> = self.desk.history(|it| {
                let own = it.ids.iter().filter(|issued| issued.session == session);
                own.map(|issued| issued.id.clone()).collect()
            });
            for id in ids {
                if self.managers[0].open(Some(&id)).await?.key().is_some() {
                    self.desk.history(|it| {
                        it.violate(I4, format!("session {} opens after {why}", session + 1));
                    });
                }
            }
        }
        if self.has_owner_index {
            for person in Person::ALL {
                self.judge_list(person).await?;
            }
        }
        self.judge_limit();
        self.note_phantoms();
        Ok(())
    }

    async fn judge_list(&mut self, person: Person) -> Result<()> {
        let owner = self.desk.history(|it| it.owner(person));
        let mut listed: Vec<_> =
            self.managers[0].sessions_of(&owner).await?.iter().map(|info| info.key()).collect();
        listed.sort_unstable();
        self.desk.history(|it| {
            let own = it.sessions.iter().filter(|life| life.is_live(it.now) && life.owner == Some(person));
            let mut wanted: Vec<_> = own.map(|life| life.key).collect();
            wanted.sort_unstable();
            if listed != wanted {
                let (listed, wanted) = (listed.len(), wanted.len());
                it.violate(I7, format!("{person} has {wanted} sessions, and {listed} are listed"));
            }
        });
        Ok(())
    }

    /// Once every sign-in is done, nobody has more sessions than the limit says.
    fn judge_limit(&mut self) {
        let Some(SessionLimit::EndOldest(most) | SessionLimit::Refuse(most)) = self.setting.limit else {
            return;
        };
        self.desk.history(|it| {
            for person in Person::ALL {
                let signs_in = |request: &&Request| request.act.signs_in() == Some(person);
                let done = |request: &Request| matches!(&request.done, Some(Done { commit: Ok(_), .. }));
                let all_done = it.requests.iter().filter(signs_in).all(done);
                let own = |life: &&Life| life.is_live(it.now) && life.owner == Some(person);
                let count = it.sessions.iter().filter(own).count();
                if all_done && count > most {
                    it.violate(I7, format!("{person} has {count} sessions, and the limit is {most}"));
                }
            }
        });
    }

    /// Sessions of the browser's users that its cookie does not open, and that are live.
    fn note_phantoms(&mut self) {
        let own = self.jar.cookie.map(|cookie| cookie.id);
        self.desk.history(|it| {
            let own = own.map(|id| it.ids[id].session);
            let phantom = it.sessions.iter().enumerate().any(|(at, life)| {
                let browsers = life.creator.is_some_and(|creator| it.is_browsers(creator));
                browsers && life.is_live(it.now) && Some(at) != own
            });
            if phantom && it.violation.is_none() {
                it.except(Exception::E5);
            }
        });
    }
}
