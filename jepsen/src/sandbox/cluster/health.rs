//! Making everything well again, and seeing that it is.

use std::time::Duration;

use rustix::process::Signal;

use super::{Cluster, STOP, State, WHOLE};
use crate::admin::wait;

impl Cluster {
    /// Waits until every member serves and every broker says that the cluster is healthy; otherwise why not.
    pub fn wait_whole(&mut self, limit: Duration) -> Result<(), Vec<String>> {
        let mut reasons = Vec::new();
        let whole = wait(limit, || {
            reasons = self.unwell();
            reasons.is_empty().then_some(())
        });
        whole.ok_or(reasons)
    }

    /// Why the cluster is not healthy, in the brokers' words.
    fn unwell(&mut self) -> Vec<String> {
        self.watch();
        let down = self.members().filter(|broker| !broker.running());
        let mut reasons: Vec<String> =
            down.map(|broker| format!("broker {} is {:?}", broker.id, broker.state)).collect();
        if reasons.is_empty() {
            reasons = self.admin().unhealthy();
        }
        reasons
    }

    /// Ends every fault, starts whoever does not run, and waits until the cluster is whole.
    ///
    /// A cluster that does not become whole has a defect, which becomes a finding.
    pub fn heal(&mut self) -> anyhow::Result<()> {
        self.network().heal();
        for broker in &mut self.brokers {
            broker.shim.heal()?;
            if broker.state == State::Paused {
                broker.resume()?;
            }
        }
        self.watch();
        for id in self.ids() {
            self.restore_power(id)?;
            self.broker(id)?.disk.empty()?;
        }
        for id in self.down() {
            self.start_broker(id)?;
        }
        if let Err(reasons) = self.wait_whole(WHOLE) {
            self.find("not-healed", reasons);
        }
        self.settle();
        Ok(())
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
