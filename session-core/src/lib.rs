#![doc = include_str!("../README.md")]

mod codec;
mod error;
mod id;
mod random;
mod record;
mod store;
mod time;
mod value;

#[cfg(feature = "seal")]
pub use codec::SealKeys;
pub use codec::{Codec, Codecs};
pub use error::{Error, ErrorKind, Result};
pub use id::{SessionId, SessionKey};
pub use record::{Owner, Record, Revision};
pub use store::{Created, Cursor, Page, Renamed, Saved, SessionStore};
pub use time::{Clock, ManualClock, SystemClock, Timestamp};
pub use value::Value;
