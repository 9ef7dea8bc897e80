//! Totals by kind of operation.

use std::fmt::Write;

use super::format::{escape, milliseconds};
use super::series::Totals;

pub fn table(totals: &Totals) -> String {
    let mut html = "<div class=\"wide\"><table><tr><th>operation".to_owned();
    for column in ["ok", "info", "fail", "p50", "p99", "longest"] {
        let _ = write!(html, "<th class=\"number\">{column}");
    }
    html.push_str("</tr>");
    for (f, counts) in &totals.by_kind {
        let _ = write!(html, "<tr><td>{}", escape(f));
        for count in [counts.ok, counts.info, counts.fail] {
            let _ = write!(html, "<td class=\"number\">{count}");
        }
        for latency in [counts.p50_ms, counts.p99_ms, counts.max_ms] {
            let _ = write!(html, "<td class=\"number\">{}", milliseconds(latency));
        }
        html.push_str("</tr>");
    }
    html + "</table></div><p class=\"small\">Latencies are of operations that succeeded; a poll waits for records.</p>"
}
