//! A small web page whose sessions run on any storage of the family.
//!
//! ```text
//! cargo run --bin web                        # http://127.0.0.1:3000, sessions in the file sessions.db
//! cargo run --bin web -- --store memory: --listen 127.0.0.1:8080
//! ```
//!
//! The routes are in `src/app.rs`; `src/stores.rs` turns `--store` into a store.

use std::process::ExitCode;

use session_core::SessionManager;
use session_examples::program::{self, Options};
use session_examples::{app, stores};

const HELP: &str = "\
A small web page with sessions.

usage: web [--store URL] [--listen ADDRESS] [--behind-https]

  --store URL        where sessions are kept (default: sqlite:sessions.db)
  --listen ADDRESS   where the page is served (default: 127.0.0.1:3000)
  --behind-https     the page is served through https: use the cookie `__Host-session` with `Secure`
";

#[tokio::main]
async fn main() -> ExitCode {
    program::main("web", HELP, async |options: Options| {
        let store = stores::open(options.store.as_deref().unwrap_or("sqlite:sessions.db")).await?;
        let sessions = SessionManager::new(store.store);
        // The first use would do it as well; but a storage that cannot work is better told before the page starts.
        sessions.prepare().await?;
        let app = app::page(sessions.clone(), store.name, &options.cookie())?;
        program::serve(&options, app, store.name, Some(&sessions)).await
    })
    .await
}
