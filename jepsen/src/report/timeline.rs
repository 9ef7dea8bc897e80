//! The picture of a run: faults, what was found, throughput and latency over the same seconds.

use std::fmt::Write;

use super::Report;
use super::format::escape;
use super::lanes::{Band, bands};
use super::series::{Bucket, Series};
use crate::checker::Verdict;
use crate::history::Op;

/// All lengths are in the picture's own units; the page scales it.
const WIDTH: f64 = 1200.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 16.0;
const LANE: f64 = 20.0;
const FINDINGS: f64 = 26.0;
const THROUGHPUT: f64 = 170.0;
const LATENCY: f64 = 150.0;
const GAP: f64 = 34.0;
/// Width of a letter of a label, and of a fault's name in its band.
const LETTER: f64 = 6.6;
const BOLD: f64 = 7.6;

/// A name, a colour, and what is counted.
type Layer = (&'static str, &'static str, fn(&Bucket) -> u64);
/// Throughput, from the bottom up.
const STACK: [Layer; 4] = [
    ("sends", "#3d8f5f", |bucket| bucket.sent),
    ("polls and questions", "#9cc7ae", |bucket| bucket.other),
    ("indeterminate", "#e0a326", |bucket| bucket.info),
    ("failed", "#c94a4a", |bucket| bucket.fail),
];

struct Picture<'a> {
    svg: String,
    series: &'a Series,
}

pub fn picture(report: &Report, history: &[Op], series: &Series) -> String {
    let (bands, lanes) = bands(&report.faults, series.end);
    let top = 8.0 + lanes as f64 * LANE;
    let throughput = top + FINDINGS + 18.0;
    let latency = throughput + THROUGHPUT + GAP;
    let height = latency + LATENCY + 34.0;
    let mut picture = Picture { svg: String::new(), series };
    for band in &bands {
        picture.shade(band, throughput, latency + LATENCY);
        picture.band(band);
    }
    picture.findings(report, history, top);
    picture.throughput(throughput);
    picture.latency(latency);
    picture.healed(height);
    picture.seconds(latency + LATENCY);
    let svg = picture.svg;
    format!(
        "<div class=\"wide\"><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"faults, throughput and latency over time\">{svg}</svg></div>\
         <p class=\"small\">A dashed fault took no effect. Everything has a tooltip.</p>"
    )
}

