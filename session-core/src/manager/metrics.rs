//! Counts and times what the manager does, with the feature `metrics`; without it, nothing is left of this.
//!
//! No label holds an id, a key or an owner: labels must be few, and metrics are read by many.

use crate::{Commit, Result, Session};

/// How long one operation takes, and how it ended.
pub(super) struct Watch {
    #[cfg(feature = "metrics")]
    start: std::time::Instant,
}

impl Watch {
    pub(super) fn start() -> Self {
        Self {
            #[cfg(feature = "metrics")]
            start: std::time::Instant::now(),
        }
    }

    /// A session was opened; `named` when the request had an id.
    pub(super) fn opened(self, session: &Result<Session>, named: bool) {
        #[cfg(feature = "metrics")]
        {
            let result = match session {
                Err(_) => "error",
                Ok(_) if !named => "new",
                Ok(session) if session.is_superseded() => "superseded",
                Ok(session) if session.is_new() => "miss",
                Ok(_) => "hit",
            };
            metrics::counter!("session_opens_total", "result" => result).increment(1);
            metrics::histogram!("session_open_seconds").record(self.start.elapsed());
        }
        #[cfg(not(feature = "metrics"))]
        let _ = (self, session, named);
    }

    /// A session was committed.
    pub(super) fn committed(self, commit: &Result<Commit>) {
        #[cfg(feature = "metrics")]
        {
            use crate::Outcome;
            let outcome = match commit.as_ref().map(|commit| commit.outcome) {
                Err(_) => "error",
                Ok(Outcome::Unchanged) => "unchanged",
                Ok(Outcome::Touched) => "touched",
                Ok(Outcome::Created) => "created",
                Ok(Outcome::Saved) => "saved",
                Ok(Outcome::Rotated) => "rotated",
                Ok(Outcome::Destroyed) => "destroyed",
                Ok(Outcome::Ended) => "ended",
                Ok(Outcome::Superseded) => "superseded",
            };
            metrics::counter!("session_commits_total", "outcome" => outcome).increment(1);
            metrics::histogram!("session_commit_seconds").record(self.start.elapsed());
        }
        #[cfg(not(feature = "metrics"))]
        let _ = (self, commit);
    }
}

/// A write found that another request had been faster.
pub(super) fn conflict() {
    #[cfg(feature = "metrics")]
    metrics::counter!("session_conflicts_total").increment(1);
}

/// The changes of a request were put on top of a newer version.
pub(super) fn replay() {
    #[cfg(feature = "metrics")]
    metrics::counter!("session_replays_total").increment(1);
}

/// A request's secret did not open the session that its key names.
pub(super) fn refused(superseded: bool) {
    #[cfg(feature = "metrics")]
    {
        let secret = if superseded { "superseded" } else { "wrong" };
        metrics::counter!("session_refused_secrets_total", "secret" => secret).increment(1);
    }
    #[cfg(not(feature = "metrics"))]
    let _ = superseded;
}

/// A stored session could not be read, and counts as ended.
pub(super) fn undecodable() {
    #[cfg(feature = "metrics")]
    metrics::counter!("session_undecodable_total").increment(1);
}

/// Sessions were ended from outside: by their owner, or by an operator.
pub(super) fn revoked(sessions: u64) {
    #[cfg(feature = "metrics")]
    metrics::counter!("session_revocations_total").increment(sessions);
    #[cfg(not(feature = "metrics"))]
    let _ = sessions;
}
