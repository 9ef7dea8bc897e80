//! Making everything well again, and seeing that it is.

use std::time::Duration;

use rustix::process::Signal;

use super::members::JOINING;
use super::{Cluster, STOP, State, WHOLE};
use crate::admin::wait;

fn text(reason: &serde_json::Value) -> String {
    reason.as_str().map_or_else(|| reason.to_string(), str::to_owned)
}

impl Cluster {
    /// Waits until every member serves and every broker says that the cluster is healthy; otherwise why not.
    pub fn wait_whole(&mut self, limit: Duration) -> Result<(), Vec<String>> {
        let mut reasons = Vec::new();
        let whole = wait(limit, || {
            reasons = self.unwell();
            self.confirm_clock(&reasons);
            // Nobody starts a broker that ended while this waits.
            (reasons.is_empty() || !self.down().is_empty()).then_some(())
        });
        whole.filter(|()| reasons.is_empty()).ok_or(reasons)
    }

    /// Why the cluster is not healthy, in the brokers' words.
    fn unwell(&mut self) -> Vec<String> {
        self.watch();
        let down = self.members().filter(|broker| !broker.running());
        let reasons: Vec<String> =
            down.map(|broker| format!("broker {} is {:?}", broker.id, broker.state)).collect();
        if !reasons.is_empty() {
            return reasons;
        }
        let admin = self.admin();
        let complaints = admin.brokers().iter().flat_map(|broker| {
            let all = match admin.ask(broker, "GET", "/v1/cluster", None) {
                Ok(reply) if reply.body["healthy"] == true => Vec::new(),
                Ok(reply) => match reply.body["reasons"].as_array() {
                    Some(reasons) => reasons.iter().map(text).collect(),
                    None => vec![format!("{} {}", reply.status, reply.body)],
                },
                Err(error) => vec![format!("{error:#}")],
            };
            all.into_iter().map(move |reason| (broker.id, reason))
        });
        complaints.map(|(id, reason)| format!("broker {id}: {reason}")).collect()
    }

    /// Ends every fault, starts whoever does not run, and waits until the cluster is whole.
    ///
    /// A cluster that does not become whole has a defect, which becomes a finding.
    pub fn heal(&mut self) -> anyhow::Result<()> {
        self.network().heal();
        for broker in &mut self.brokers {
            broker.shim.heal()?;
            broker.feed();
            if broker.state == State::Paused {
                broker.resume()?;
            }
        }
        self.watch();
        for id in self.ids() {
            self.no_longer(id, JOINING);
            self.restore_power(id)?;
            self.broker(id)?.disk.empty()?;
        }
        for id in self.down() {
            self.start_broker(id)?;
        }
        self.bury_all(WHOLE)?;
        if let Err(reasons) = self.wait_whole(WHOLE) {
            self.find("not-healed", reasons);
        }
        self.settle();
        Ok(())
    }

    /// A lone broker has nobody to compare its clock with: once it doubts it, an operator says that it is right again.
    fn confirm_clock(&self, reasons: &[String]) {
        let doubts = reasons.iter().any(|reason| reason.contains("does not trust its clock"));
        if doubts && self.ids().len() == 1 {
            // Where this fails the doubt stays, and so does the reason.
            let _ = self.admin().request("POST", "/v1/clock/confirm", None);
        }
    }

    /// Numbers of the members that do not run.
    pub fn down(&self) -> Vec<u64> {
        let down = self.members().filter(|broker| broker.state == State::Down);
        down.map(|broker| broker.id).collect()
    }

    /// Numbers of all members.
    pub fn ids(&self) -> Vec<u64> {
        self.members().map(|broker| broker.id).collect()
    }

    /// Stops all brokers in an orderly way, all at once, as when the run is over.
    pub fn stop_all(&mut self) {
        self.watch();
        for broker in &mut self.brokers {
            if broker.state == State::Paused {
                let _ = broker.resume();
            }
            if let Some(process) = &broker.process {
                let _ = process.signal(Signal::TERM);
            }
        }
        for broker in &mut self.brokers {
            if broker.process.is_some() {
                let _ = broker.stop(STOP);
            }
        }
        self.read_logs();
    }
}
