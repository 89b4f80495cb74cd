//! A small web page whose sessions run on any storage of the family.
//!
//! ```text
//! cargo run --bin web                        # http://127.0.0.1:3000, sessions in the file sessions.db
//! cargo run --bin web -- --store memory: --listen 127.0.0.1:8080
//! ```
//!
//! The routes are in `src/app.rs`; `src/stores.rs` turns `--store` into a store.

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use session_core::{SessionManager, Sweeper};
use session_examples::{app, stores};
use session_http::{CookieConfig, SessionLayer};
use tokio::net::TcpListener;

const HELP: &str = "\
A small web page with sessions.

usage: web [--store URL] [--listen ADDRESS] [--behind-https]

  --store URL        where sessions are kept (default: sqlite:sessions.db)
  --listen ADDRESS   where the page is served (default: 127.0.0.1:3000)
  --behind-https     the page is served through https: use the cookie `__Host-session` with `Secure`
";

struct Options {
    store: String,
    listen: SocketAddr,
    https: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(problem) => return fail(&problem),
    };
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match run(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let store = stores::open(&options.store).await?;
    let sessions = SessionManager::new(store.store);
    sessions.prepare().await?;
    // Expired sessions are dead at once; this removes what is left of them.
    let sweeper = Sweeper::new(Arc::clone(sessions.store())).spawn();

    // The default cookie is for https. A page on one's own machine has none.
    let cookie =
        if options.https { CookieConfig::default() } else { CookieConfig::insecure_for_development() };
    let layer = SessionLayer::with_cookie(sessions.clone(), &cookie)?;
    let app = app::routes(sessions, store.name).layer(layer);

    let listener = TcpListener::bind(options.listen).await?;
    println!("listening on http://{} (sessions in {})", listener.local_addr()?, store.name);
    axum::serve(listener, app).with_graceful_shutdown(stopped()).await?;
    sweeper.stop().await;
    Ok(())
}

async fn stopped() {
    // Without a signal handler the page runs until it is killed.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options {
        store: "sqlite:sessions.db".to_owned(),
        listen: SocketAddr::from(([127, 0, 0, 1], 3000)),
        https: false,
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value; see --help"));
        match argument.as_str() {
            "--store" => options.store = value()?,
            "--listen" => {
                let address = value()?;
                options.listen =
                    address.parse().map_err(|_| format!("not an address and port: {address:?}"))?;
            }
            "--behind-https" => options.https = true,
            "--help" | "-h" => return Ok(None),
            _ => return Err(format!("unknown argument {argument:?}; see --help")),
        }
    }
    Ok(Some(options))
}

fn fail(problem: &str) -> ExitCode {
    eprintln!("web: {problem}");
    ExitCode::FAILURE
}
