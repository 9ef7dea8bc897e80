//! The faults, with what they did and what proves it.

use std::fmt::Write;

use super::format::escape;
use crate::fault::{FaultRecord, Outcome};

pub fn table(faults: &[FaultRecord]) -> String {
    if faults.is_empty() {
        return "<p class=\"none\">None.</p>".to_owned();
    }
    let mut html =
        "<div class=\"wide\"><table><tr><th>fault<th class=\"number\">from<th class=\"number\">to<th>begun<th>ended</tr>".to_owned();
    for fault in faults {
        let end = fault.end_ns.map_or("–".to_owned(), second);
        let _ = write!(
            html,
            "<tr class=\"{}\"><td><b>{}</b><td class=\"number\">{}<td class=\"number\">{end}<td>{}<td>{}</tr>",
            if fault.bit() { "bit" } else { "nothing" },
            escape(&fault.name),
            second(fault.begin_ns),
            outcome(Some(&fault.begin)),
            outcome(fault.end.as_ref()),
        );
    }
    html + "</table></div>"
}

fn second(ns: u64) -> String {
    format!("{:.1} s", ns as f64 / 1e9)
}

fn outcome(outcome: Option<&Outcome>) -> String {
    match outcome {
        None => "<span class=\"small\">the run was over</span>".to_owned(),
        Some(Outcome::Installed { what, proof }) => {
            let proof = if proof.is_empty() {
                String::new()
            } else {
                format!("<div class=\"proof\">{}</div>", escape(proof))
            };
            format!("{}{proof}", escape(what))
        }
        Some(Outcome::Skipped { reason }) => {
            format!("<span class=\"badge plain\">skipped</span> {}", escape(reason))
        }
        Some(Outcome::Indeterminate { reason }) => {
            format!("<span class=\"badge unknown\">indeterminate</span> {}", escape(reason))
        }
    }
}