impl Picture<'_> {
    fn x(&self, time: u64) -> f64 {
        let end = self.series.width * self.series.buckets.len() as u64;
        LEFT + (WIDTH - LEFT - RIGHT) * time as f64 / end.max(1) as f64
    }

    fn rect(&mut self, x: (f64, f64), y: (f64, f64), style: &str, title: &str) {
        let (width, height) = ((x.1 - x.0).max(0.5), (y.1 - y.0).max(0.0));
        let title = if title.is_empty() {
            String::new()
        } else {
            format!("<title>{}</title>", escape(title))
        };
        let _ = write!(
            self.svg,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" {style}>{title}</rect>",
            x.0, y.0
        );
    }

    fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let text = escape(text);
        let _ = write!(self.svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{text}</text>");
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let _ = write!(
            self.svg,
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" class=\"{class}\"/>",
            from.0, from.1, to.0, to.1
        );
    }

    fn shade(&mut self, band: &Band<'_>, top: f64, bottom: f64) {
        if band.fault.bit() {
            let style = format!("fill=\"{}\" opacity=\"0.10\"", band.colour);
            self.rect((self.x(band.from), self.x(band.to)), (top, bottom), &style, "");
        }
    }

    /// A fault that took no effect is only outlined.
    fn band(&mut self, band: &Band<'_>) {
        let (fault, colour) = (band.fault, band.colour);
        let (from, to) = (self.x(band.from), self.x(band.to));
        let y = 6.0 + band.lane as f64 * LANE;
        let style = if fault.bit() {
            format!("rx=\"3\" fill=\"{colour}\"")
        } else {
            format!("rx=\"3\" fill=\"none\" stroke=\"{colour}\" stroke-dasharray=\"3 2\"")
        };
        let mut title = format!("{}: {}", fault.name, fault.begin.words());
        if let Some(end) = &fault.end {
            let _ = write!(title, "\n{}", end.words());
        }
        self.rect((from, to.max(from + 2.0)), (y, y + LANE - 4.0), &style, &title);
        let needed = fault.name.len() as f64 * BOLD + 6.0;
        let class = if fault.bit() { "inside" } else { "label" };
        if to - from > needed {
            self.text(from + 4.0, y + 12.0, class, &fault.name);
        } else if to + needed < WIDTH {
            self.text(to + 3.0, y + 12.0, "label", &fault.name);
        } else {
            self.text(from - 3.0, y + 12.0, "label end", &fault.name);
        }
    }

    /// A mark at each operation that shows something wrong.
    fn findings(&mut self, report: &Report, history: &[Op], top: f64) {
        self.text(LEFT - 6.0, top + 16.0, "axis end", "findings");
        self.line((LEFT, top + 12.0), (WIDTH - RIGHT, top + 12.0), "grid");
        for finding in report.findings.iter().filter(|finding| finding.verdict != Verdict::Valid) {
            for index in &finding.ops {
                let op = usize::try_from(*index).ok().and_then(|index| history.get(index));
                let Some(op) = op else { continue };
                let (x, y) = (self.x(op.time), top + 12.0);
                let title = escape(&format!("{}: operation {index}", finding.anomaly));
                let verdict = finding.verdict;
                let _ = write!(
                    self.svg,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\" class=\"mark {verdict}\"><title>{title}</title></circle>"
                );
            }
        }
    }

    fn throughput(&mut self, top: f64) {
        let second = self.series.width as f64 / 1e9;
        let totals = self
            .series
            .buckets
            .iter()
            .map(|bucket| STACK.iter().map(|(_, _, count)| count(bucket)).sum::<u64>());
        let most = round_up(totals.max().unwrap_or(0) as f64 / second);
        let bottom = top + THROUGHPUT;
        for part in 0..=4 {
            let y = bottom - THROUGHPUT * f64::from(part) / 4.0;
            self.line((LEFT, y), (WIDTH - RIGHT, y), "grid");
            let label = most * f64::from(part) / 4.0;
            self.text(LEFT - 6.0, y + 4.0, "axis end", &format!("{label}"));
        }
        for (number, bucket) in self.series.buckets.iter().enumerate() {
            let begin = number as u64 * self.series.width;
            let (from, to) = (self.x(begin), self.x(begin + self.series.width));
            let mut y = bottom;
            for (name, colour, count) in STACK {
                let rate = count(bucket) as f64 / second;
                if rate > 0.0 {
                    let next = y - THROUGHPUT * rate / most;
                    let title =
                        format!("second {:.0}: {rate:.0} {name} a second", begin as f64 / 1e9);
                    let style = format!("fill=\"{colour}\"");
                    self.rect((from, to - 0.6), (next, y), &style, &title);
                    y = next;
                }
            }
        }
        let entries = STACK.map(|(name, colour, _)| (name, colour));
        self.legend(top - 8.0, "operations a second:", &entries);
    }

    fn legend(&mut self, y: f64, title: &str, entries: &[(&str, &str)]) {
        self.text(LEFT, y, "label strong", title);
        let mut x = LEFT + title.len() as f64 * LETTER + 8.0;
        for (name, colour) in entries {
            self.rect((x, x + 10.0), (y - 9.0, y + 1.0), &format!("fill=\"{colour}\""), "");
            self.text(x + 14.0, y, "label", name);
            x += name.len() as f64 * LETTER + 28.0;
        }
    }

    /// On a logarithmic scale from 0.1 ms to as many powers of ten as it takes.
    fn latency(&mut self, top: f64) {
        let longest =
            self.series.buckets.iter().filter_map(|bucket| bucket.p99).fold(10.0, f64::max);
        let decades = (longest.log10().ceil() + 1.0).max(2.0);
        let y = move |ms: f64| {
            top + LATENCY - LATENCY * ((ms.max(0.1).log10() + 1.0) / decades).min(1.0)
        };
        for decade in 0..=(decades as i32) {
            let ms = 10f64.powi(decade - 1);
            self.line((LEFT, y(ms)), (WIDTH - RIGHT, y(ms)), "grid");
            let label = if ms < 1000.0 { format!("{ms} ms") } else { format!("{} s", ms / 1000.0) };
            self.text(LEFT - 6.0, y(ms) + 4.0, "axis end", &label);
        }
        for class in ["p99", "p50"] {
            let mut path = String::new();
            let mut pen_up = true;
            for (number, bucket) in self.series.buckets.iter().enumerate() {
                let ms = if class == "p50" { bucket.p50 } else { bucket.p99 };
                let Some(ms) = ms else {
                    pen_up = true;
                    continue;
                };
                let middle = number as u64 * self.series.width + self.series.width / 2;
                let letter = if pen_up { "M" } else { "L" };
                // A point of its own would not be seen.
                let alone = if pen_up { "h0.01" } else { "" };
                let _ = write!(path, "{letter}{:.1} {:.1}{alone}", self.x(middle), y(ms));
                pen_up = false;
            }
            let _ = write!(self.svg, "<path d=\"{path}\" class=\"{class}\"/>");
        }
        let title = format!("latency of {} that succeeded:", self.series.timed);
        self.legend(top - 8.0, &title, &[("p50", "#2a5d9f"), ("p99", "#c2703d")]);
    }

    fn healed(&mut self, bottom: f64) {
        if let Some(healed) = self.series.healed {
            let x = self.x(healed);
            self.line((x, 4.0), (x, bottom - 34.0), "healed");
            let (x, class) =
                if x > WIDTH * 0.8 { (x - 5.0, "label end") } else { (x + 5.0, "label") };
            self.text(x, bottom - 40.0, class, "healed, final reads");
        }
    }

    fn seconds(&mut self, bottom: f64) {
        let end = (self.series.width * self.series.buckets.len() as u64) as f64 / 1e9;
        let step = [1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0]
            .into_iter()
            .find(|step| end / step <= 16.0)
            .unwrap_or(7200.0);
        let mut second = 0.0;
        while second <= end {
            let x = self.x((second * 1e9) as u64);
            self.line((x, bottom), (x, bottom + 5.0), "tick");
            self.text(x, bottom + 18.0, "axis middle", &format!("{second} s"));
            second += step;
        }
    }
}

/// To a number that four parts of look good.
fn round_up(number: f64) -> f64 {
    let power = 10f64.powf(number.max(4.0).log10().floor());
    let steps = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0].map(|step| step * power);
    steps.into_iter().find(|step| *step >= number).unwrap_or(10.0 * power)
}
