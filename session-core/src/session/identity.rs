//! What a record knows of its session's id: the entry `_session.id`, which the seal covers and no list shows.

use std::time::Duration;

use super::RESERVED;
use crate::codec::Body;
use crate::id::{Nonce, Secret, Verifier};
use crate::policy::Lifetime;
use crate::{Error, ErrorKind, Owner, Result, SessionId, SessionKey, Timestamp, Value, random};

/// The entry's name. Its value is bytes, so that a request costs one look into the frame; `docs/format.md` has them.
pub(crate) const ENTRY: &str = "_session.id";
/// A record that holds nothing but this entry, without a verifier, is the tombstone of a session that somebody else
/// replaced by signing in.
const VERSION: u8 = 1;

mod flag {
    pub(super) const VERIFIER: u8 = 1;
    pub(super) const PENDING: u8 = 2;
    pub(super) const SHOWN: u8 = 4;
    pub(super) const OWNED: u8 = 8;
    pub(super) const LIFETIME: u8 = 16;
    pub(super) const ALL: u8 = 31;
}

/// Which secret opens a session, and how long the session lives (`[I1]`, `[I3]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Of the current secret; `None` in a tombstone, which no secret opens.
    verifier: Option<Verifier>,
    /// Boxed, because most sessions have none.
    older: Option<Box<Older>>,
    /// When the secret changed last.
    pub(crate) changed_at: Timestamp,
    /// When the session first got its present owner: the order in which a limit ends sessions.
    pub(crate) owned_since: Option<Timestamp>,
    /// The idle timeout that the record's expiry was computed with.
    pub(crate) idle: Duration,
    /// The lifetime that the session asked for in place of the policy's.
    pub(crate) lifetime: Option<Lifetime>,
}

/// The secret before a renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Older {
    verifier: Verifier,
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// The client has not shown the new secret yet; every answer hands it out, derived with this nonce.
    Pending(Nonce),
    /// The client showed the new secret at that time; the old one opens for the grace after it.
    Shown(Timestamp),
}

/// What a secret is to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    Current,
    /// Of a renewal whose new secret the client has not shown, or showed within the grace.
    Older,
    No,
}

impl Identity {
    pub(crate) fn new(secret: &Secret, now: Timestamp, idle: Duration) -> Self {
        Self {
            verifier: Some(secret.verifier()),
            older: None,
            changed_at: now,
            owned_since: None,
            idle,
            lifetime: None,
        }
    }

    /// Of a session that another owner's replaced (`[I7]`).
    pub(crate) fn tombstone(now: Timestamp) -> Self {
        Self {
            verifier: None,
            older: None,
            changed_at: now,
            owned_since: None,
            idle: Duration::ZERO,
            lifetime: None,
        }
    }

    pub(crate) fn is_tombstone(&self) -> bool {
        self.verifier.is_none()
    }

    /// The time is asked for only where it matters: each request comes here.
    pub(crate) fn fit(&self, verifier: &Verifier, now: impl FnOnce() -> Timestamp, grace: Duration) -> Fit {
        if self.verifier.as_ref() == Some(verifier) {
            Fit::Current
        } else if self.older.is_some()
            && self.open_older(now(), grace).is_some_and(|older| older.verifier == *verifier)
        {
            Fit::Older
        } else {
            Fit::No
        }
    }

    /// Whether it depends on the time what a secret with this verifier is: it is the older one, and the client showed the
    /// current one.
    pub(crate) fn is_timed(&self, verifier: &Verifier) -> bool {
        let is_it = |older: &Older| matches!(older.stage, Stage::Shown(_)) && older.verifier == *verifier;
        self.older.as_deref().is_some_and(is_it)
    }

    /// When the secrets that open the session changed last, also by the end of a grace.
    pub(crate) fn last_change(&self, grace: Duration) -> Timestamp {
        match self.older.as_deref() {
            Some(&Older { stage: Stage::Shown(at), .. }) => self.changed_at.max(at.saturating_add(grace)),
            _ => self.changed_at,
        }
    }

    /// Whether `secret` is the current one, whatever the time.
    pub(crate) fn is_opened_by(&self, secret: &Secret) -> bool {
        self.verifier == Some(secret.verifier())
    }

    fn open_older(&self, now: Timestamp, grace: Duration) -> Option<&Older> {
        self.older.as_deref().filter(|older| match older.stage {
            Stage::Pending(_) => true,
            Stage::Shown(at) => now < at.saturating_add(grace),
        })
    }

    /// The id that the client should hold, as far as it follows from the one that it showed: that one, or its successor
    /// after a renewal. `None` after the grace began: the client holds the successor already.
    pub(crate) fn id_for(&self, key: SessionKey, shown: &Secret) -> Option<SessionId> {
        if self.is_opened_by(shown) {
            return Some(SessionId::new(key, shown.clone()));
        }
        match &self.older.as_ref()?.stage {
            Stage::Pending(nonce) => Some(SessionId::new(key, shown.successor(nonce))),
            Stage::Shown(_) => None,
        }
    }

