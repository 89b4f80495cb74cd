//! What the operating system says about this machine and this process.

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

/// How many threads it runs at once, and how many others want to run: what to doubt a figure by.
pub(crate) fn description() -> String {
    let threads = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    format!("{threads} hardware threads, load average {load} at the start")
}
