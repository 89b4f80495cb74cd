//! How long sessions live, and how large they may grow.

use std::time::Duration;

use crate::{Error, ErrorKind, Result, Timestamp};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long sessions live, and how large they may grow.
///
/// Both limits are held by the server, in the record's expiry: a cookie's `Max-Age` is never what ends a session
/// (OWASP). The named policies are the values that the standards give.
///
/// | | idle timeout | absolute lifetime | from |
/// |---|---|---|---|
/// | [`Policy::default`] | 24 hours | 30 days | NIST SP 800-63B AAL1 |
/// | [`Policy::low_risk`] | 30 minutes | 8 hours | OWASP, low risk, an office day |
/// | [`Policy::high_value`] | 5 minutes | 4 hours | OWASP, high value |
/// | [`Policy::nist_aal2`] | 30 minutes | 12 hours | NIST SP 800-63B AAL2 |
/// | [`Policy::nist_aal3`] | 15 minutes | 12 hours | NIST SP 800-63B AAL3 |
///
/// ```
/// use session_core::Policy;
/// use std::time::Duration;
///
/// let policy = Policy::default().with_idle_timeout(Duration::from_secs(31 * 24 * 60 * 60));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    idle_timeout: Duration,
    absolute_lifetime: Option<Duration>,
    touch_share: f64,
    renew_after: Option<Duration>,
    renew_grace: Duration,
    superseded_for: Duration,
    longest: Option<Lifetime>,
    undecodable: Undecodable,
    max_payload: usize,
    max_attempts: u32,
    session_limit: Option<SessionLimit>,
}

/// How long one session lives, in place of what the policy says for all: "remember me".
///
/// See [`Session::set_lifetime`](crate::Session::set_lifetime) and [`Policy::with_longest_lifetime`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// How long the session lives after its last use; in whole milliseconds, as every lifetime.
    pub idle_timeout: Duration,
    /// How long it lives at most, however much it is used. `None`: for ever.
    pub absolute: Option<Duration>,
}

impl Lifetime {
    /// As it is kept in a record: in whole milliseconds.
    pub(crate) fn in_millis(self) -> Self {
        let whole = |span: Duration| {
            let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
            Duration::from_millis(millis.unsigned_abs())
        };
        Self { idle_timeout: whole(self.idle_timeout), absolute: self.absolute.map(whole) }
    }

    /// The shorter of both, in each part.
    fn min(self, other: Self) -> Self {
        let absolute = match (self.absolute, other.absolute) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self { idle_timeout: self.idle_timeout.min(other.idle_timeout), absolute }
    }
}

/// What becomes of a stored session that cannot be read: its bytes are damaged, or its codec or sealing key is gone.
///
/// It is never applied to a storage that fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Undecodable {
    /// To open it is an error, of kind [`Corrupt`](crate::ErrorKind::Corrupt) or [`Codec`](crate::ErrorKind::Codec), for
    /// as long as its record lives: nothing is lost while an operator looks for the key.
    #[default]
    Error,
    /// It counts as ended, is logged and counted, and its visitor begins anew and can sign in. The record stays until it
    /// expires.
    Ended,
}

/// How many sessions an owner may have at a time, and what happens at the limit (ASVS 7.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionLimit {
    /// A sign-in beyond that many fails with [`TooManySessions`](crate::ErrorKind::TooManySessions).
    Refuse(usize),
    /// A sign-in beyond that many ends the session that began first.
    EndOldest(usize),
}

impl SessionLimit {
    pub(crate) fn max(self) -> usize {
        match self {
            Self::Refuse(max) | Self::EndOldest(max) => max,
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            idle_timeout: DAY,
            absolute_lifetime: Some(30 * DAY),
            touch_share: 0.1,
            renew_after: None,
            renew_grace: MINUTE / 2,
            superseded_for: 5 * MINUTE,
            longest: None,
            undecodable: Undecodable::Error,
            max_payload: 1 << 20,
            max_attempts: 32,
            session_limit: None,
        }
    }
}

impl Policy {
    /// OWASP's upper values for applications of low risk: 30 minutes idle, 8 hours in all.
    #[must_use]
    pub fn low_risk() -> Self {
        Self::default().with_idle_timeout(30 * MINUTE).with_absolute_lifetime(Some(8 * HOUR))
    }

    /// OWASP's upper values for applications of high value: 5 minutes idle, 4 hours in all.
    #[must_use]
    pub fn high_value() -> Self {
        Self::default().with_idle_timeout(5 * MINUTE).with_absolute_lifetime(Some(4 * HOUR))
    }

