//! What the rules are for: sessions of concurrent requests, through the manager that applications use.

use session_core::{Error, Outcome as Done, Owner, SessionId, SessionManager};

use crate::Rule::{C1, O4, S1, S2, S3, S4};
use crate::case::{Entry, case};
use crate::race::{Work, all};
use crate::test::{Outcome, Test};

pub(super) const CASES: &[Entry] = &[
    case!(sessions::of_many_requests_count_every_increment: S4, S2),
    case!(sessions::keep_what_two_requests_put_under_different_keys: S2),
    case!(sessions::that_ended_stay_so_whatever_a_late_request_does: S3),
    case!(sessions::that_ended_everywhere_stay_so_in_every_late_request: O4, S3; needs OwnerIndex),
    case!(sessions::whose_id_was_rotated_open_by_the_new_secret_only: S1),
    case!(sessions::whose_records_were_swapped_open_neither: C1),
];

async fn of_many_requests_count_every_increment(t: &Test) -> Outcome {
    const TASKS: usize = 8;
    const EACH: usize = 20;
    let managers = managers(t).await?;
    let id = stored(t, &managers[0]).await?;
    let mut work: Vec<Work> = Vec::new();
    for task in 0..TASKS {
        let (manager, id, log) = (managers[task % 2].clone(), id.clone(), t.log());
        work.push(Box::pin(async move {
            for _ in 0..EACH {
                let counted = increment(&manager, &id).await;
                counted.map_err(|error| log.failure(S4, "a session that is saved", error))?;
            }
            Ok(())
        }));
    }
    all(work).await?;
    t.log().note(&format!("{TASKS} tasks, {EACH} increments each, one session, two handles"));
    let session = t.did("open", managers[0].open(Some(&id)).await)?;
    t.want(S4, t.did("get", session.get::<usize>("n"))?, Some(TASKS * EACH))
}

async fn increment(manager: &SessionManager, id: &SessionId) -> Result<(), Error> {
    let session = manager.open(Some(id)).await?;
    session.update("n", |n: Option<usize>| n.unwrap_or(0) + 1)?;
    manager.commit(&session).await.map(drop)
}

async fn keep_what_two_requests_put_under_different_keys(t: &Test) -> Outcome {
    let managers = managers(t).await?;
    let id = stored(t, &managers[0]).await?;
    let first = t.did("open", managers[0].open(Some(&id)).await)?;
    let second = t.did("open", managers[1].open(Some(&id)).await)?;
    t.did("insert", first.insert("first", 1))?;
    t.did("insert", second.insert("second", 2))?;
    for (manager, session) in managers.iter().zip([&first, &second]) {
        t.want(S2, t.did("commit", manager.commit(session).await)?.outcome, Done::Saved)?;
    }
    t.log().note("two requests opened one session, each put a key in and committed");
    let session = t.did("open", managers[0].open(Some(&id)).await)?;
    t.want(S2, session.keys(), vec!["first".to_owned(), "n".to_owned(), "second".to_owned()])
}

async fn that_ended_stay_so_whatever_a_late_request_does(t: &Test) -> Outcome {
    let managers = managers(t).await?;
    for rotates in [false, true] {
        let id = stored(t, &managers[0]).await?;
        let late = t.did("open", managers[0].open(Some(&id)).await)?;
        t.did("insert", late.insert("n", 9))?;
        if rotates {
            late.rotate_id();
        }
        let leaving = t.did("open", managers[1].open(Some(&id)).await)?;
        leaving.destroy();
        t.want(S3, t.did("commit", managers[1].commit(&leaving).await)?.outcome, Done::Destroyed)?;
        t.log().note("one request destroyed the session while another one had it open and changed it");
        t.want(S3, t.did("commit", managers[0].commit(&late).await)?.outcome, Done::Ended)?;
        let live = t.did("list", managers[0].sessions(None, 10).await)?.0;
        t.ensure(S3, live.is_empty(), "no session", format!("{} sessions", live.len()))?;
    }
    Ok(())
}

async fn that_ended_everywhere_stay_so_in_every_late_request(t: &Test) -> Outcome {
    let managers = managers(t).await?;
    let owner: Owner = t.owner("ann")?;
    let mut late = Vec::new();
    for rotates in [false, true, false] {
        let session = t.did("open", managers[0].open(None).await)?;
        session.sign_in(owner.clone());
        t.want(O4, t.did("commit", managers[0].commit(&session).await)?.outcome, Done::Created)?;
        t.did("insert", session.insert("n", 1))?;
        if rotates {
            session.rotate_id();
        }
        late.push(session);
    }
    t.log().note("an owner signed in three times, and each session has changes that are not committed");
    let kept = late[0].key().ok_or_else(|| t.log().failure(C1, "a session that is stored", "no key"))?;
    let revoked = managers[1].revoke_others_of(&owner, kept).await;
    t.want(O4, t.did("revoke_others_of", revoked)?, 2)?;
    for (session, wanted) in late.iter().zip([Done::Saved, Done::Ended, Done::Ended]) {
        t.want(O4, t.did("commit", managers[0].commit(session).await)?.outcome, wanted)?;
    }
    let left = t.did("list", managers[0].sessions_of(&owner).await)?;
    t.ensure(O4, left.len() == 1, "the one session that was kept", format!("{} sessions", left.len()))
}

async fn whose_id_was_rotated_open_by_the_new_secret_only(t: &Test) -> Outcome {
    let managers = managers(t).await?;
    let old = stored(t, &managers[0]).await?;
    let session = t.did("open", managers[0].open(Some(&old)).await)?;
    session.rotate_id();
    t.want(S1, t.did("commit", managers[0].commit(&session).await)?.outcome, Done::Rotated)?;
    t.log().note("a session's id was rotated");
    let under_old = t.did("open", managers[1].open(Some(&old)).await)?;
    let nothing = under_old.is_superseded() && under_old.is_empty();
    t.ensure(S1, nothing, "the old id opens nothing", "it opens the session")?;
    let under_new = t.did("open", managers[1].open(session.id().as_ref()).await)?;
    t.want(S1, under_new.key(), Some(old.key()))?;
    t.want(S1, t.did("get", under_new.get::<usize>("n"))?, Some(0))
}

/// As after a restore that went wrong, or a reply that went astray: each key holds the other one's record.
async fn whose_records_were_swapped_open_neither(t: &Test) -> Outcome {
    let managers = managers(t).await?;
    let ids = [stored(t, &managers[0]).await?, stored(t, &managers[1]).await?];
    t.swap(&t.store().await?, ids[0].key(), ids[1].key()).await?;
    for id in &ids {
        let session = t.did("open", managers[0].open(Some(id)).await)?;
        let refused = session.is_empty() && session.key().is_none();
        t.ensure(C1, refused, "an id does not open the record of another session", "it opens it")?;
    }
    Ok(())
}

/// A manager on each of two handles.
async fn managers(t: &Test) -> Outcome<Vec<SessionManager>> {
    Ok(t.raw_stores(2).await?.into_iter().map(SessionManager::new).collect())
}

/// A stored session with one entry, `n` = 0.
async fn stored(t: &Test, manager: &SessionManager) -> Outcome<SessionId> {
    let session = t.did("open", manager.open(None).await)?;
    t.did("insert", session.insert("n", 0))?;
    let commit = t.did("commit", manager.commit(&session).await)?;
    match session.id() {
        Some(id) => Ok(id),
        None => Err(t.log().failure(C1, "a session that is stored", format!("{commit:?}"))),
    }
}
