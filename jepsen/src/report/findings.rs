//! What was found, with the operations that show it: both events of each, as they stand in the history.

use std::fmt::Write;

use super::Report;
use super::explain::sentence;
use super::format::{badge, escape, seconds};
use crate::checker::{Finding, Verdict};
use crate::history::{Kind, Op, Process};

/// Longer operations are cut here; the history has them whole.
const LONGEST: usize = 600;

pub fn cards(report: &Report, history: &[Op]) -> String {
    if report.findings.is_empty() {
        return "<p class=\"none\">Nothing was found.</p>".to_owned();
    }
    let mut findings: Vec<&Finding> = report.findings.iter().collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.verdict));
    findings.into_iter().map(|finding| card(finding, history)).collect()
}

fn card(finding: &Finding, history: &[Op]) -> String {
    let cases: String =
        finding.cases.iter().map(|case| format!("<li>{}</li>", escape(case))).collect();
    let events = events(finding, history);
    let operations = if events.is_empty() {
        String::new()
    } else {
        format!(
            "<details open><summary>Operations</summary><div class=\"wide\"><table class=\"ops\">\
                 <tr><th class=\"number\">index<th class=\"number\">second<th class=\"number\">process<th>type<th>operation</tr>{events}</table></div></details>"
        )
    };
    let more = match finding.count.saturating_sub(finding.cases.len() as u64) {
        0 => String::new(),
        more => format!("<p class=\"small\">and {more} more</p>"),
    };
    format!(
        "<article class=\"finding {}\"><h3>{} <code>{}</code> <small>{}×</small></h3><p>{}</p><ul>{cases}</ul>{more}{operations}</article>",
        finding.verdict,
        match finding.verdict {
            Verdict::Valid => "<span class=\"badge plain\">note</span>".to_owned(),
            other => badge(other),
        },
        escape(&finding.anomaly),
        finding.count,
        sentence(&finding.anomaly),
    )
}

/// The named operations and their other halves, in the order of the history.
fn events(finding: &Finding, history: &[Op]) -> String {
    let mut indexes: Vec<usize> = Vec::new();
    for index in finding.ops.iter().filter_map(|index| usize::try_from(*index).ok()) {
        if index < history.len() {
            indexes.push(index);
            indexes.extend(other_half(history, index));
        }
    }
    indexes.sort_unstable();
    indexes.dedup();
    let mut html = String::new();
    for op in indexes.into_iter().map(|index| &history[index]) {
        let process = match op.process {
            Process::Client(number) => number.to_string(),
            Process::Nemesis => "nemesis".to_owned(),
        };
        let _ = write!(
            html,
            "<tr class=\"{kind}\"><td class=\"number\">{}<td class=\"number\">{}<td class=\"number\">{process}\
             <td>{kind}<td><code>{}</code></tr>",
            op.index,
            seconds(op.time),
            escape(&shown(op)),
            kind = op.kind.name(),
        );
    }
    html
}

/// The invocation of a completion, and the other way round.
fn other_half(history: &[Op], index: usize) -> Option<usize> {
    let op = &history[index];
    let same = |other: &usize| history[*other].process == op.process;
    if op.kind == Kind::Invoke {
        (index + 1..history.len()).find(same).filter(|end| history[*end].kind != Kind::Invoke)
    } else {
        (0..index).rev().find(same).filter(|begin| history[*begin].kind == Kind::Invoke)
    }
}

/// `:f` and `:value`, and what else an operation says of itself, but not what the columns have.
fn shown(op: &Op) -> String {
    let (f, value) = op.body.to_edn();
    let mut text = format!(":{f} {value}");
    for (name, value) in op.extra.iter().filter(|(name, _)| *name != "fetched") {
        let _ = write!(text, " :{name} {value}");
    }
    match text.char_indices().nth(LONGEST) {
        None => text,
        Some((at, _)) => format!("{} …", &text[..at]),
    }
}
