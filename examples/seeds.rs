//! The programs that Flask's own pages on sessions begin with, on this family of crates.
//!
//! ```text
//! cargo run --bin seeds                      # http://127.0.0.1:3000, each session whole in its signed cookie
//! cargo run --bin seeds -- --store memory:   # or in a store
//! ```
//!
//! The routes are in `src/seeds.rs`. `tests/flask` holds the programs as they are written for Flask, and a test that
//! sends both the same requests.

use std::process::ExitCode;

use session_core::SessionManager;
use session_examples::program::{self, Options};
use session_examples::{seeds, stores};

const HELP: &str = "\
The examples of Flask's pages on sessions: /, /get_session, /login, /get_user_data, /set, /get.

usage: seeds [--store URL] [--listen ADDRESS] [--behind-https]

  --store URL        where sessions are kept (default: in their signed cookies, as Flask's)
  --listen ADDRESS   where the program is reached (default: 127.0.0.1:3000)
  --behind-https     it is reached through https: use the cookie `__Host-session` with `Secure`
";

#[tokio::main]
async fn main() -> ExitCode {
    program::main("seeds", HELP, async |options: Options| {
        let (sessions, storage) = match &options.store {
            None => (None, "signed cookies"),
            Some(url) => {
                let store = stores::open(url).await?;
                (Some(SessionManager::new(store.store)), store.name)
            }
        };
        let app = seeds::program(sessions.clone(), &options.cookie())?;
        program::serve(&options, app, storage, sessions.as_ref()).await
    })
    .await
}
