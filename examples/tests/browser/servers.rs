//! What the browser visits: the example, a page of bare routes, and either of them behind https.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use axum::middleware::{Next, from_fn};
use axum::routing::get;
use session_core::{Policy, SessionManager};
use session_examples::{app, stores};
use session_http::{CookieConfig, Session, SessionLayer};
use session_memory::MemoryStore;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// Servers of one test; they end with it.
pub(crate) struct Servers {
    runtime: Runtime,
}

impl Servers {
    pub(crate) fn new() -> Self {
        Self { runtime: Runtime::new().unwrap() }
    }

    /// The example's page over http, as `cargo run --bin web` serves it.
    pub(crate) fn page(&self) -> String {
        self.page_on("memory:")
    }

    /// The same on the storage of that URL.
    pub(crate) fn page_on(&self, url: &str) -> String {
        let opened = self.runtime.block_on(stores::open(url)).unwrap();
        self.page_of(SessionManager::new(opened.store), Duration::ZERO)
    }

    /// The same with these sessions; answers to forms reach the browser only after `delay`.
    pub(crate) fn page_of(&self, sessions: SessionManager, delay: Duration) -> String {
        let cookie = CookieConfig::insecure_for_development();
        let page = app::page(sessions, "memory", &cookie).unwrap();
        let late = move |method: Method, request: Request, next: Next| async move {
            let response = next.run(request).await;
            if method == Method::POST {
                tokio::time::sleep(delay).await;
            }
            response
        };
        format!("http://{}", self.serve(page.layer(from_fn(late))))
    }

    /// Bare routes with the default cookie over https, with a certificate made on the spot.
    pub(crate) fn bare_https(&self, policy: Policy) -> String {
        let sessions = SessionManager::new(MemoryStore::default()).with_policy(policy);
        let routes = Router::new()
            .route("/begin", get(async |s: Session| s.insert("k", "v").map_or("failed", |()| "begun")))
            .route(
                "/keep",
                get(async |s: Session| {
                    s.set_permanent(true);
                    "kept"
                }),
            )
            .route("/see", get(async |s: Session| if s.is_empty() { "nothing" } else { "a session" }))
            .route(
                "/end",
                get(async |s: Session| {
                    s.destroy();
                    "ended"
                }),
            )
            .layer(SessionLayer::new(sessions));
        format!("https://localhost:{}", self.https(self.serve(routes)).port())
    }

    fn serve(&self, app: Router) -> SocketAddr {
        let listener = self.runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        self.runtime.spawn(async move { axum::serve(listener, app).await });
        address
    }

    /// Takes https and hands on http.
    fn https(&self, to: SocketAddr) -> SocketAddr {
        let listener = self.runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = acceptor();
        self.runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut outside = acceptor.accept(stream).await?;
                    let mut inside = TcpStream::connect(to).await?;
                    tokio::io::copy_bidirectional(&mut outside, &mut inside).await
                });
            }
        });
        address
    }
}

fn acceptor() -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}
