//! What parent and children share.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use session_core::{Record, Revision, SessionKey, SessionStore as _, Timestamp};
#[cfg(target_os = "linux")]
use session_file::Durability;
use session_file::{FileConfig, FileStore};

/// The environment variable that makes this binary a child.
pub(crate) const ROLE: &str = "SESSION_FILE_TEST_ROLE";

/// A small generator with a known seed (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// What a record with this revision and length holds: a mix of two writes would show.
pub(crate) fn payload(revision: Revision, len: usize) -> Vec<u8> {
    let mut random = Random(revision.as_u64());
    (0..len).map(|_| random.next() as u8).collect()
}

pub(crate) fn record(revision: Revision, owner: Option<&str>, expires_at: Timestamp, len: usize) -> Record {
    Record {
        revision,
        owner: owner.map(|owner| owner.parse().unwrap()),
        created_at: Timestamp::from_millis(1_700_000_000_000),
        expires_at,
        payload: payload(revision, len).into(),
    }
}

pub(crate) fn new_key() -> SessionKey {
    SessionKey::generate().unwrap()
}

pub(crate) fn in_an_hour() -> Timestamp {
    Timestamp::now().saturating_add(Duration::from_secs(3600))
}

pub(crate) fn store(directory: &Path) -> FileStore {
    FileStore::new(FileConfig::new(directory)).unwrap()
}

/// A store whose writes survive a power failure.
#[cfg(target_os = "linux")]
pub(crate) fn synchronised(directory: &Path) -> FileStore {
    FileStore::new(FileConfig::new(directory).with_durability(Durability::PowerLoss)).unwrap()
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A prepared directory.
pub(crate) fn prepared() -> (tempfile::TempDir, std::path::PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("sessions");
    runtime().block_on(store(&directory).prepare()).unwrap();
    (parent, directory)
}

/// A child process, killed when it is dropped.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) lines: BufReader<ChildStdout>,
}

impl Process {
    pub(crate) fn start(role: &str, directory: &Path, argument: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(ROLE, role)
            .env("SESSION_FILE_TEST_DIRECTORY", directory)
            .env("SESSION_FILE_TEST_ARGUMENT", argument)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut this = Self { child, lines };
        assert_eq!(this.line().as_deref(), Some("ready"), "the child {role} did not start");
        this
    }

    /// The next whole line; `None` at the end. A line that was cut off by a kill is none.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.strip_suffix('\n').map(str::to_owned)
    }

    pub(crate) fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.line()).collect()
    }

    /// Everything that a child that ends by itself says.
    pub(crate) fn finish(mut self) -> Vec<String> {
        let lines = self.rest();
        assert!(self.child.wait().unwrap().success(), "a child failed, it said {lines:?}");
        lines
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
