//! The same servers under `wrk`, a client that is quicker than ours, since it looks at the status of an answer only.

use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::served::{CONNECTIONS, Handler, Server};
use crate::report::{Report, median, rate, ratios, spread};
use crate::rounds::Effort;

const SCRIPT: &str = include_str!("wrk.lua");

pub(crate) fn is_installed() -> bool {
    Command::new("wrk").arg("--version").output().is_ok()
}

/// The servers take turns; the first is what the others are compared with.
pub(crate) async fn contest(
    title: &str,
    servers: &[Arc<Server>],
    handler: Handler,
    effort: Effort,
    report: &mut Report,
) -> Result<()> {
    let (rounds, seconds) = effort.pick((1, 1), (5, 2));
    let mut made: Vec<Vec<f64>> = vec![Vec::new(); servers.len()];
    // The first round does not count.
    for round in 0..=rounds {
        for turn in 0..servers.len() {
            let at = (round + turn) % servers.len();
            let per_second = load(&servers[at], handler, seconds).await?;
            if round > 0 {
                made[at].push(per_second);
            }
        }
    }
    let (mut rows, mut raw) = (Vec::new(), Vec::new());
    for (server, made_by) in servers.iter().zip(&made) {
        let of_first = ratios(made_by, &made[0]);
        rows.push(vec![server.name().to_owned(), rate(median(made_by)), spread(&of_first)]);
        raw.push(json!({ "name": server.name(), "per_second": made_by }));
    }
    report.table(title, &["", "requests/s", &format!("of {}", servers[0].name())], rows, raw);
    Ok(())
}

/// Requests a second.
async fn load(server: &Server, handler: Handler, seconds: u32) -> Result<f64> {
    let (port, cookies) = server.visitors().await?;
    let directory = tempfile::tempdir()?;
    let (script, sessions) = (directory.path().join("wrk.lua"), directory.path().join("cookies"));
    std::fs::write(&script, SCRIPT)?;
    std::fs::write(&sessions, cookies.join("\n"))?;
    let (connections, duration) = (format!("-c{CONNECTIONS}"), format!("-d{seconds}s"));
    let url = format!("http://127.0.0.1:{port}{}", handler.path());
    let mut wrk = tokio::process::Command::new("wrk");
    wrk.args(["-t1", &connections, &duration, "-s"]).arg(script).arg(url).env("COOKIES", sessions);
    let output = wrk.output().await?;
    let said = String::from_utf8_lossy(&output.stdout);
    let wrong = ["Non-2xx", "Socket errors"].into_iter().any(|sign| said.contains(sign));
    ensure!(output.status.success() && !wrong, "{}: {said}", server.name());
    let figure = said.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    Ok(figure.with_context(|| format!("wrk said {said}"))?.trim().parse()?)
}
