#![doc = include_str!("../README.md")]

mod body;
#[cfg(feature = "client")]
mod client;
mod cookie;
pub mod csrf;
mod error;
#[cfg(feature = "axum")]
mod extract;
mod handle;
mod headers;
mod interface;
mod layer;
mod service;
mod settings;
mod site_data;
mod store_interface;
#[cfg(feature = "tower-sessions")]
mod tower_sessions;

pub use body::SessionBody;
#[cfg(feature = "client")]
pub use client::{ClientInterface, KeyRing};
pub use cookie::{CookieConfig, Persistence, SameSite};
pub use error::SessionError;
#[cfg(feature = "axum")]
pub use extract::{SessionOf, SessionRejection};
pub use handle::{Session, SessionHandle};
pub use interface::{RequestHead, SessionInterface};
pub use layer::SessionLayer;
pub use service::{SessionFuture, SessionService};
pub use settings::{Failure, Stage};
pub use site_data::{SiteData, clear_site_data};
pub use store_interface::StoreInterface;
#[cfg(feature = "tower-sessions")]
pub use tower_sessions::TowerSessionsStore;
