//! The processes that tests start end with them, in every way in which tests can end.

#![allow(clippy::unwrap_used, reason = "clippy does not take the helpers of a test for tests")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use session_conformance::servers::{Process, Spec};

const SOON: Duration = Duration::from_secs(30);

/// A shell that writes a process id to `$PID` when it is ready.
fn shell(script: &str) -> (Process, u32) {
    let process = Process::start(
        |directory| Ok(Spec::new("/bin/sh").args(["-c", script]).env("PID", directory.join("pid"))),
        || true,
        SOON,
    );
    let process = process.unwrap();
    let pid = pid(process.directory());
    (process, pid)
}

/// The process id that the shell wrote.
fn pid(directory: &Path) -> u32 {
    let mut pid = None;
    until(|| {
        let text = fs::read_to_string(directory.join("pid"));
        pid = text.ok().and_then(|text| text.strip_suffix('\n')?.parse().ok());
        pid.is_some()
    });
    pid.unwrap()
}

fn parent_and_child() -> (Process, u32) {
    shell("sleep 600 & echo $! > $PID; wait")
}

fn until(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < SOON, "it does not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// `R`unning, `S`leeping, s`T`opped ..; `None` when there is no such process, or only what is left of one.
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next().filter(|state| *state != 'Z')
}

#[test]
fn a_dropped_process_is_gone_with_its_children_and_its_directory() {
    let (process, child) = parent_and_child();
    let (parent, directory) = (process.id(), process.directory().to_owned());
    assert!(state(parent).is_some() && state(child).is_some());
    drop(process);
    until(|| state(parent).is_none() && state(child).is_none());
    assert!(!directory.exists());
}

#[test]
fn a_pause_stops_a_process_and_its_children_until_it_is_resumed() {
    let (process, child) = parent_and_child();
    process.pause().unwrap();
    until(|| state(process.id()) == Some('T') && state(child) == Some('T'));
    assert!(process.is_running());
    process.resume().unwrap();
    until(|| state(process.id()) != Some('T') && state(child) != Some('T'));
}

#[test]
fn a_restart_runs_the_same_program_in_the_same_directory() {
    let (process, child) = parent_and_child();
    let before = process.id();
    fs::remove_file(process.directory().join("pid")).unwrap();
    process.restart(|| true, SOON).unwrap();
    assert_ne!(process.id(), before);
    assert_ne!(pid(process.directory()), child);
    until(|| state(child).is_none());
}

#[test]
fn a_process_that_ends_at_once_is_an_error_that_shows_what_it_printed() {
    let error = Process::start(
        |_| Ok(Spec::new("/bin/sh").args(["-c", "echo no such option; exit 3"])),
        || false,
        SOON,
    );
    let error = error.unwrap_err().to_string();
    assert!(error.contains("ended at once") && error.contains("no such option"), "{error}");
}

#[test]
fn a_killed_test_takes_its_processes_with_it() {
    let mut test = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "starts_a_process_and_waits"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(test.stdout.take().unwrap()).lines();
    let line = lines.map_while(Result::ok).find_map(|line| Some(line.split_once("started ")?.1.to_owned()));
    let line = line.unwrap();
    let (pid, directory) = line.split_once(' ').unwrap();
    let pid = pid.parse().unwrap();
    assert!(state(pid).is_some());
    test.kill().unwrap(); // SIGKILL: nothing is dropped
    test.wait().unwrap();
    until(|| state(pid).is_none());
    fs::remove_dir_all(Path::new(directory)).unwrap();
}

#[test]
#[ignore = "what the test above kills"]
fn starts_a_process_and_waits() {
    let (process, _) = shell("echo $$ > $PID; exec sleep 600");
    println!("started {} {}", process.id(), process.directory().display());
    std::thread::sleep(SOON);
}
