//! The sessions that are measured, and the keys they lie under.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use session_core::SessionKey;
use uuid::Uuid;

/// What a handler reads.
pub(crate) const READ: &str = "username";
/// What [`READ`] holds.
pub(crate) const READ_VALUE: &str = "ada.lovelace@example.org";
/// A count of visits, beside the eleven entries.
pub(crate) const VISITS: &str = "visits";

/// A session of eleven entries, 577 bytes as JSON: what a shop keeps of a signed-in customer.
pub(crate) fn session() -> Map<String, Value> {
    let sample = json!({
        "_permanent": true,
        "user_id": 8_675_309,
        "username": READ_VALUE,
        "display_name": "Ada Lovelace, Countess of Lovelace",
        "roles": ["customer", "reviewer", "beta-tester"],
        "csrf_token": "8d7f4b1e0c2a4f6f9b3d5e7a1c8b6d4f2e0a9c7b",
        "cart": [{"sku": "AB-1029-X", "qty": 2, "price": 1999}, {"sku": "ZK-4410-Q", "qty": 1, "price": 24900}],
        "locale": "en-GB",
        "theme": {"dark": true, "font": 14, "density": "compact", "accent": "indigo"},
        "last_seen": 1_790_000_000_123_i64,
        "return_to": "/catalogue/instruments/analytical-engines?page=3&sort=price&filter=in-stock&view=grid&brand=difference-and-sons&year=1842-1843&p",
    });
    match sample {
        Value::Object(entries) => entries,
        _ => Map::new(),
    }
}

/// The same, of a visitor whose cookie ends with the browser: `_permanent` is what Flask and we ask whether the cookie
/// is to be sent again with every answer, so it has another name here.
pub(crate) fn visitor() -> Map<String, Value> {
    let mut session = session();
    if let Some(permanent) = session.remove("_permanent") {
        session.insert("remembered".to_owned(), permanent);
    }
    session
}

/// The same session, as our codecs take it.
pub(crate) fn entries() -> session_core::Result<BTreeMap<String, session_core::Value>> {
    session().into_iter().map(|(name, value)| Ok((name, session_core::Value::from_typed(&value)?))).collect()
}

/// The same, with its longest entry filled up until it takes a kilobyte as JSON.
pub(crate) fn session_of_1_kb() -> Map<String, Value> {
    let mut session = session();
    let missing = 1_024 - serde_json::to_vec(&session).map_or(0, |json| json.len());
    if let Some(Value::String(text)) = session.get_mut("return_to") {
        text.push_str(&"x".repeat(missing));
    }
    session
}

/// The `n`th of a row of keys that are as even as those of real sessions, and need no random bytes of the system.
pub(crate) fn key(n: u64) -> SessionKey {
    let (high, low) = (mix(n), mix(n ^ 0x5555_5555_5555_5555));
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&high.to_be_bytes());
    bytes[8..].copy_from_slice(&low.to_be_bytes());
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    SessionKey::try_from(Uuid::from_bytes(bytes)).expect("version and variant are set")
}

/// SplitMix64: even bits from a counter.
pub(crate) fn mix(n: u64) -> u64 {
    let z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_the_one_that_all_figures_are_about() {
        for session in [session(), visitor()] {
            assert_eq!((session.len(), serde_json::to_vec(&session).unwrap().len()), (11, 577));
        }
        assert_eq!(serde_json::to_vec(&session_of_1_kb()).unwrap().len(), 1_024);
    }
}