    /// An explicit change: only the new secret opens from now on.
    pub(crate) fn change(&mut self, secret: &Secret, now: Timestamp) {
        self.verifier = Some(secret.verifier());
        self.older = None;
        self.changed_at = now;
    }

    /// A renewal: the successor of `secret` is the current one from now on, and `secret` opens until the client has shown
    /// that, and for the grace after it.
    pub(crate) fn renew(&mut self, secret: &Secret, now: Timestamp) -> Result<()> {
        let nonce: Nonce = random::bytes()?;
        self.older = Some(Box::new(Older { verifier: secret.verifier(), stage: Stage::Pending(nonce) }));
        self.verifier = Some(secret.successor(&nonce).verifier());
        self.changed_at = now;
        Ok(())
    }

    /// Whether a renewal may begin: no older secret opens the session.
    pub(crate) fn may_renew(&self, now: Timestamp, grace: Duration) -> bool {
        self.open_older(now, grace).is_none()
    }

    /// Whether the client's showing of the current secret has to be noted: the nonce is still there.
    pub(crate) fn is_pending(&self) -> bool {
        matches!(self.older.as_deref(), Some(Older { stage: Stage::Pending(_), .. }))
    }

    /// The client showed the current secret: the nonce goes.
    pub(crate) fn note_shown(&mut self, now: Timestamp) {
        if let Some(older) = &mut self.older {
            older.stage = Stage::Shown(now);
        }
    }

    /// Follows the record's owner. Whether the session becomes `after`'s.
    pub(crate) fn note_owner(
        &mut self,
        before: Option<&Owner>,
        after: Option<&Owner>,
        now: Timestamp,
    ) -> bool {
        let changes = before != after || (after.is_some() && self.owned_since.is_none());
        if changes {
            self.owned_since = after.map(|_| now);
        }
        changes && after.is_some()
    }

    /// The identity in `body`; `None` when another program wrote the record.
    pub(crate) fn of(body: &Body) -> Result<Option<Self>> {
        let Some(bytes) = body.bytes(ENTRY)? else { return Ok(None) };
        read(&bytes).map(Some).ok_or_else(damaged)
    }

    pub(crate) fn to_value(&self) -> Value {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend([VERSION, 0]);
        put(&mut bytes, self.changed_at.as_millis());
        put(&mut bytes, millis(self.idle));
        let mut flags = 0;
        if let Some(verifier) = &self.verifier {
            flags |= flag::VERIFIER;
            bytes.extend(verifier.as_bytes());
        }
        match self.older.as_deref() {
            None => {}
            Some(Older { verifier, stage: Stage::Pending(nonce) }) => {
                flags |= flag::PENDING;
                bytes.extend(verifier.as_bytes());
                bytes.extend(nonce);
            }
            Some(Older { verifier, stage: Stage::Shown(at) }) => {
                flags |= flag::SHOWN;
                bytes.extend(verifier.as_bytes());
                put(&mut bytes, at.as_millis());
            }
        }
        if let Some(since) = self.owned_since {
            flags |= flag::OWNED;
            put(&mut bytes, since.as_millis());
        }
        if let Some(Lifetime { idle_timeout, absolute }) = self.lifetime {
            flags |= flag::LIFETIME;
            put(&mut bytes, millis(idle_timeout));
            put(&mut bytes, absolute.map_or(-1, millis));
        }
        bytes[1] = flags;
        Value::Bytes(bytes)
    }
}

fn read(bytes: &[u8]) -> Option<Identity> {
    let (&[VERSION, flags], mut rest) = bytes.split_first_chunk::<2>()? else { return None };
    let has = |flag| flags & flag != 0;
    if flags & !flag::ALL != 0 || has(flag::PENDING) && has(flag::SHOWN) {
        return None;
    }
    let rest = &mut rest;
    let (changed_at, idle) = (time(rest)?, span(number(rest)?)?);
    let verifier = if has(flag::VERIFIER) { Some(verifier(rest)?) } else { None };
    let older = if has(flag::PENDING) {
        Some(Box::new(Older { verifier: self::verifier(rest)?, stage: Stage::Pending(take(rest)?) }))
    } else if has(flag::SHOWN) {
        Some(Box::new(Older { verifier: self::verifier(rest)?, stage: Stage::Shown(time(rest)?) }))
    } else {
        None
    };
    let owned_since = if has(flag::OWNED) { Some(time(rest)?) } else { None };
    let lifetime = if has(flag::LIFETIME) {
        let idle_timeout = span(number(rest)?)?;
        let absolute = match number(rest)? {
            -1 => None,
            millis => Some(span(millis)?),
        };
        Some(Lifetime { idle_timeout, absolute })
    } else {
        None
    };
    rest.is_empty().then_some(Identity { verifier, older, changed_at, owned_since, idle, lifetime })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk::<N>()?;
    *rest = left;
    Some(*taken)
}

fn number(rest: &mut &[u8]) -> Option<i64> {
    take(rest).map(i64::from_be_bytes)
}

fn time(rest: &mut &[u8]) -> Option<Timestamp> {
    number(rest).map(Timestamp::from_millis)
}

fn span(millis: i64) -> Option<Duration> {
    u64::try_from(millis).ok().map(Duration::from_millis)
}

