//! Tables, as Markdown for readers and as JSON for programs.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use crate::machine;
use crate::plot::{self, Bar};
use crate::rounds::{Contest, Effort, Series};

/// Everything that one run measured. Each table is printed as soon as it is there.
pub(crate) struct Report {
    suite: String,
    only: Option<String>,
    markdown: String,
    tables: Vec<Value>,
    /// Name of the file, and SVG.
    plots: Vec<(String, String)>,
}

impl Report {
    pub(crate) fn new(suite: &str, effort: Effort, only: Option<String>) -> Self {
        let mut report = Self {
            suite: suite.to_owned(),
            only,
            markdown: String::new(),
            tables: Vec::new(),
            plots: Vec::new(),
        };
        report.print(&format!("# {suite}\n\n{}; effort: {effort:?}.\n", machine::description()));
        report
    }

    /// Whether the table with this title is asked for.
    pub(crate) fn wants(&self, title: &str) -> bool {
        self.only.as_ref().is_none_or(|text| title.contains(text.as_str()))
    }

    /// Whether it was asked for by name.
    pub(crate) fn asks_for(&self, title: &str) -> bool {
        self.only.is_some() && self.wants(title)
    }

    /// Runs a contest and shows how each contender did, in ratio to the first.
    pub(crate) async fn contest(&mut self, contest: Contest) -> Result<()> {
        let plural = if contest.tasks == 1 { "" } else { "s" };
        let title = format!("{}, {} task{plural}", contest.title, contest.tasks);
        if !self.wants(&title) {
            return Ok(());
        }
        let results = contest.run().await?;
        let (baseline, reference) = &results[0];
        let of = format!("of {baseline}");
        let mut headings = vec!["", "ops/s", "p50", "p99", &of];
        let processes = !reference.processor_ns.is_empty();
        if processes {
            headings.push("its processor time");
        }
        let rows = results.iter().map(|(name, series)| {
            let ratios = ratios(&series.per_second, &reference.per_second);
            let mut row = vec![
                (*name).to_owned(),
                rate(median(&series.per_second)),
                time(median(&series.p50_ns)),
                time(median(&series.p99_ns)),
                spread(&ratios),
            ];
            if processes {
                row.push(time(median(&series.processor_ns)));
            }
            row
        });
        self.table(&title, &headings, rows.collect(), results.iter().map(raw).collect());
        let bars: Vec<_> =
            results.iter().map(|(name, series)| Bar { name, figures: &series.per_second }).collect();
        self.plot(&title, "operations per second", &bars, rate);
        Ok(())
    }

    /// Draws what the last table says.
    pub(crate) fn plot(&mut self, title: &str, unit: &str, bars: &[Bar<'_>], show: fn(f64) -> String) {
        let file = format!("{}.svg", slug(title));
        let _ = writeln!(self.markdown, "\n![{title}]({}/{file})", self.suite);
        self.plots.push((file, plot::bars(title, unit, bars, show)));
    }

    /// Shows any other table. `raw` holds the figures behind it.
    pub(crate) fn table(&mut self, title: &str, headings: &[&str], rows: Vec<Vec<String>>, raw: Vec<Value>) {
        let mut text =
            format!("\n## {title}\n\n| {} |\n|{}\n", headings.join(" | "), "---|".repeat(headings.len()));
        for row in rows {
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
        self.print(&text);
        self.tables.push(json!({ "title": title, "results": raw }));
    }

    fn print(&mut self, text: &str) {
        print!("{text}");
        self.markdown.push_str(text);
    }

    /// Writes `results/<suite>.md`, `.json` and a directory of plots beside this package's manifest.
    pub(crate) fn save(self) -> Result<()> {
        if self.only.is_some() {
            return Ok(());
        }
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
        std::fs::create_dir_all(&directory)?;
        let path = directory.join(&self.suite);
        std::fs::write(path.with_extension("md"), self.markdown)?;
        std::fs::write(path.with_extension("json"), serde_json::to_vec_pretty(&self.tables)?)?;
        std::fs::create_dir_all(&path)?;
        for (file, svg) in self.plots {
            std::fs::write(path.join(file), svg)?;
        }
        Ok(())
    }
}

fn raw((name, series): &(&'static str, Series)) -> Value {
    json!({
        "name": name,
        "ops_per_second": series.per_second,
        "p50_ns": series.p50_ns,
        "p99_ns": series.p99_ns,
        "processor_ns": series.processor_ns,
    })
}

/// Round by round, so that what slowed a round down slowed both.
pub(crate) fn ratios(these: &[f64], those: &[f64]) -> Vec<f64> {
    these.iter().zip(those).map(|(this, that)| this / that).collect()
}

pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

pub(crate) fn range(figures: &[f64]) -> (f64, f64) {
    let wider = |(least, most): (f64, f64), figure: &f64| (least.min(*figure), most.max(*figure));
    figures.iter().fold((f64::INFINITY, f64::NEG_INFINITY), wider)
}

/// The median, and the least and the largest.
pub(crate) fn spread(figures: &[f64]) -> String {
    let (least, most) = range(figures);
    format!("{:.2} ({least:.2} to {most:.2})", median(figures))
}

pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate >= 1e6 => format!("{:.2} M", rate / 1e6),
        rate if rate < 1e4 => format!("{:.2} k", rate / 1e3),
        rate => format!("{:.0} k", rate / 1e3),
    }
}

pub(crate) fn time(nanos: f64) -> String {
    match nanos {
        ns if ns >= 1e6 => format!("{:.2} ms", ns / 1e6),
        ns if ns >= 1e4 => format!("{:.1} us", ns / 1e3),
        ns => format!("{ns:.0} ns"),
    }
}

/// As the name of a file.
fn slug(title: &str) -> String {
    let words = title.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_lowercase()
}
