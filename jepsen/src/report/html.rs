//! The page as a whole.

use std::fmt::Write;
use std::path::Path;

use super::format::{badge, escape, milliseconds};
use super::series::Series;
use super::{Report, faults, findings, operations, timeline};
use crate::checker::Verdict;
use crate::history::Op;

const STYLE: &str = include_str!("style.css");

pub fn page(dir: &Path, report: &Report, history: &[Op], series: &Series) -> String {
    let (title, verdict) = (escape(&report.title), report.verdict);
    let body = [
        header(report, series),
        section("What happened when", &timeline::picture(report, history, series)),
        section("Findings", &findings::cards(report, history)),
        section("Faults", &faults::table(&report.faults)),
        section("Operations", &operations::table(&series.totals)),
        section("How to do it again", &again(report)),
        section("Files", &files(dir, report)),
    ]
    .concat();
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{verdict}: {title}</title>\n<style>\n{STYLE}</style></head>\n<body>{body}</body></html>\n"
    )
}

fn section(title: &str, content: &str) -> String {
    format!("<section><h2>{title}</h2>{content}</section>\n")
}

fn header(report: &Report, series: &Series) -> String {
    let ok: u64 = series.totals.by_kind.values().map(|counts| counts.ok).sum();
    let sends = series.totals.by_kind.get("send").cloned().unwrap_or_default();
    let bit = report.faults.iter().filter(|fault| fault.bit()).count();
    let sent = sends.ok + sends.info + sends.fail;
    let share = |part: u64| part as f64 * 100.0 / sent.max(1) as f64;
    let cards = [
        ("operations", format!("{}", series.totals.operations), format!("{ok} succeeded")),
        (
            "sends",
            format!("{sent}"),
            format!("{:.1} % indeterminate, {:.1} % failed", share(sends.info), share(sends.fail)),
        ),
        ("send latency", milliseconds(sends.p50_ms), format!("p99 {}", milliseconds(sends.p99_ms))),
        ("faults", format!("{bit}"), format!("took effect, of {} begun", report.faults.len())),
        ("length", format!("{:.0} s", series.totals.seconds), format!("seed {}", report.seed)),
    ];
    let cards = cards.iter().fold(String::new(), |mut html, (name, big, small)| {
        let _ = write!(
            html,
            "<div class=\"card\"><div class=\"name\">{name}</div><div class=\"big\">{big}</div>\
             <div class=\"small\">{small}</div></div>"
        );
        html
    });
    format!(
        "<header><h1>{} {}</h1><p class=\"lead\">{}</p><div class=\"cards\">{cards}</div></header>\n",
        badge(report.verdict),
        escape(&report.title),
        escape(&in_words(report))
    )
}

fn in_words(report: &Report) -> String {
    let named = |verdict: Verdict| {
        let findings = report.findings.iter().filter(|finding| finding.verdict == verdict);
        let named: Vec<String> =
            findings.map(|finding| format!("{} ({})", finding.anomaly, finding.count)).collect();
        named.join(", ")
    };
    let workload = &report.workload;
    match report.verdict {
        Verdict::Valid => format!("Workload {workload}: everything clients saw can be explained."),
        Verdict::Unknown => {
            format!(
                "Workload {workload}: nothing is known to be wrong, but {}.",
                named(Verdict::Unknown)
            )
        }
        Verdict::Invalid => format!("Workload {workload}: {}.", named(Verdict::Invalid)),
    }
}

fn again(report: &Report) -> String {
    format!(
        "<p>The seed decides faults, targets and clients; only the timing of the machine is not in it.</p>\
         <pre>{}</pre>",
        escape(&report.replay)
    )
}

/// Links are relative where they can be, so that the directory may be moved.
fn files(dir: &Path, report: &Report) -> String {
    let own = ["history.edn", "result.json"].map(|name| dir.join(name));
    let mut html = "<ul class=\"files\">".to_owned();
    for path in own.iter().chain(&report.files) {
        let name = path.strip_prefix(dir).unwrap_or(path).to_string_lossy();
        let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let name = escape(&name);
        let _ =
            write!(html, "<li><a href=\"{name}\">{name}</a> <small>{}</small></li>", bytes(size));
    }
    html + "</ul>"
}

fn bytes(size: u64) -> String {
    match size {
        0..10_000 => format!("{size} bytes"),
        10_000..10_000_000 => format!("{} KB", size / 1000),
        _ => format!("{} MB", size / 1_000_000),
    }
}
