#![doc = include_str!("../README.md")]

mod codec;
mod error;
mod id;
mod manager;
mod policy;
mod random;
mod record;
mod session;
mod store;
mod sweeper;
mod time;
mod value;

#[cfg(feature = "seal")]
pub use codec::SealKeys;
pub use codec::{Codec, Codecs};
pub use error::{Error, ErrorKind, Result};
pub use id::{SessionId, SessionKey};
pub use manager::{Commit, EndReason, Event, EventKind, Observer, Outcome, SessionInfo, SessionManager};
pub use policy::{Lifetime, Policy, SessionLimit, Undecodable};
pub use record::{Owner, Record, Revision};
pub use session::{Consume, Flash, Key, Session, Status};
pub use store::{Created, Cursor, Page, Saved, SessionStore, Touched};
pub use sweeper::{Sweeper, SweeperHandle};
pub use time::{Clock, ManualClock, SystemClock, Timestamp};
pub use value::Value;
