//! A server as a child process: started when needed, stopped with the tests, paused, killed and started again.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::Missing;

/// Where a program is: in `PATH`, or in one of the directories in which distributions hide servers.
///
/// # Errors
/// [`Missing`] with `package`, which holds the program on Debian, when it is nowhere.
pub fn find(program: &str, package: &str) -> Result<PathBuf, Missing> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.extend(["/usr/sbin", "/usr/local/sbin", "/usr/libexec"].map(PathBuf::from));
    // Debian keeps each version of PostgreSQL in a directory of its own: the newest wins.
    if let Ok(versions) = fs::read_dir("/usr/lib/postgresql") {
        let mut versions: Vec<_> = versions.flatten().map(|version| version.path().join("bin")).collect();
        versions.sort();
        places.extend(versions.into_iter().rev());
    }
    let found = places.into_iter().map(|place| place.join(program)).find(|file| file.is_file());
    found.ok_or_else(|| Missing::new(format!("{program} not found: apt install {package}")))
}

/// A port of 127.0.0.1 that nobody listens on. Somebody else may take it before you do: on failure try another.
///
/// # Errors
/// When the system has none left.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Whether somebody accepts connections on a port of 127.0.0.1.
#[must_use]
pub fn port_answers(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
}

/// What to start: a program with its arguments and environment.
#[derive(Clone, Debug)]
pub struct Spec {
    program: PathBuf,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
    user: Option<String>,
}

impl Spec {
    /// A program by its path; see [`find`].
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), args: Vec::new(), envs: Vec::new(), user: None }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.envs.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs the program as `user` when the tests run as root, which some servers refuse to run as. The user must
    /// exist; give it the directories that it needs with [`hand_over`](Self::hand_over).
    #[must_use]
    pub fn user_if_root(mut self, user: &str) -> Self {
        if rustix::process::geteuid().is_root() {
            self.user = Some(user.to_owned());
        }
        self
    }

    /// Makes `directory` belong to the user that the program runs as.
    ///
    /// # Errors
    /// When `chown` fails.
    pub fn hand_over(&self, directory: &Path) -> io::Result<()> {
        let Some(user) = &self.user else { return Ok(()) };
        let status = Command::new("chown").arg("-R").arg(user).arg(directory).status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("chown {user}: {status}"))) }
    }

    /// Runs the program to its end, such as `initdb`.
    ///
    /// # Errors
    /// When it cannot be started, or fails; with what it printed.
    pub fn run(&self) -> io::Result<String> {
        let output = self.command().stdin(Stdio::null()).output()?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        if output.status.success() {
            return Ok(text);
        }
        Err(io::Error::other(format!("{}: {}\n{text}", self.program.display(), output.status)))
    }

    /// The command, wrapped so that it loses root and is killed by the kernel when the thread that starts it ends.
    fn command(&self) -> Command {
        let mut command = match setpriv() {
            None => Command::new(&self.program),
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                if let Some(user) = &self.user {
                    command.arg("--reuid").arg(user).args(["--regid", user, "--init-groups"]);
                }
                command.args(["--pdeathsig", "KILL", "--"]).arg(&self.program);
                command
            }
        };
        command.args(&self.args).envs(self.envs.iter().map(|(name, value)| (name, value)));
        command
    }
}

fn setpriv() -> Option<&'static Path> {
    static SETPRIV: OnceLock<Option<PathBuf>> = OnceLock::new();
    SETPRIV.get_or_init(|| find("setpriv", "util-linux").ok()).as_deref()
}

/// The kernel's promise to kill a child counts from the thread that started it, and the threads of test runners
/// come and go: so all children are started by one thread, which lasts as long as the process.
fn spawn(mut command: Command) -> io::Result<Child> {
    type Job = (Command, Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<Mutex<Sender<Job>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, inbox) = channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                // Nobody waits for the answer when the test has ended meanwhile; the child ends with us.
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(jobs)
    });
    // A group of its own: an interrupt typed at the terminal reaches the tests, which then stop their servers.
    command.process_group(0);
    let (answer, outcome) = channel();
    let gone = |_| io::Error::other("the thread that starts servers is gone");
    lock(spawner).send((command, answer)).map_err(|_| gone(()))?;
    outcome.recv().map_err(|_| gone(()))?
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running server with a temporary directory and a log.
///
/// Dropping it kills the server and removes the directory. When the thread that drops it panics, the end of the
/// log is printed first.
#[derive(Debug)]
pub struct Process {
    spec: Spec,
    child: Mutex<Child>,
    log: PathBuf,
    // Last, so that the directory outlives the child.
    directory: TempDir,
}

/// A new temporary directory for a server, with a short path: Unix sockets have no room for a long one.
fn directory() -> io::Result<TempDir> {
    tempfile::Builder::new().prefix("session-").tempdir()
}

