#![doc = include_str!("../README.md")]

#[cfg(feature = "client")]
mod client;
mod cookie;
pub mod csrf;
#[cfg(feature = "axum")]
mod extract;
mod handle;
mod headers;
mod interface;
mod layer;
mod site_data;
mod store_interface;
#[cfg(feature = "tower-sessions")]
mod tower_sessions;

#[cfg(feature = "client")]
pub use client::{ClientInterface, KeyRing};
pub use cookie::{CookieConfig, Persistence, SameSite};
#[cfg(feature = "axum")]
pub use extract::SessionRejection;
pub use handle::{Session, SessionHandle};
pub use interface::{RequestHead, SessionInterface};
pub use layer::{Failure, SessionFuture, SessionLayer, SessionService, Stage};
pub use site_data::{SiteData, clear_site_data};
pub use store_interface::StoreInterface;
#[cfg(feature = "tower-sessions")]
pub use tower_sessions::TowerSessionsStore;
