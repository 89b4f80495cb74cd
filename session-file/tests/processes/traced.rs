//! A child that is stopped at its system calls, and killed at one of them.

use std::io::Write as _;
use std::path::Path;

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
    pub(crate) fn start(directory: &Path, act: &str) -> Option<Self> {
        let process = Process::start("act", directory, act);
        let thread = blocking_thread(&process);
        match ptrace::seize(thread, Options::PTRACE_O_TRACESYSGOOD) {
            Err(Errno::EPERM | Errno::ENOSYS) => return None,
            done => done.unwrap(),
        }
        ptrace::interrupt(thread).unwrap();
        wait(thread);
        Some(Self { process, thread })
    }

    /// Lets the operation begin and go on to its `n`th call that may change something, or to its end: whether there
    /// was an `n`th.
    pub(crate) fn run_to(&mut self, n: usize) -> bool {
        self.process.child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        let mut left = n;
        loop {
            match ptrace::syscall(self.thread, None) {
                // The child is ending, which the wait will say.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => panic!("the child cannot go on: {error}"),
            }
            match wait(self.thread) {
                WaitStatus::PtraceSyscall(_) => {}
                WaitStatus::Exited(..) => return false,
                WaitStatus::Signaled(_, signal, _) => panic!("the child died of {signal}"),
                _ => continue,
            }
            let call = ptrace::syscall_info(self.thread).unwrap();
            if call.op == libc::PTRACE_SYSCALL_INFO_ENTRY && self.may_change_something() {
                left -= 1;
                if left == 0 {
                    return true;
                }
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

    /// The number of the call and its arguments. For a moment after its stop, a thread may still count as running.
    fn call(&self) -> String {
        loop {
            let text = std::fs::read_to_string(format!("/proc/{}/syscall", self.thread)).unwrap();
            if text.trim() != "running" {
                return text;
            }
            std::thread::yield_now();
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
        let text = self.call();
        let mut words = text.split_whitespace();
        let number: i64 = words.next().unwrap().parse().unwrap();
        let mut argument =
            |n| i64::from_str_radix(words.nth(n).unwrap().trim_start_matches("0x"), 16).unwrap();
        let making = i64::from(libc::O_CREAT | libc::O_TRUNC | libc::O_TMPFILE & !libc::O_DIRECTORY);
        match number {
            #[cfg(target_arch = "x86_64")]
            libc::SYS_open => argument(1) & making != 0,
            libc::SYS_openat => argument(2) & making != 0,
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
