//! `acks-not-resumed`: all faults had ended, clients kept sending, and for too long nothing was acknowledged.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::checker::Findings;
use crate::history::{Body, Kind, Op, Process};

/// Which faults are under way, by the nemesis' operations `:start-NAME` and `:stop-NAME`; `:healed` ends all.
#[derive(Default)]
pub struct Faults<'a>(BTreeSet<&'a str>);

impl<'a> Faults<'a> {
    pub fn see(&mut self, op: &'a Op) {
        let Body::Other(f, _) = &op.body else { return };
        if let Some(name) = f.strip_prefix("start-") {
            self.0.insert(name);
        } else if let Some(name) = f.strip_prefix("stop-") {
            self.0.remove(name);
        } else if f == "healed" {
            self.0.clear();
        }
    }

    pub fn active(&self) -> bool {
        !self.0.is_empty()
    }
}

pub fn check(history: &[Op], within: Duration, found: &mut Findings) {
    let within = u64::try_from(within.as_nanos()).unwrap_or(u64::MAX);
    let mut faults = Faults::default();
    // When it became quiet, by which operation, and the first send since then.
    let mut quiet: Option<(u64, u64, Option<u64>)> = None;
    for op in history {
        if op.process == Process::Nemesis {
            let active = faults.active();
            faults.see(op);
            match (active, faults.active()) {
                (true, false) => quiet = Some((op.time, op.index, None)),
                (_, true) => quiet = None,
                (false, false) => {}
            }
            continue;
        }
        if !matches!(op.body, Body::Send(_) | Body::Txn(_)) {
            continue;
        }
        let Some((since, end, first)) = &mut quiet else { continue };
        match op.kind {
            Kind::Ok => quiet = None,
            Kind::Invoke if first.is_none() => *first = Some(op.time),
            // Clients may have rested: the bound runs from when they tried again.
            Kind::Invoke | Kind::Fail | Kind::Info => {
                let from = first.unwrap_or(*since);
                if op.time.saturating_sub(from) > within {
                    let case = || {
                        let seconds = (op.time - from) as f64 / 1e9;
                        format!("{seconds:.1} s after the last fault no send was acknowledged yet")
                    };
                    found.invalid("acks-not-resumed", case, [*end, op.index]);
                    quiet = None;
                }
            }
        }
    }
}
