//! A token against forged requests, bound to the session.
//!
//! A page of another site can make a browser send a form with the session's cookie, but it cannot read the token that
//! your page put into yours. Put [`token`] into a hidden field (or a header) of every request that changes state, and
//! refuse requests whose token [`verify`] does not accept. `SameSite=Lax`, the default of the cookie, is the second
//! wall, not the first: it does not stop a sibling subdomain.
//!
//! Each call gives another text for the same secret, so that compressed pages do not leak it (BREACH). The secret
//! lives in the session, so it ends with it; a visitor who signs in gets another one. [`reset`] it when privileges change.
//!
//! ```
//! use session_http::csrf;
//!
//! # fn main() -> session_core::Result<()> {
//! # let session = session_core::Session::empty();
//! let field = csrf::token(&session)?;
//! assert!(csrf::verify(&session, &field)?);
//! assert!(!csrf::verify(&session, "forged")?);
//! # Ok(())
//! # }
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use session_core::{Error, ErrorKind, Result, Session};
use subtle::ConstantTimeEq as _;

const ENTRY: &str = "_csrf";
const SECRET: usize = 16;

type Secret = [u8; SECRET];

/// A token for one form: 43 characters of base64url. The first call of a session puts the secret into it.
///
/// # Errors
/// When the operating system gives no random bytes, or the entry `_csrf` is not what this module wrote.
pub fn token(session: &Session) -> Result<String> {
    let secret = match secret(session)? {
        Some(secret) => secret,
        None => begin(session)?,
    };
    let mask: Secret = random()?;
    let mut shown = [0_u8; 2 * SECRET];
    shown[..SECRET].copy_from_slice(&mask);
    shown[SECRET..].copy_from_slice(&xor(mask, secret));
    Ok(URL_SAFE_NO_PAD.encode(shown))
}

/// Whether `given` is a token of this session. The comparison takes the same time for every token of the right form.
///
/// # Errors
/// When the entry `_csrf` is not what this module wrote.
pub fn verify(session: &Session, given: &str) -> Result<bool> {
    let Some(secret) = secret(session)? else { return Ok(false) };
    let mut shown = [0_u8; 2 * SECRET];
    if !matches!(URL_SAFE_NO_PAD.decode_slice(given, &mut shown), Ok(read) if read == shown.len()) {
        return Ok(false);
    }
    let (mut mask, mut masked): (Secret, Secret) = Default::default();
    mask.copy_from_slice(&shown[..SECRET]);
    masked.copy_from_slice(&shown[SECRET..]);
    Ok(xor(mask, masked).ct_eq(&secret).into())
}

/// Makes every earlier token of the session worthless.
pub fn reset(session: &Session) {
    session.remove(ENTRY);
}

fn secret(session: &Session) -> Result<Option<Secret>> {
    session.get::<String>(ENTRY)?.map(|text| parse(&text)).transpose()
}

fn begin(session: &Session) -> Result<Secret> {
    let fresh = URL_SAFE_NO_PAD.encode(random::<SECRET>()?);
    // Of two first requests, the secret of the one that is stored first stays.
    let kept = session.update(ENTRY, move |old: Option<String>| old.unwrap_or_else(|| fresh.clone()))?;
    parse(&kept)
}

fn parse(text: &str) -> Result<Secret> {
    let mut secret = Secret::default();
    match URL_SAFE_NO_PAD.decode_slice(text, &mut secret) {
        Ok(SECRET) => Ok(secret),
        _ => Err(Error::new(ErrorKind::Corrupt, "the session's entry `_csrf` is not a secret: remove it")),
    }
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0_u8; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::new(ErrorKind::Unavailable, "the operating system gave no random bytes").with_source(error)
    })?;
    Ok(bytes)
}

fn xor(left: Secret, right: Secret) -> Secret {
    std::array::from_fn(|at| left[at] ^ right[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_session_only_and_each_text_is_another() {
        let (mine, other) = (Session::empty(), Session::empty());
        let (first, second) = (token(&mine).unwrap(), token(&mine).unwrap());
        assert_ne!(first, second);
        assert!(verify(&mine, &first).unwrap() && verify(&mine, &second).unwrap());
        assert!(!verify(&other, &first).unwrap(), "accepted without a secret");
        let _ = token(&other).unwrap();
        assert!(!verify(&other, &first).unwrap(), "accepted another session's token");
        reset(&mine);
        assert!(!verify(&mine, &first).unwrap());
        let _ = token(&mine).unwrap();
        assert!(!verify(&mine, &first).unwrap(), "accepted after a reset");
    }

    #[test]
    fn every_change_of_a_token_is_refused() {
        let session = Session::empty();
        let good = token(&session).unwrap();
        for at in 0..good.len() {
            let mut changed = good.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(!verify(&session, &changed).unwrap(), "{changed}");
        }
        for bad in
            ["", "A", &good[1..], &format!("{good}A"), &format!(" {good}"), &"A".repeat(100_000), "\u{e9}"]
        {
            assert!(!verify(&session, bad).unwrap(), "{bad}");
        }
    }

    #[test]
    fn reading_a_form_does_not_change_the_session_but_the_first_does() {
        let session = Session::empty();
        assert!(!verify(&session, "x").unwrap());
        assert!(!session.is_modified());
        let _ = token(&session).unwrap();
        assert!(session.is_modified());
    }
}
