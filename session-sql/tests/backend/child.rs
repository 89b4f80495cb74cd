//! This test program as a child of itself: what other processes do to the same database.

use std::process::{Command, Stdio};

use session_core::{Created, SessionStore as _};
use session_sql::SqlConfig;

use crate::common::{key, open_with, record};

const ROLE: &str = "SESSION_SQL_CHILD";
const URL: &str = "SESSION_SQL_URL";

/// A child that does what [`child`] says for `role`.
pub(crate) fn command(role: &str, url: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child::child", "--nocapture"]).env(ROLE, role).env(URL, url);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// Does nothing unless this process is a child.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let url = std::env::var(URL).unwrap();
    let store = open_with(&url, SqlConfig::default().with_timeout(std::time::Duration::from_secs(30)));
    match role.as_str() {
        "prepare" => store.prepare().await.unwrap(),
        "write" => {
            let writers: Vec<_> = (0..8)
                .map(|_| {
                    let store = store.clone();
                    tokio::spawn(async move {
                        for _ in 0..25 {
                            let (key, first, second) = (key(), record(b"first"), record(b"second"));
                            assert_eq!(store.create(key, &first).await.unwrap(), Created::Stored);
                            let saved = store.save(key, first.revision, &second).await.unwrap();
                            assert_eq!(saved, session_core::Saved::Stored);
                        }
                    })
                })
                .collect();
            for writer in writers {
                writer.await.unwrap();
            }
        }
        "write until killed" => loop {
            let (key, record) = (key(), record(&[7; 2000]));
            assert_eq!(store.create(key, &record).await.unwrap(), Created::Stored);
            println!("stored {key}");
        },
        other => panic!("no role is called {other}"),
    }
}