impl Process {
    /// Starts a server in a new temporary directory, which `spec` is told, and waits until `ready` says so.
    ///
    /// # Errors
    /// When the server cannot be started, ends early, or is not ready `within` the time; with the end of its log.
    pub fn start(
        spec: impl FnOnce(&Path) -> io::Result<Spec>,
        ready: impl FnMut() -> bool,
        within: Duration,
    ) -> io::Result<Self> {
        let directory = directory()?;
        let spec = spec(directory.path())?;
        spec.hand_over(directory.path())?;
        let log = directory.path().join("server.log");
        let child = Mutex::new(start(&spec, &log)?);
        let process = Self { spec, child, log, directory };
        process.wait(ready, within)?;
        Ok(process)
    }

    /// The server's directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The server's process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        lock(&self.child).id()
    }

    /// What the server printed.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Whether the server runs (a paused one does, too).
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(lock(&self.child).try_wait(), Ok(None))
    }

    /// Stops the server and its children from doing anything: connections stay open, and nobody answers.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn pause(&self) -> io::Result<()> {
        // The parent first, which would start children; and again until no new child turns up.
        let mut stopped = Vec::new();
        loop {
            let fresh: Vec<_> = family(self.id())?.into_iter().filter(|pid| !stopped.contains(pid)).collect();
            if fresh.is_empty() {
                break;
            }
            for pid in fresh {
                self.signal(pid, Signal::STOP)?;
                stopped.push(pid);
            }
        }
        // On a busy machine a thread may still answer before it is its turn to stop.
        let start = Instant::now();
        while !stopped.iter().all(|pid| is_stopped(*pid)) && start.elapsed() < STOPS_WITHIN {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Lets the server and its children go on.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn resume(&self) -> io::Result<()> {
        for pid in family(self.id())?.into_iter().rev() {
            self.signal(pid, Signal::CONT)?;
        }
        Ok(())
    }

    /// Kills the server and its children at once, as a crash would: nothing is flushed, nobody is told.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&self) -> io::Result<()> {
        let children = family(self.id()).unwrap_or_default();
        let mut child = lock(&self.child);
        child.kill()?;
        child.wait()?;
        drop(child);
        for pid in children.into_iter().skip(1) {
            self.signal(pid, Signal::KILL)?;
        }
        Ok(())
    }

    /// Asks the server to end in good order, and waits for that.
    ///
    /// # Errors
    /// When it has not ended `within` the time.
    pub fn terminate(&self, within: Duration) -> io::Result<()> {
        self.signal(self.id(), Signal::TERM)?;
        let start = Instant::now();
        while self.is_running() {
            if start.elapsed() > within {
                return Err(self.error("has not ended"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Starts the server again: same program, same port, same directory. Kills it first if it still runs.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn restart(&self, ready: impl FnMut() -> bool, within: Duration) -> io::Result<()> {
        if self.is_running() {
            self.kill()?;
        }
        *lock(&self.child) = start(&self.spec, &self.log)?;
        self.wait(ready, within)
    }

    fn wait(&self, mut ready: impl FnMut() -> bool, within: Duration) -> io::Result<()> {
        let start = Instant::now();
        while !ready() {
            if !self.is_running() {
                return Err(self.error("ended at once"));
            }
            if start.elapsed() > within {
                return Err(self.error("is not ready in time"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // The port may answer although it is somebody else's, who was faster.
        if self.is_running() { Ok(()) } else { Err(self.error("ended at once")) }
    }

    fn signal(&self, pid: u32, signal: Signal) -> io::Result<()> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        match pid.map(|pid| kill_process(pid, signal)) {
            // A child that ended on its own between looking and signalling.
            None | Some(Ok(()) | Err(rustix::io::Errno::SRCH)) => Ok(()),
            Some(Err(error)) => Err(self.error(&error.to_string())),
        }
    }

    fn error(&self, what: &str) -> io::Error {
        io::Error::other(format!("{} {what}\n{}", self.spec.program.display(), self.log_end()))
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the end of {}'s log\n{}", self.spec.program.display(), self.log_end());
        }
        // The server may have ended already, and then there is nothing to kill.
        let _ = self.kill();
    }
}

fn start(spec: &Spec, log: &Path) -> io::Result<Child> {
    let log: File = OpenOptions::new().create(true).append(true).open(log)?;
    let mut command = spec.command();
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    spawn(command)
}

/// How long the threads of a stopped process may take to notice.
const STOPS_WITHIN: Duration = Duration::from_secs(5);

/// Whether no thread of a process runs any more; also when it is gone.
fn is_stopped(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
        matches!(state, None | Some('T' | 't' | 'Z' | 'X'))
    })
}

/// A process and all its descendants, parents before children. Servers put children into groups and sessions of
/// their own, so a signal to the group would miss them.
fn family(root: u32) -> io::Result<Vec<u32>> {
    let mut children = HashMap::<u32, Vec<u32>>::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // pid (name, which may hold anything) state parent ..
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut family = vec![root];
    let mut at = 0;
    while let Some(pid) = family.get(at) {
        family.extend(children.remove(pid).unwrap_or_default());
        at += 1;
    }
    Ok(family)
}
