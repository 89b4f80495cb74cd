#![doc = include_str!("../README.md")]

mod error;
mod id;
mod random;
mod record;
mod store;
mod time;

pub use error::{Error, ErrorKind, Result};
pub use id::{SessionId, SessionKey};
pub use record::{Owner, Record, Revision};
pub use store::{Created, Cursor, Page, Renamed, Saved, SessionStore};
pub use time::{Clock, ManualClock, SystemClock, Timestamp};