    /// NIST SP 800-63B at AAL2, the stricter reading: 30 minutes idle, 12 hours in all.
    #[must_use]
    pub fn nist_aal2() -> Self {
        Self::default().with_idle_timeout(30 * MINUTE).with_absolute_lifetime(Some(12 * HOUR))
    }

    /// NIST SP 800-63B at AAL3: 15 minutes idle, 12 hours in all.
    #[must_use]
    pub fn nist_aal3() -> Self {
        Self::default().with_idle_timeout(15 * MINUTE).with_absolute_lifetime(Some(12 * HOUR))
    }

    /// How long a session lives after its last use.
    #[must_use]
    pub fn with_idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// How long a session lives at most, however much it is used; counted from its creation, and anew when an owner
    /// signs in. `None`: for ever.
    #[must_use]
    pub fn with_absolute_lifetime(mut self, lifetime: Option<Duration>) -> Self {
        self.absolute_lifetime = lifetime;
        self
    }

    /// Which share of the idle timeout has to pass before a session's expiry is moved, 0.0 to 1.0.
    ///
    /// 0.1, the default: a busy session is touched once in a tenth of the idle timeout, its saves leave the indexes of
    /// a database alone meanwhile, and it ends up to a tenth of the idle timeout early. 0.0 moves it with each request.
    #[must_use]
    pub fn with_touch_share(mut self, share: f64) -> Self {
        self.touch_share = share;
        self
    }

    /// After which age of its id a session gets a new one by itself (OWASP's renewal timeout). Default: never.
    ///
    /// The old id opens the session until the client has shown the new one, and for
    /// [`with_renewal_grace`](Self::with_renewal_grace) after that, so that answers may get lost or overtake each other
    /// (`[I3]`); after [`rotate_id`](crate::Session::rotate_id) and a sign-in it never does.
    #[must_use]
    pub fn with_renewal_after(mut self, age: Option<Duration>) -> Self {
        self.renew_after = age;
        self
    }

    /// How long the old id still opens the session after the client has shown the one that a renewal by age gave it.
    /// Default: 30 seconds.
    #[must_use]
    pub fn with_renewal_grace(mut self, grace: Duration) -> Self {
        self.renew_grace = grace;
        self
    }

    /// For how long after a change of id a request with an older one is recognised as *superseded*: it opens nothing,
    /// writes nothing, and starts no new session over the browser's new cookie (`[I3]`, `[I5]`). Default: 5 minutes, which
    /// should be longer than a request may wait before it begins.
    #[must_use]
    pub fn with_superseded_for(mut self, time: Duration) -> Self {
        self.superseded_for = time;
        self
    }

    /// The longest lifetime that a session may ask for with [`Session::set_lifetime`](crate::Session::set_lifetime).
    /// Default: the policy's own idle timeout and absolute lifetime, so that a session can only ask for less.
    ///
    /// It is applied each time that a session is used, so a shorter one also reaches what is stored.
    #[must_use]
    pub fn with_longest_lifetime(mut self, longest: Lifetime) -> Self {
        self.longest = Some(longest);
        self
    }

    /// What becomes of stored sessions that cannot be read. Default: [`Undecodable::Error`].
    #[must_use]
    pub fn with_undecodable(mut self, undecodable: Undecodable) -> Self {
        self.undecodable = undecodable;
        self
    }

