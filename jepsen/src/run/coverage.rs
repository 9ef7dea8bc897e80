//! Whether enough happened for the verdict to mean anything: a run in which nothing was done, or nothing went wrong, is
//! valid for the wrong reason.

use super::Plan;
use crate::checker::{Finding, Verdict};
use crate::fault::FaultRecord;
use crate::history::{Kind, Op, Process};

/// Operations a second that have to have succeeded, on average, however bad the faults.
const OK_PER_SECOND: f64 = 5.0;

pub(super) fn check(plan: &Plan, history: &[Op], faults: &[FaultRecord]) -> Vec<Finding> {
    let by_client = |op: &&Op| op.kind == Kind::Ok && op.process != Process::Nemesis;
    let done = history.iter().filter(by_client).count();
    let wanted = (plan.time.as_secs_f64() * OK_PER_SECOND).ceil() as usize;
    let mut findings = Vec::new();
    if done < wanted {
        let case = format!("{done} operations succeeded, {wanted} are the least");
        findings.push(unknown("too-little-done", case));
    }
    if plan.has_faults && !faults.iter().any(FaultRecord::bit) {
        let case = format!("of {} faults none is known to have taken effect", faults.len());
        findings.push(unknown("no-fault-bit", case));
    }
    findings
}

fn unknown(anomaly: &str, case: String) -> Finding {
    Finding {
        anomaly: anomaly.to_owned(),
        verdict: Verdict::Unknown,
        count: 1,
        cases: vec![case],
        ops: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Outcome;

    fn names(has_faults: bool, outcome: Outcome) -> Vec<String> {
        let mut plan = Plan::new("a", "queue", |_| Ok(()));
        plan.has_faults = has_faults;
        let record = FaultRecord {
            name: "kill".to_owned(),
            begin_ns: 0,
            end_ns: None,
            begin: outcome,
            end: None,
        };
        check(&plan, &[], &[record]).into_iter().map(|finding| finding.anomaly).collect()
    }

    #[test]
    fn a_run_without_operations_or_without_effective_faults_proves_nothing() {
        let skipped = Outcome::Skipped { reason: "no leader".to_owned() };
        let bit = Outcome::Installed { what: "broker 1".to_owned(), proof: "gone".to_owned() };
        assert_eq!(names(true, skipped.clone()), ["too-little-done", "no-fault-bit"]);
        assert_eq!(names(false, skipped), ["too-little-done"]);
        assert_eq!(names(true, bit), ["too-little-done"]);
    }
}
