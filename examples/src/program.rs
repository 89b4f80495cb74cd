//! What both programs have in common: the command line, and a server that stops cleanly.

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use session_core::{SessionManager, Sweeper};
use session_http::CookieConfig;
use tokio::net::TcpListener;

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where sessions are kept, when it was said.
    pub store: Option<String>,
    /// Where the program is reached.
    pub listen: SocketAddr,
    /// Whether it is reached through https.
    pub https: bool,
}

/// Runs the program `name` with the options of its command line.
pub async fn main(
    name: &str,
    help: &str,
    run: impl AsyncFnOnce(Options) -> Result<(), Box<dyn Error>>,
) -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{help}");
            return ExitCode::SUCCESS;
        }
        Err(problem) => return fail(name, &problem),
    };
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match run(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(name, &error.to_string()),
    }
}

fn fail(name: &str, problem: &str) -> ExitCode {
    eprintln!("{name}: {problem}");
    ExitCode::FAILURE
}

impl Options {
    /// `None` when help was asked for.
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let listen = SocketAddr::from(([127, 0, 0, 1], 3000));
        let mut options = Self { store: None, listen, https: false };
        while let Some(argument) = arguments.next() {
            let mut value =
                || arguments.next().ok_or_else(|| format!("{argument} needs a value; see --help"));
            match argument.as_str() {
                "--store" => options.store = Some(value()?),
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

    /// The default cookie is for https. A program on one's own machine has none.
    #[must_use]
    pub fn cookie(&self) -> CookieConfig {
        if self.https { CookieConfig::default() } else { CookieConfig::insecure_for_development() }
    }
}

/// Serves `app` until somebody presses Ctrl-C; `sessions` are those of a storage of that name.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(
    options: &Options,
    app: Router,
    storage: &str,
    sessions: Option<&SessionManager>,
) -> Result<(), Box<dyn Error>> {
    // Expired sessions are dead at once; this removes what is left of them.
    let sweeper = sessions.map(|sessions| Sweeper::new(Arc::clone(sessions.store())).spawn());
    let listener = TcpListener::bind(options.listen).await?;
    println!("listening on http://{} (sessions in {storage})", listener.local_addr()?);
    axum::serve(listener, app).with_graceful_shutdown(stopped()).await?;
    if let Some(sweeper) = sweeper {
        sweeper.stop().await;
    }
    Ok(())
}

async fn stopped() {
    // Without a signal handler the program runs until it is killed.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