fn verifier(rest: &mut &[u8]) -> Option<Verifier> {
    take(rest).map(Verifier::from_bytes)
}

fn put(bytes: &mut Vec<u8>, number: i64) {
    bytes.extend(number.to_be_bytes());
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

fn damaged() -> Error {
    debug_assert!(ENTRY.starts_with(RESERVED));
    Error::new(ErrorKind::Corrupt, format!("session key {ENTRY:?}: the stored value is damaged"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);
    const GRACE: Duration = Duration::from_secs(30);

    fn secret() -> Secret {
        Secret::generate().unwrap()
    }

    fn key() -> SessionKey {
        SessionKey::generate().unwrap()
    }

    fn roundtrip(identity: &Identity) -> Identity {
        let Value::Bytes(bytes) = identity.to_value() else { unreachable!() };
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes[..cut]), None, "cut at {cut}");
        }
        read(&bytes).unwrap()
    }

    /// The worked example of `docs/format.md`.
    #[test]
    fn the_bytes_are_those_of_the_format_page() {
        let page = include_str!("../../../docs/format.md");
        let block = page.split("<!-- example: identity -->").nth(1).and_then(|rest| rest.split("```").nth(1));
        let lines = block.unwrap().trim_start_matches("text").lines();
        let digits: String =
            lines.flat_map(|line| line.split('#').next()).collect::<String>().replace(' ', "");
        let bytes: Vec<u8> = (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
            .collect();
        let id = "AAECAwQFRgeICQoLDA0ODwAAECAwQFBgcICQoLDA0ODw";
        assert!(page.contains(id));
        let (at, minutes) = (Timestamp::from_millis(1_700_000_000_000), Duration::from_secs(30 * 60));
        let mut identity = Identity::new(id.parse::<SessionId>().unwrap().secret(), at, minutes);
        identity.owned_since = Some(at);
        identity.lifetime = Some(Lifetime { idle_timeout: 48 * 30 * minutes, absolute: None });
        assert_eq!(identity.to_value(), Value::Bytes(bytes.clone()));
        assert_eq!(read(&bytes), Some(identity));
    }

    #[test]
    fn every_form_is_read_back_and_no_part_of_it_is_enough() {
        let first = secret();
        let mut identity = Identity::new(&first, NOW, GRACE);
        assert_eq!(roundtrip(&identity), identity);
        identity.owned_since = Some(NOW);
        identity.renew(&first, NOW).unwrap();
        assert_eq!(roundtrip(&identity), identity);
        identity.note_shown(NOW);
        identity.lifetime = Some(Lifetime { idle_timeout: GRACE, absolute: None });
        assert_eq!(roundtrip(&identity), identity);
        identity.lifetime = Some(Lifetime { idle_timeout: GRACE, absolute: Some(GRACE) });
        assert_eq!(roundtrip(&identity), identity);
        assert_eq!(roundtrip(&Identity::tombstone(NOW)), Identity::tombstone(NOW));
    }

    #[test]
    fn a_renewal_hands_out_one_successor_until_it_is_shown_and_the_old_secret_ends_after_the_grace() {
        let (key, first) = (key(), secret());
        let mut identity = Identity::new(&first, NOW, GRACE);
        identity.renew(&first, NOW).unwrap();
        let next = identity.id_for(key, &first).unwrap();
        assert_eq!(identity.id_for(key, &first), Some(next.clone()));
        assert_eq!(identity.id_for(key, next.secret()), Some(next.clone()));
        let fit = |identity: &Identity, secret: &Secret, at| identity.fit(&secret.verifier(), || at, GRACE);
        let much_later = NOW.saturating_add(1_000 * GRACE);
        assert_eq!(fit(&identity, &first, much_later), Fit::Older);
        assert!(!identity.may_renew(much_later, GRACE));
        identity.note_shown(NOW);
        assert_eq!(identity.id_for(key, &first), None, "the nonce is still there");
        let end = NOW.saturating_add(GRACE);
        assert_eq!(fit(&identity, &first, Timestamp::from_millis(end.as_millis() - 1)), Fit::Older);
        assert_eq!(fit(&identity, &first, end), Fit::No);
        assert_eq!(fit(&identity, next.secret(), end), Fit::Current);
        assert!(identity.may_renew(end, GRACE));
    }

    #[test]
    fn an_explicit_change_ends_every_other_secret_at_once() {
        let (first, last) = (secret(), secret());
        let mut identity = Identity::new(&first, NOW, GRACE);
        identity.renew(&first, NOW).unwrap();
        let renewed = identity.id_for(key(), &first).unwrap();
        identity.change(&last, NOW);
        for old in [&first, renewed.secret()] {
            assert_eq!(identity.fit(&old.verifier(), || NOW, GRACE), Fit::No);
        }
        assert_eq!(identity.fit(&last.verifier(), || NOW, GRACE), Fit::Current);
    }

    #[test]
    fn no_secret_opens_a_tombstone() {
        let tombstone = Identity::tombstone(NOW);
        assert_eq!(tombstone.fit(&secret().verifier(), || NOW, GRACE), Fit::No);
        assert!(tombstone.is_tombstone());
    }
}
