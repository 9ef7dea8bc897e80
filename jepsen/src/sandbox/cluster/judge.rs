//! What the brokers themselves did wrong: processes that ended, errors that no fault explains.

use super::Cluster;
use crate::checker::{Finding, Verdict};
use crate::sandbox::broker::ExpectedExit;
use crate::sandbox::{Broker, process};

/// Lines of a log that say how a broker ended.
const TAIL: usize = 12;
/// What every process of a broker logs first.
const STARTS: &str = "broker starts";
/// Lines of a kind that are kept as cases.
const CASES: usize = 5;

impl Cluster {
    /// Notices processes that ended by themselves; a fault may have explained it.
    pub fn watch(&mut self) {
        let mut ended = Vec::new();
        for broker in &mut self.brokers {
            let Some(status) = broker.take_end() else { continue };
            if broker.excuses.is_empty() {
                let how = process::words(status);
                ended.push(format!("broker {}: {how}\n{}", broker.id, tail(broker)));
            }
        }
        if !ended.is_empty() {
            self.find("broker-ended", ended);
        }
    }

    /// This broker's process may end by itself and log ERROR lines with these parts, until the excuse is taken back.
    pub fn may_end(&mut self, id: u64, why: &str, errors: &[&str]) {
        // What is in the log by now was not excused.
        self.read_logs();
        if let Ok(broker) = self.broker_mut(id) {
            let errors = errors.iter().map(|&part| part.to_owned()).collect();
            broker.excuses.push(ExpectedExit { why: why.to_owned(), errors });
        }
    }

    /// Takes one excuse of [`Cluster::may_end`] back; other faults may still have theirs.
    pub fn no_longer(&mut self, id: u64, why: &str) {
        self.watch();
        self.read_logs();
        if let Ok(broker) = self.broker_mut(id) {
            broker.excuses.retain(|excuse| excuse.why != why);
        }
    }

    /// Takes all excuses back.
    pub fn must_live(&mut self, id: u64) {
        self.watch();
        self.read_logs();
        if let Ok(broker) = self.broker_mut(id) {
            broker.excuses.clear();
        }
    }

    /// Reads what the logs gained: errors and panics that no fault explains become findings.
    pub fn read_logs(&mut self) {
        let mut lines = Vec::new();
        for broker in &mut self.brokers {
            let Ok(bytes) = std::fs::read(&broker.log) else { continue };
            let new = bytes.get(broker.judged..).unwrap_or_default();
            broker.judged = bytes.len();
            let explained = broker.excuses.iter().flat_map(|excuse| &excuse.errors);
            let explained: Vec<&str> = explained.map(String::as_str).collect();
            let alarming = alarming(&String::from_utf8_lossy(new), &explained);
            lines.extend(alarming.into_iter().map(|line| format!("broker {}: {line}", broker.id)));
        }
        if !lines.is_empty() {
            self.find("error-logged", lines);
        }
    }

    /// Something the brokers did wrong.
    pub fn find(&mut self, anomaly: &str, cases: Vec<String>) {
        let same = self.findings.iter_mut().find(|finding| finding.anomaly == anomaly);
        match same {
            Some(finding) => {
                finding.count += cases.len() as u64;
                let room = CASES.saturating_sub(finding.cases.len());
                finding.cases.extend(cases.into_iter().take(room));
            }
            None => self.findings.push(Finding::new(anomaly, Verdict::Invalid, cases)),
        }
    }

    /// Everything found so far.
    pub fn findings(&mut self) -> Vec<Finding> {
        self.watch();
        self.read_logs();
        self.findings.clone()
    }

    /// The end of a broker's log, of its last process only.
    pub fn last_words(&self, id: u64) -> String {
        let tail = self.broker(id).map(tail).unwrap_or_default();
        tail.rsplit(STARTS).next().unwrap_or_default().to_owned()
    }

    /// Whether a broker's log has these words since its last start.
    pub fn has_said(&self, id: u64, words: &str) -> bool {
        let text = self.broker(id).ok().and_then(|it| std::fs::read(&it.log).ok());
        let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
        text.rsplit(STARTS).next().is_some_and(|since| since.contains(words))
    }

    /// The ends of all logs, for an error of the harness.
    pub(super) fn tails(&self) -> String {
        let started = self.brokers.iter().filter(|broker| broker.log.exists());
        started.map(|broker| format!("\n--- broker {}\n{}", broker.id, tail(broker))).collect()
    }
}

fn tail(broker: &Broker) -> String {
    let bytes = std::fs::read(&broker.log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}

/// Lines that tell of an error, or of a panic, and that nothing explains.
fn alarming(text: &str, explained: &[&str]) -> Vec<String> {
    let bad = |line: &str| {
        // The level stands near the start of a line; records never do.
        let head: String = line.chars().take(60).collect();
        head.contains(" ERROR ") || line.contains("panicked at")
    };
    let known = |line: &str| explained.iter().any(|part| line.contains(part));
    text.lines().filter(|line| bad(line) && !known(line)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_panics_are_alarming_unless_explained() {
        let log = "2026-01-01T00:00:00Z  INFO quorate: started\n\
                   2026-01-01T00:00:01Z  WARN quorate: disk slow\n\
                   2026-01-01T00:00:02Z ERROR storage::fatal: storage failed\n\
                   thread 'main' panicked at src/x.rs\n";
        assert_eq!(alarming(log, &[]).len(), 2);
        let left = alarming(log, &["storage failed"]);
        assert_eq!(left, ["thread 'main' panicked at src/x.rs"]);
    }
}