    /// The largest encoded session in bytes; over it a commit fails with
    /// [`TooLarge`](crate::ErrorKind::TooLarge). Default: 1 MiB, which is also the stores' default.
    #[must_use]
    pub fn with_max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = bytes;
        self
    }

    /// How often a commit tries before it gives up with [`Contended`](crate::ErrorKind::Contended). Default: 32.
    #[must_use]
    pub fn with_max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Limits how many sessions an owner may have at a time. Default: no limit.
    ///
    /// Each sign-in then lists the owner's sessions, once before it is stored and once after; the second look
    /// settles sign-ins that raced each other.
    #[must_use]
    pub fn with_session_limit(mut self, limit: Option<SessionLimit>) -> Self {
        self.session_limit = limit;
        self
    }

    /// The idle timeout.
    #[must_use]
    pub fn idle_timeout(&self) -> Duration {
        self.idle_timeout
    }

    /// The absolute lifetime.
    #[must_use]
    pub fn absolute_lifetime(&self) -> Option<Duration> {
        self.absolute_lifetime
    }

    pub(crate) fn renew_grace(&self) -> Duration {
        self.renew_grace
    }

    pub(crate) fn superseded_for(&self) -> Duration {
        self.superseded_for
    }

    pub(crate) fn undecodable(&self) -> Undecodable {
        self.undecodable
    }

    /// When a session that began at `created_at`, and asked for `lifetime`, is over however much it is used: for interfaces,
    /// whose cookie may last that long. `None`: never.
    #[must_use]
    pub fn latest_end(&self, created_at: Timestamp, lifetime: Option<Lifetime>) -> Option<Timestamp> {
        self.lifetime(lifetime).end(created_at)
    }

    /// When such a session ends that is used at `used_at` and not again: for interfaces that keep sessions themselves.
    #[must_use]
    pub fn end_if_used_at(
        &self,
        used_at: Timestamp,
        created_at: Timestamp,
        lifetime: Option<Lifetime>,
    ) -> Timestamp {
        self.lifetime(lifetime).expiry(used_at, created_at)
    }

    /// What holds for a session that asked for `wanted`: within the bounds.
    pub(crate) fn lifetime(&self, wanted: Option<Lifetime>) -> Lifetime {
        let own = Lifetime { idle_timeout: self.idle_timeout, absolute: self.absolute_lifetime };
        wanted.map_or(own, |wanted| wanted.min(self.longest.unwrap_or(own))).in_millis()
    }

    pub(crate) fn max_payload(&self) -> usize {
        self.max_payload
    }

    pub(crate) fn max_attempts(&self) -> u32 {
        self.max_attempts
    }

    pub(crate) fn session_limit(&self) -> Option<SessionLimit> {
        self.session_limit
    }

    /// Checks that the values can work together.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] that says which value cannot work.
    pub fn check(&self) -> Result<()> {
        let problem = if self.idle_timeout < Duration::from_millis(1) {
            "the idle timeout is under one millisecond: sessions would end before the next request"
        } else if self.absolute_lifetime.is_some_and(|lifetime| lifetime < Duration::from_millis(1)) {
            "the absolute lifetime is under one millisecond: sessions would end before the next request"
        } else if self.longest.is_some_and(|longest| longest.min(self.lifetime(None)) != self.lifetime(None))
        {
            "the longest lifetime is shorter than the policy's own"
        } else if !(0.0..=1.0).contains(&self.touch_share) {
            "the touch share is not between 0.0 and 1.0"
        } else if self.max_attempts == 0 {
            "the number of attempts is 0: nothing could be saved"
        } else if self.session_limit.is_some_and(|limit| limit.max() == 0) {
            "the limit of sessions per owner is 0: nobody could sign in"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::InvalidConfig, problem))
    }

    /// The new expiry of a session that was only read, if it is worth a write.
    pub(crate) fn touch(
        &self,
        lifetime: Lifetime,
        now: Timestamp,
        created_at: Timestamp,
        expires_at: Timestamp,
    ) -> Option<Timestamp> {
        let wanted = lifetime.expiry(now, created_at);
        let gained = wanted.saturating_since(expires_at);
        (!gained.is_zero() && gained >= lifetime.idle_timeout.mul_f64(self.touch_share)).then_some(wanted)
    }

    /// The expiry of a session that is saved now: the one that it has, until a touch is due. Who keeps sessions by
    /// their expiry then has nothing to move.
    pub(crate) fn expiry_after_save(
        &self,
        lifetime: Lifetime,
        now: Timestamp,
        created_at: Timestamp,
        expires_at: Timestamp,
    ) -> Timestamp {
        self.touch(lifetime, now, created_at, expires_at)
            .unwrap_or_else(|| expires_at.min(lifetime.expiry(now, created_at)))
    }

    /// Whether an id of that age is due for a new one.
    pub(crate) fn wants_renewal(&self, now: Timestamp, changed_at: Timestamp) -> bool {
        self.renew_after.is_some_and(|age| now.saturating_since(changed_at) >= age)
    }
}

impl Lifetime {
    /// When a session that is used now ends.
    pub(crate) fn expiry(self, now: Timestamp, created_at: Timestamp) -> Timestamp {
        let idle = now.saturating_add(self.idle_timeout);
        self.end(created_at).map_or(idle, |end| idle.min(end))
    }

    /// Whether the session is over, which was last used at `used_at` or later.
    pub(crate) fn is_over(self, now: Timestamp, created_at: Timestamp, used_at: Timestamp) -> bool {
        self.expiry(used_at, created_at) <= now
    }

