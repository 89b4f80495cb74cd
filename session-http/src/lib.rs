#![doc = include_str!("../README.md")]

mod cookie;
pub mod csrf;
#[cfg(feature = "axum")]
mod extract;
mod handle;
mod headers;
mod interface;
mod layer;
mod store_interface;

pub use cookie::{CookieConfig, SameSite};
#[cfg(feature = "axum")]
pub use extract::SessionRejection;
pub use handle::{Session, SessionHandle};
pub use interface::{RequestHead, SessionInterface};
pub use layer::{Failure, SessionFuture, SessionLayer, SessionService, Stage};
pub use store_interface::StoreInterface;
