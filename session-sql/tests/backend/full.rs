//! A disk that is full.

use std::path::{Path, PathBuf};
use std::process::Command;

use session_conformance::servers::Spec;
use session_core::{Created, SessionStore as _};

use crate::common::{key, open, postgres, record, run};
use crate::refusals::fills_up;

/// A small file system in memory, mounted as long as this lives.
struct Small(PathBuf);

impl Small {
    /// `None` where this process may not mount.
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir(at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(at).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: the server may still have its files open.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test]
async fn postgres_whose_disk_is_full_says_so_keeps_what_it_has_and_goes_on_with_more_room() {
    let Some(server) = postgres(&[]) else { return };
    let place = server.process().directory().join("small");
    let Some(_small) = Small::mount(&place) else {
        eprintln!("ignored: full::postgres: this process may not mount a small file system (run it as root)");
        return;
    };
    Spec::new("/bin/true").user_if_root("postgres").hand_over(&place).unwrap();
    let url = server.url();
    // The log of the server lies elsewhere: it is the table that has no room.
    run(&url, &format!("CREATE TABLESPACE small LOCATION '{}'", place.display())).await.unwrap();
    run(&url, "ALTER DATABASE postgres SET default_tablespace = small").await.unwrap();
    let store = open(&url);
    store.prepare().await.unwrap();
    fills_up(&store).await;

    let more = Command::new("mount").args(["-o", "remount,size=64m"]).arg(&place).status().unwrap();
    assert!(more.success());
    assert_eq!(store.create(key(), &record(&[7; 20_000])).await.unwrap(), Created::Stored);
}
