//! Whether enough happened for the verdict to mean anything: a run in which nothing was done, nothing went wrong, or
//! not what it is about, is valid for the wrong reason.

use std::time::Duration;

use serde::Serialize;

use super::Plan;
use super::evidence::{Evidence, Sign};
use crate::checker::{Finding, Verdict};
use crate::fault::FaultRecord;
use crate::history::{Kind, Op, Process};

/// Operations a second that have to have succeeded, on average, however bad the faults.
const OK_PER_SECOND: f64 = 5.0;

/// What must have happened for a run's verdict to count, and how often at least.
#[derive(Clone, Copy, Debug, Serialize)]
pub enum Demand {
    /// Faults of a class that bit.
    Bit(&'static str, u64),
    Saw(Sign, u64),
    /// One of the two.
    Either(Sign, Sign),
}

impl Demand {
    /// What is missing, in words.
    fn missing(self, faults: &[FaultRecord], evidence: &Evidence) -> Option<String> {
        let (what, seen, least) = match self {
            Demand::Bit(name, least) => {
                let bit = faults.iter().filter(|fault| fault.name == name && fault.bit()).count();
                (format!("{name} faults that bit"), bit as u64, least)
            }
            Demand::Saw(sign, least) => (sign.words().to_owned(), evidence.of(sign), least),
            Demand::Either(one, other) => {
                let what = format!("{} or {}", one.words(), other.words());
                (what, evidence.of(one) + evidence.of(other), 1)
            }
        };
        (seen < least).then(|| format!("{what}: {seen}, {least} are demanded"))
    }
}

pub(super) fn check(
    plan: &Plan,
    main: Duration,
    history: &[Op],
    faults: &[FaultRecord],
    evidence: &Evidence,
) -> Vec<Finding> {
    let by_client = |op: &&Op| op.kind == Kind::Ok && op.process != Process::Nemesis;
    let done = history.iter().filter(by_client).count();
    let wanted = (main.as_secs_f64() * OK_PER_SECOND).ceil() as usize;
    let mut findings = Vec::new();
    let mut unknown = |anomaly, cases: Vec<String>| {
        if !cases.is_empty() {
            findings.push(Finding::new(anomaly, Verdict::Unknown, cases));
        }
    };
    let too_little = done < wanted;
    let case = || format!("{done} operations succeeded, {wanted} are the least");
    unknown("too-little-done", too_little.then(case).into_iter().collect());
    let nothing = plan.has_faults && !faults.iter().any(FaultRecord::bit);
    let case = || format!("of {} faults none is known to have taken effect", faults.len());
    unknown("no-fault-bit", nothing.then(case).into_iter().collect());
    let missing = plan.demands.iter().filter_map(|demand| demand.missing(faults, evidence));
    unknown("trap-not-sprung", missing.collect());
    let seen = evidence.cases();
    if !seen.is_empty() {
        findings.push(Finding::new("evidence", Verdict::Valid, seen));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Outcome;

    fn names(has_faults: bool, demands: &'static [Demand], outcome: Outcome) -> Vec<String> {
        let mut plan = Plan::new("a", "queue", |_| Ok(()));
        (plan.has_faults, plan.demands) = (has_faults, demands);
        let record = FaultRecord {
            name: "kill".to_owned(),
            begin_ns: 0,
            end_ns: None,
            begin: outcome,
            end: None,
        };
        let evidence = Evidence::default();
        let findings = check(&plan, plan.time, &[], &[record], &evidence);
        findings.into_iter().map(|finding| finding.anomaly).collect()
    }

    #[test]
    fn a_run_without_operations_or_without_effective_faults_proves_nothing() {
        let skipped = Outcome::Skipped { reason: "no leader".to_owned() };
        let bit = Outcome::Installed { what: "broker 1".to_owned(), proof: "gone".to_owned() };
        assert_eq!(names(true, &[], skipped.clone()), ["too-little-done", "no-fault-bit"]);
        assert_eq!(names(false, &[], skipped), ["too-little-done"]);
        assert_eq!(names(true, &[], bit), ["too-little-done"]);
    }

    #[test]
    fn what_a_scenario_demands_must_have_been_seen() {
        let bit = || Outcome::Installed { what: "broker 1".to_owned(), proof: "gone".to_owned() };
        assert_eq!(names(true, &[Demand::Bit("kill", 1)], bit()), ["too-little-done"]);
        let missed = ["too-little-done", "trap-not-sprung"];
        assert_eq!(names(true, &[Demand::Bit("kill", 2)], bit()), missed);
        assert_eq!(names(true, &[Demand::Saw(Sign::Led, 1)], bit()), missed);
        let mut evidence = Evidence::default();
        let either = Demand::Either(Sign::Led, Sign::UnsyncedLost);
        assert!(either.missing(&[], &evidence).is_some_and(|it| it.contains("struck")));
        evidence.add(Sign::UnsyncedLost, 1);
        assert_eq!(either.missing(&[], &evidence), None);
    }
}
