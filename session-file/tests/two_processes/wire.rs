//! How a call and its answer are written: one line of JSON each, with the number of the call.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use session_core::{Cursor, Error, ErrorKind, Owner, Page, Record, Revision, SessionKey, Timestamp};

pub(crate) const KINDS: [ErrorKind; 10] = [
    ErrorKind::Unavailable,
    ErrorKind::Timeout,
    ErrorKind::Corrupt,
    ErrorKind::TooLarge,
    ErrorKind::InvalidConfig,
    ErrorKind::InvalidInput,
    ErrorKind::Unsupported,
    ErrorKind::Codec,
    ErrorKind::Contended,
    ErrorKind::Other,
];

pub(crate) const OPERATIONS: [&str; 10] =
    ["prepare", "create", "load", "save", "touch", "delete", "list", "delete_owned", "delete_expired", "now"];

pub(crate) fn record(record: &Record) -> Value {
    json!({
        "revision": record.revision.as_u64(),
        "owner": record.owner.as_ref().map(Owner::as_str),
        "created_at": record.created_at.as_millis(),
        "expires_at": record.expires_at.as_millis(),
        "payload": STANDARD.encode(&record.payload),
    })
}

pub(crate) fn to_record(value: &Value) -> Record {
    Record {
        revision: to_revision(&value["revision"]),
        owner: to_owner(&value["owner"]),
        created_at: to_time(&value["created_at"]),
        expires_at: to_time(&value["expires_at"]),
        payload: STANDARD.decode(value["payload"].as_str().unwrap()).unwrap().into(),
    }
}

pub(crate) fn to_key(value: &Value) -> SessionKey {
    value.as_str().unwrap().parse().unwrap()
}

pub(crate) fn to_revision(value: &Value) -> Revision {
    Revision::from_u64(value.as_u64().unwrap())
}

pub(crate) fn to_owner(value: &Value) -> Option<Owner> {
    value.as_str().map(|text| text.parse().unwrap())
}

pub(crate) fn to_time(value: &Value) -> Timestamp {
    Timestamp::from_millis(value.as_i64().unwrap())
}

pub(crate) fn page(page: &Page) -> Value {
    let sessions = page.sessions.iter().map(|(key, found)| json!([key.to_string(), record(found)]));
    json!({ "sessions": sessions.collect::<Vec<_>>(), "next": page.next.as_ref().map(Cursor::as_str) })
}

pub(crate) fn to_page(value: &Value) -> Page {
    let sessions = value["sessions"].as_array().unwrap().iter();
    Page {
        sessions: sessions.map(|pair| (to_key(&pair[0]), to_record(&pair[1]))).collect(),
        next: value["next"].as_str().map(Cursor::new),
    }
}

pub(crate) fn error(error: &Error) -> Value {
    let kind = KINDS.iter().position(|kind| *kind == error.kind());
    json!({ "kind": kind, "operation": error.operation(), "message": error.to_string() })
}

pub(crate) fn to_error(value: &Value) -> Error {
    let kind = value["kind"].as_u64().map_or(ErrorKind::Other, |at| KINDS[at as usize]);
    let error = Error::new(kind, value["message"].as_str().unwrap().to_owned()).with_backend("file");
    let named = OPERATIONS.iter().find(|name| Some(**name) == value["operation"].as_str());
    named.into_iter().fold(error, |error, name| error.with_operation(name))
}
