//! Bars with their spread, as SVG that can be read on light and on dark ground.

use std::fmt::Write as _;

use crate::report::{median, range};

/// One contender, and its figure of each round.
pub(crate) struct Bar<'a> {
    pub(crate) name: &'a str,
    pub(crate) figures: &'a [f64],
}

const WIDTH: f64 = 760.0;
/// Where the bars begin, and how long the longest can be.
const LEFT: f64 = 230.0;
const LENGTH: f64 = 400.0;
const TOP: f64 = 58.0;
const ROW: f64 = 30.0;
const THICK: f64 = 18.0;

const STYLE: &str = "text { font: 13px system-ui, sans-serif; fill: #1f2328 } \
    .title { font-weight: 600 } .unit, .figure { fill: #59636e } \
    .bar { fill: #8c959f } .ours { fill: #0969da } .spread { stroke: #1f2328; stroke-width: 1.5 } \
    @media (prefers-color-scheme: dark) { text { fill: #f0f6fc } .unit, .figure { fill: #9198a1 } \
    .bar { fill: #656c76 } .ours { fill: #4493f8 } .spread { stroke: #f0f6fc } }";

/// A bar is as long as the median; the line on it goes from the least to the largest.
pub(crate) fn bars(title: &str, unit: &str, bars: &[Bar<'_>], show: fn(f64) -> String) -> String {
    let most = bars.iter().map(|bar| range(bar.figures).1).fold(f64::MIN_POSITIVE, f64::max);
    let length = |figure: f64| (figure.max(0.0) / most * LENGTH).min(LENGTH);
    let height = TOP + ROW * bars.len() as f64 + 8.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         <text class=\"title\" x=\"8\" y=\"22\">{title}</text>\n\
         <text class=\"unit\" x=\"8\" y=\"42\">{unit}: median, least and largest of the rounds</text>\n",
        title = escaped(title),
        unit = escaped(unit),
    );
    for (at, bar) in bars.iter().enumerate() {
        let top = TOP + ROW * at as f64;
        let (middle, (least, largest)) = (top + THICK / 2.0, range(bar.figures));
        let ours =
            if bar.name.starts_with("ours") || bar.name.starts_with("session-") { " ours" } else { "" };
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n\
             <rect class=\"bar{ours}\" x=\"{LEFT}\" y=\"{top}\" width=\"{:.1}\" height=\"{THICK}\" rx=\"2\"/>\n\
             <line class=\"spread\" x1=\"{:.1}\" y1=\"{middle}\" x2=\"{:.1}\" y2=\"{middle}\"/>\n\
             <text class=\"figure\" x=\"{:.1}\" y=\"{}\">{}</text>\n",
            LEFT - 8.0,
            middle + 4.5,
            escaped(bar.name),
            length(median(bar.figures)),
            LEFT + length(least),
            LEFT + length(largest),
            LEFT + length(largest) + 8.0,
            middle + 4.5,
            show(median(bar.figures)),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_medians_and_names_are_text() {
        let of = |name, figures| Bar { name, figures };
        let svg = bars("a & b", "ops/s", &[of("Mutex<Map>", &[1.0, 2.0, 3.0]), of("ours", &[4.0])], |n| {
            n.to_string()
        });
        assert!(
            svg.contains("a &amp; b") && svg.contains("Mutex&lt;Map&gt;") && !svg.contains("x<M"),
            "{svg}"
        );
        assert!(svg.contains("class=\"bar\" x=\"230\" y=\"58\" width=\"200.0\""), "{svg}");
        assert!(svg.contains("class=\"bar ours\" x=\"230\" y=\"88\" width=\"400.0\""), "{svg}");
        assert!(svg.contains("x1=\"330.0\" y1=\"67\" x2=\"530.0\""), "{svg}");
    }
}
