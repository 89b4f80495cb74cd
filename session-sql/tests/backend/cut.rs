//! A connection that is cut after the server did what it was told, and before it could say so.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use session_core::{Created, ErrorKind, Saved, SessionStore as _, Touched};
use session_sql::SqlStore;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::common::{HOUR, key, mariadb, number, open, postgres, record};

/// Passes on what client and server say, until it is told to swallow the server's next word and hang up.
struct Proxy {
    address: SocketAddr,
    cut: Arc<AtomicBool>,
}

impl Proxy {
    async fn before(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let cut = Arc::new(AtomicBool::new(false));
        let proxy = Self { address, cut: cut.clone() };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
                let ((from_client, to_client), (from_server, to_server)) =
                    (client.into_split(), server.into_split());
                tokio::spawn(pass(from_client, to_server, None));
                tokio::spawn(pass(from_server, to_client, Some(cut.clone())));
            }
        });
        proxy
    }

    /// The server's next word gets lost, and the connection with it.
    fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    fn was_cut(&self) {
        assert!(!self.cut.load(Ordering::SeqCst), "the server said nothing that could be lost");
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, cut: Option<Arc<AtomicBool>>) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if cut.as_ref().is_some_and(|cut| cut.swap(false, Ordering::SeqCst)) {
            break;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    // Dropping the halves closes the connection.
}

/// Prepares every statement on the connection that is used next.
async fn warm_up(store: &SqlStore) {
    let (key, r1, r2) = (key(), record(b"1"), record(b"2"));
    assert_eq!(store.create(key, &r1).await.unwrap(), Created::Stored);
    assert_eq!(store.save(key, r1.revision, &r2).await.unwrap(), Saved::Stored);
    assert!(store.load(key).await.unwrap().is_some());
    assert_eq!(store.touch(key, r2.revision, r2.expires_at).await.unwrap(), Touched::Stored);
    assert!(store.delete(key).await.unwrap());
}

/// Cuts the answer to each operation. With `warm` the statements were prepared before, so that what is lost is the
/// answer to the statement itself; without, it is the answer to the preparation.
async fn cut_off(store: &SqlStore, proxy: &Proxy, direct: &str, warm: bool) {
    store.prepare().await.unwrap();
    let arm = async || {
        if warm {
            warm_up(store).await;
        }
        proxy.cut();
    };
    let (key, r1, r2) = (key(), record(b"1"), record(b"2"));
    arm().await;
    assert_eq!(store.create(key, &r1).await.unwrap(), Created::Stored);
    proxy.was_cut();
    assert_eq!(store.create(key, &r2).await.unwrap(), Created::Occupied);

    arm().await;
    assert_eq!(store.save(key, r1.revision, &r2).await.unwrap(), Saved::Stored);
    proxy.was_cut();
    arm().await;
    assert_eq!(store.load(key).await.unwrap().as_ref(), Some(&r2));
    proxy.was_cut();

    arm().await;
    let later = r2.expires_at.saturating_add(HOUR);
    assert_eq!(store.touch(key, r2.revision, later).await.unwrap(), Touched::Stored);
    proxy.was_cut();
    assert_eq!(store.load(key).await.unwrap().unwrap().expires_at, later);
    assert_eq!(number(direct, "SELECT count(*) FROM sessions").await, 1);

    // Doing it again could not tell whether there had been a session, so the caller is told.
    arm().await;
    let error = store.delete(key).await.unwrap_err();
    proxy.was_cut();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert_eq!(store.load(key).await.unwrap().is_none(), warm, "whether the statement had arrived");
    store.delete(key).await.unwrap();
    assert_eq!(number(direct, "SELECT count(*) FROM sessions").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_what_took_effect_is_reported_so_and_done_once() {
    let Some(server) = postgres(&[]) else { return };
    let proxy = Proxy::before(server.port()).await;
    let through = server.url().replace(&format!(":{}", server.port()), &format!(":{}", proxy.address.port()));
    for warm in [false, true] {
        cut_off(&open(&through), &proxy, &server.url(), warm).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_mariadb_what_took_effect_is_reported_so_and_done_once() {
    let Some(server) = mariadb(&[]) else { return };
    let proxy = Proxy::before(server.port()).await;
    let through = server.url().replace(&format!(":{}", server.port()), &format!(":{}", proxy.address.port()));
    for warm in [false, true] {
        cut_off(&open(&through), &proxy, &server.url(), warm).await;
    }
}
