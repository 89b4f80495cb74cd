//! A web server in a process of its own.

use anyhow::Result;
use axum::Router;
use axum::serve::ListenerExt as _;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

/// Serves on a free port and says which; ends when whoever started this process is gone.
pub(crate) async fn listen(app: Router) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("ready {}", listener.local_addr()?.port());
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let serving = async move { axum::serve(listener, app).await };
    let mut nothing = [0];
    tokio::select! {
        served = serving => Ok(served?),
        _ = async { tokio::io::stdin().read(&mut nothing).await } => Ok(()),
    }
}
