//! A child that is stopped at its system calls, and killed at one of them.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::support::Process;

/// A child whose one blocking thread, the one that does the operations, is traced.
pub(crate) struct Traced {
    process: Process,
    thread: Pid,
}

impl Traced {
    /// `None` where a process may not trace its own child.
    pub(crate) fn start(role: &str, directory: &Path, act: &str) -> Option<Self> {
        let process = Process::start(role, directory, act);
        let thread = blocking_thread(&process);
        match ptrace::seize(thread, Options::PTRACE_O_TRACESYSGOOD) {
            Err(Errno::EPERM | Errno::ENOSYS) => return None,
            done => done.unwrap(),
        }
        ptrace::interrupt(thread).unwrap();
        wait(thread);
        Some(Self { process, thread })
    }

    /// Lets the operation begin.
    pub(crate) fn go(&mut self) {
        self.process.child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    }

    /// Lets the operation begin and go on to its `n`th call that may change something, or to its end: whether there
    /// was an `n`th.
    pub(crate) fn run_to(&mut self, n: usize) -> bool {
        self.go();
        (0..n).all(|_| self.next_call().is_some())
    }

    /// Goes on to the next call that may change something; `None` at the end.
    ///
    /// When the main thread ends the process, this thread's calls answer that there is no such thread (`ESRCH`) until
    /// the wait says so.
    pub(crate) fn next_call(&mut self) -> Option<Call> {
        loop {
            match ptrace::syscall(self.thread, None) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => panic!("the child cannot go on: {error}"),
            }
            match wait(self.thread) {
                WaitStatus::PtraceSyscall(_) => {}
                WaitStatus::Exited(..) => return None,
                WaitStatus::Signaled(_, signal, _) => panic!("the child died of {signal}"),
                _ => continue,
            }
            let at_entry = match ptrace::syscall_info(self.thread) {
                Ok(info) => info.op == libc::PTRACE_SYSCALL_INFO_ENTRY,
                Err(Errno::ESRCH) => false,
                Err(error) => panic!("the child does not say where it stands: {error}"),
            };
            if let Some(call) = at_entry.then(|| self.call()).flatten().filter(Call::may_change_something) {
                return Some(call);
            }
        }
    }

    /// Kills it where it stands. What it had said.
    pub(crate) fn kill(mut self) -> Vec<String> {
        kill(Pid::from_raw(self.process.child.id().cast_signed()), Signal::SIGKILL).unwrap();
        while !matches!(wait(self.thread), WaitStatus::Signaled(..) | WaitStatus::Exited(..)) {}
        self.finish()
    }

    /// Lets it go on to its end. What it said.
    pub(crate) fn run_on(mut self) -> Vec<String> {
        ptrace::detach(self.thread, None).unwrap();
        self.finish()
    }

    /// What it said, once it has ended.
    pub(crate) fn finish(&mut self) -> Vec<String> {
        let lines = self.process.rest();
        self.process.child.wait().unwrap();
        lines
    }

    /// The call at which it stands. For a moment after its stop, a thread may still count as running.
    fn call(&self) -> Option<Call> {
        loop {
            match std::fs::read_to_string(format!("/proc/{}/syscall", self.thread)) {
                Ok(text) if text.trim() == "running" => std::thread::yield_now(),
                Ok(text) => return Some(Call::parse(&text)),
                // It has been ended.
                Err(_) => return None,
            }
        }
    }

    /// The file or directory behind one of its descriptors.
    pub(crate) fn path_of(&self, descriptor: u64) -> PathBuf {
        std::fs::read_link(format!("/proc/{}/fd/{descriptor}", self.thread)).unwrap()
    }

    /// A path among the arguments of a call, below the directory of a descriptor if it is relative.
    pub(crate) fn path_at(&self, descriptor: u64, address: u64) -> PathBuf {
        let memory = File::open(format!("/proc/{}/mem", self.thread)).unwrap();
        let mut text = Vec::new();
        let mut byte = [0];
        loop {
            memory.read_exact_at(&mut byte, address + text.len() as u64).unwrap();
            if byte == [0] {
                break;
            }
            text.push(byte[0]);
        }
        let path = PathBuf::from(OsString::from_vec(text));
        if path.is_absolute() { path } else { self.path_of(descriptor).join(path) }
    }
}

/// A system call: its number and its arguments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) number: i64,
    pub(crate) arguments: [u64; 6],
}

impl Call {
    fn parse(text: &str) -> Self {
        let mut words = text.split_whitespace();
        let number = words.next().unwrap().parse().unwrap();
        let mut next = || u64::from_str_radix(words.next()?.trim_start_matches("0x"), 16).ok();
        // A thread that is stopped outside of any call has none.
        Self { number, arguments: std::array::from_fn(|_| next().unwrap_or(0)) }
    }

    /// Whether it makes a file or a directory's file, if it opens one.
    pub(crate) fn makes_a_file(&self) -> bool {
        let making = (libc::O_CREAT | libc::O_TRUNC | libc::O_TMPFILE & !libc::O_DIRECTORY) as u64;
        match self.number {
            #[cfg(target_arch = "x86_64")]
            libc::SYS_open => self.arguments[1] & making != 0,
            libc::SYS_openat => self.arguments[2] & making != 0,
            _ => false,
        }
    }

    /// All calls but those that are known to change nothing, so that a call that is new to this store is not missed.
    fn may_change_something(&self) -> bool {
        const HARMLESS: [i64; 25] = [
            libc::SYS_brk,
            libc::SYS_clock_gettime,
            libc::SYS_clock_nanosleep,
            libc::SYS_close,
            libc::SYS_fcntl,
            libc::SYS_flock,
            libc::SYS_fstat,
            libc::SYS_fstatfs,
            libc::SYS_futex,
            libc::SYS_getdents64,
            libc::SYS_geteuid,
            libc::SYS_getrandom,
            libc::SYS_lseek,
            libc::SYS_madvise,
            libc::SYS_mmap,
            libc::SYS_mprotect,
            libc::SYS_mremap,
            libc::SYS_munmap,
            libc::SYS_newfstatat,
            // Not used to make files.
            libc::SYS_openat2,
            libc::SYS_pread64,
            libc::SYS_read,
            libc::SYS_restart_syscall,
            libc::SYS_sched_yield,
            libc::SYS_statx,
        ];
        match self.number {
            #[cfg(target_arch = "x86_64")]
            libc::SYS_open => self.makes_a_file(),
            libc::SYS_openat => self.makes_a_file(),
            other => !HARMLESS.contains(&other),
        }
    }
}

/// A test that fails leaves no child behind, which the end of the test would wait for.
impl Drop for Traced {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.process.child.kill();
            while let Ok(
                WaitStatus::PtraceSyscall(_) | WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(..),
            ) = waitpid(self.thread, Some(WaitPidFlag::__WALL))
            {}
        }
    }
}

fn wait(thread: Pid) -> WaitStatus {
    waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap()
}

/// The child has a main thread and this one.
fn blocking_thread(process: &Process) -> Pid {
    let main = process.child.id().to_string();
    let tasks = std::fs::read_dir(format!("/proc/{main}/task")).unwrap();
    let names: Vec<_> = tasks.map(|task| task.unwrap().file_name().into_string().unwrap()).collect();
    let [other] = &names.iter().filter(|name| **name != main).collect::<Vec<_>>()[..] else {
        panic!("the child has the threads {names:?}")
    };
    Pid::from_raw(other.parse().unwrap())
}
