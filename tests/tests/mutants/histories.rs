//! Broken only in histories: Y1 and Y2.

use crate::prelude::*;

pub(crate) fn mutants() -> Vec<Caught> {
    vec![
        caught::<LoadsLagBehind>(),
        caught::<SavesConflictUnderLoad>(),
        caught::<ConflictIsJudgedByAnOldLook>(),
        caught::<TouchIsLostUnderLoad>(),
        caught::<DeleteIsLateUnderLoad>(),
        caught::<AbandonedSavesFlicker>(),
        caught::<EverySeventhSaveIsLost>(),
        caught::<SaveAfterATouchKeepsIt>(),
        caught::<ASavedSessionCannotBeSavedEmpty>(),
        caught::<DeleteOwnedForgetsTheTouched>(),
        caught::<CreateAfterDeleteKeepsTheOwner>(),
    ]
}

mutant! { Y1 LoadsLagBehind(Mutex<HashMap<SessionKey, Option<Record>>>); load(self, at, key) {
    // A replica that is one load behind.
    let now = at.load(key).await?;
    let before = self.0.lock().unwrap().insert(key, now.clone());
    Ok(before.unwrap_or(now))
}}

mutant! { Y1 SavesConflictUnderLoad; save(self, at, key, expected, record) {
    if at.0.flag.swap(true, SeqCst) { return Ok(Saved::Conflict); }
    meanwhile().await;
    let saved = at.save(key, expected, record).await;
    at.0.flag.store(false, SeqCst);
    saved
}}

mutant! { Y1 ConflictIsJudgedByAnOldLook(Mutex<HashMap<SessionKey, Revision>>); save(self, at, key, expected, record) {
    // What this handle saw last decides, before the storage is asked.
    let seen = self.0.lock().unwrap().get(&key).copied();
    if seen.is_some_and(|seen| seen != expected) {
        self.0.lock().unwrap().remove(&key);
        return Ok(Saved::Conflict);
    }
    let saved = at.save(key, expected, record).await?;
    if saved == Saved::Stored { self.0.lock().unwrap().insert(key, record.revision); }
    Ok(saved)
}}

mutant! { Y1 TouchIsLostUnderLoad; touch(self, at, key, expected, expires_at) {
    if at.0.count.fetch_add(1, SeqCst) % 3 == 2 {
        // Tells as it would, by a touch that moves nothing.
        return at.touch(key, expected, Timestamp::EPOCH).await;
    }
    at.touch(key, expected, expires_at).await
}}

mutant! { Y1 DeleteIsLateUnderLoad; delete(self, at, key) {
    let there = at.load(key).await?.is_some();
    let at = at.clone();
    tokio::spawn(async move { meanwhile().await; at.lock().remove(&key); });
    Ok(there)
}}

mutant! { Y1 AbandonedSavesFlicker; save(self, at, key, expected, record) {
    // Visible, taken back, visible again: an abandoned save shows it to others.
    let old = at.lock().get(&key).cloned();
    let saved = at.save(key, expected, record).await?;
    if saved == Saved::Stored && let Some(old) = old {
        meanwhile().await;
        at.lock().insert(key, old);
        meanwhile().await;
        at.lock().insert(key, record.clone());
    }
    Ok(saved)
}}

mutant! { Y2 EverySeventhSaveIsLost; save(self, at, key, expected, record) {
    let old = at.lock().get(&key).cloned();
    let saved = at.save(key, expected, record).await?;
    if saved == Saved::Stored && at.0.count.fetch_add(1, SeqCst) % 7 == 6 && let Some(old) = old {
        at.lock().insert(key, old);
    }
    Ok(saved)
}}

mutant! { Y2 SaveAfterATouchKeepsIt;
    touch(self, at, key, expected, expires_at) {
        let touched = at.touch(key, expected, expires_at).await?;
        if touched == Touched::Stored { at.0.index.lock().unwrap().insert(key, None); }
        Ok(touched)
    }
    save(self, at, key, expected, record) {
        let touched = at.0.index.lock().unwrap().remove(&key).is_some();
        let old = at.load(key).await?.map(|found| found.expires_at);
        let expires_at = old.filter(|_| touched).unwrap_or(record.expires_at).max(record.expires_at);
        at.save(key, expected, &Record { expires_at, ..record.clone() }).await
    }
}

mutant! { Y2 ASavedSessionCannotBeSavedEmpty;
    save(self, at, key, expected, record) {
        if record.payload.is_empty() && at.0.index.lock().unwrap().contains_key(&key) {
            let current = at.load(key).await?.is_some_and(|found| found.revision == expected);
            if current { return Ok(Saved::Conflict); }
        }
        let saved = at.save(key, expected, record).await?;
        if saved == Saved::Stored { at.0.index.lock().unwrap().insert(key, None); }
        Ok(saved)
    }
}

mutant! { Y2 DeleteOwnedForgetsTheTouched;
    touch(self, at, key, expected, expires_at) {
        at.0.index.lock().unwrap().insert(key, None);
        at.touch(key, expected, expires_at).await
    }
    delete_owned(self, at, owner, keep) {
        let touched: Vec<_> = at.0.index.lock().unwrap().keys().copied().collect();
        let saved: Vec<_> =
            touched.into_iter().filter_map(|key| Some((key, at.lock().get(&key)?.clone()))).collect();
        let count = at.delete_owned(owner, keep).await?;
        at.lock().extend(saved);
        Ok(count)
    }
}

mutant! { Y2 CreateAfterDeleteKeepsTheOwner;
    delete(self, at, key) {
        let owner = at.lock().get(&key).and_then(|found| found.owner.clone());
        at.0.index.lock().unwrap().insert(key, owner);
        at.delete(key).await
    }
    create(self, at, key, record) {
        let left = at.0.index.lock().unwrap().get(&key).cloned().flatten();
        at.create(key, &Record { owner: record.owner.clone().or(left), ..record.clone() }).await
    }
}
