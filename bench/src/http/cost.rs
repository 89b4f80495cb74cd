//! What sessions in memory cost a request when no network hides it: the service is called directly, in this process.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::plot::Bar;
use crate::report::{Report, median, range, time};
use crate::rounds::{Contest, Effort};
use crate::{direct, programs};

const TITLE: &str = "what sessions in memory cost a request, without network, one task";

pub(crate) async fn run(effort: Effort, report: &mut Report) -> Result<()> {
    if !report.wants(TITLE) {
        return Ok(());
    }
    let allocations = allocations()?;
    let contest = Contest {
        title: TITLE.to_owned(),
        contenders: direct::contenders().await?,
        tasks: 1,
        operations: effort.pick(20_000, 100_000),
        rounds: effort.pick(5, 15),
    };
    let times: Vec<_> = contest
        .run()
        .await?
        .into_iter()
        .map(|(name, series)| (name, series.per_second.iter().map(|rate| 1e9 / rate).collect::<Vec<_>>()))
        .collect();
    let (mut rows, mut raw) = (Vec::new(), Vec::new());
    for ((name, nanos), count) in times.iter().zip(&allocations) {
        // Round by round, so that what slowed a round down slowed both.
        let above: Vec<_> = nanos.iter().zip(&times[0].1).map(|(this, that)| this - that).collect();
        let (least, most) = range(&above);
        rows.push(vec![
            (*name).to_owned(),
            format!("{:.0}", median(nanos)),
            format!("{:.0} ({least:.0} to {most:.0})", median(&above)),
            format!("{count:.1}"),
            format!("{:.1}", count - allocations[0]),
        ]);
        raw.push(json!({ "name": name, "ns": nanos, "ns_above": above, "allocations": count }));
    }
    let headings = ["", "ns", "ns above no sessions", "allocations", "above no sessions"];
    report.table(TITLE, &headings, rows, raw);
    let bars: Vec<_> = times.iter().map(|(name, figures)| Bar { name, figures }).collect();
    report.plot(TITLE, "nanoseconds a request", &bars, time);
    Ok(())
}

/// In the order of the contenders.
fn allocations() -> Result<Vec<f64>> {
    let program = programs::build(".", "session-bench-allocations", "SESSION_BENCH_ALLOCATIONS")?;
    let counted = Command::new(program).output()?;
    ensure!(counted.status.success(), "{}", String::from_utf8_lossy(&counted.stderr));
    let lines = String::from_utf8(counted.stdout)?;
    lines.lines().map(|line| Ok(line.split(' ').next().context("an empty line")?.parse()?)).collect()
}
