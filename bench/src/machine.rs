//! What the operating system says about this machine and this process.

use std::time::Duration;

use anyhow::{Context as _, Result};

/// The bytes of this process that are in memory now.
pub(crate) fn resident_bytes() -> Result<u64> {
    let status =
        std::fs::read_to_string("/proc/self/status").context("resident memory is read from Linux's /proc")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS in /proc/self/status")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}

/// The bytes that could be taken without paging.
pub(crate) fn available_bytes() -> Result<u64> {
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let line = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib: u64 = line.context("no MemAvailable")?.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}

/// What a process and its children have taken, in steps of Linux's clock of processes, 10 ms.
pub(crate) fn processor_time(process: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).ok()?;
    let children = children.split_ascii_whitespace().filter_map(|child| processor_time(child.parse().ok()?));
    Some(Duration::from_millis(ticks * 10) + children.sum::<Duration>())
}

/// How many threads it runs at once, and how many others want to run: what to doubt a figure by.
pub(crate) fn description() -> String {
    let threads = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    format!("{threads} hardware threads, load average {load} at the start")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_takes_time() {
        let before = processor_time(std::process::id()).unwrap();
        while processor_time(std::process::id()).unwrap() < before + Duration::from_millis(30) {
            std::hint::spin_loop();
        }
        assert!(available_bytes().unwrap() > resident_bytes().unwrap() / 1024);
    }
}