    /// When the absolute lifetime ends.
    pub(crate) fn end(self, created_at: Timestamp) -> Option<Timestamp> {
        self.absolute.map(|lifetime| created_at.saturating_add(lifetime))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_000_000);

    fn policy() -> Policy {
        Policy::default().with_idle_timeout(10 * MINUTE).with_absolute_lifetime(Some(HOUR))
    }

    fn life() -> Lifetime {
        policy().lifetime(None)
    }

    #[test]
    fn a_session_gets_what_it_asks_for_within_the_bounds() {
        let wanted = Lifetime { idle_timeout: HOUR, absolute: None };
        assert_eq!(
            policy().lifetime(Some(wanted)),
            life(),
            "without bounds of its own, it can only ask for less"
        );
        let less = Lifetime { idle_timeout: MINUTE, absolute: Some(2 * MINUTE) };
        assert_eq!(policy().lifetime(Some(less)), less);
        let bound = Lifetime { idle_timeout: 2 * HOUR, absolute: Some(DAY) };
        let generous = policy().with_longest_lifetime(bound);
        assert_eq!(generous.lifetime(Some(wanted)), Lifetime { idle_timeout: HOUR, absolute: Some(DAY) });
        assert_eq!(generous.lifetime(None), life());
    }

    #[test]
    fn the_expiry_is_the_earlier_of_both_limits() {
        assert_eq!(life().expiry(START, START), START.saturating_add(10 * MINUTE));
        let late = START.saturating_add(55 * MINUTE);
        assert_eq!(life().expiry(late, START), START.saturating_add(HOUR));
        assert!(!life().is_over(late, START, late));
        assert!(life().is_over(START.saturating_add(HOUR), START, late), "the absolute lifetime");
        assert!(life().is_over(late, START, START.saturating_add(45 * MINUTE)), "the idle timeout");
    }

    #[test]
    fn a_touch_waits_for_the_set_share_and_never_passes_the_absolute_lifetime() {
        let expires_at = life().expiry(START, START);
        let just_before = START.saturating_add(MINUTE - Duration::from_millis(1));
        assert_eq!(policy().touch(life(), just_before, START, expires_at), None);
        let due = START.saturating_add(MINUTE);
        assert_eq!(policy().touch(life(), due, START, expires_at), Some(due.saturating_add(10 * MINUTE)));
        let end = START.saturating_add(HOUR);
        assert_eq!(policy().touch(life(), START.saturating_add(59 * MINUTE), START, end), None);
        let eager = policy().with_touch_share(0.0);
        assert_eq!(eager.touch(life(), START, START, expires_at), None, "nothing gained");
        assert!(
            eager.touch(life(), START.saturating_add(Duration::from_millis(1)), START, expires_at).is_some()
        );
    }

    #[test]
    fn a_save_moves_the_expiry_when_a_touch_would_and_never_past_what_the_policy_allows() {
        let expires_at = life().expiry(START, START);
        let just_before = START.saturating_add(MINUTE - Duration::from_millis(1));
        assert_eq!(policy().expiry_after_save(life(), just_before, START, expires_at), expires_at);
        let due = START.saturating_add(MINUTE);
        assert_eq!(
            policy().expiry_after_save(life(), due, START, expires_at),
            due.saturating_add(10 * MINUTE)
        );
        let stricter = policy().with_idle_timeout(MINUTE);
        let minute = stricter.lifetime(None);
        assert_eq!(
            stricter.expiry_after_save(minute, START, START, expires_at),
            START.saturating_add(MINUTE)
        );
        let eager = policy().with_touch_share(0.0);
        let next = START.saturating_add(Duration::from_millis(1));
        assert_eq!(
            eager.expiry_after_save(life(), next, START, expires_at),
            next.saturating_add(10 * MINUTE)
        );
    }

    #[test]
    fn values_that_cannot_work_are_named() {
        assert!(Policy::default().check().is_ok());
        for (bad, word) in [
            (policy().with_idle_timeout(Duration::ZERO), "idle"),
            (policy().with_absolute_lifetime(Some(Duration::ZERO)), "absolute"),
            (policy().with_touch_share(1.5), "share"),
            (policy().with_touch_share(f64::NAN), "share"),
            (policy().with_max_attempts(0), "attempts"),
            (policy().with_session_limit(Some(SessionLimit::Refuse(0))), "per owner"),
        ] {
            let error = bad.check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
