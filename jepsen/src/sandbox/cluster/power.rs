//! Power cuts: of one broker, of several at the same moment.

use std::time::Duration;

use anyhow::ensure;

use super::Cluster;
use crate::sandbox::process;

const WHY: &str = "power cut";
/// What a broker may say when its disk goes.
const ERRORS: [&str; 3] = ["storage failed", "broker ends", "Input/output error"];

impl Cluster {
    /// Cuts the power of these brokers' disks, all of them before any process ends, then kills the processes.
    pub fn cut_power(&mut self, ids: &[u64]) -> anyhow::Result<Vec<String>> {
        self.cut_power_slowly(ids, Duration::ZERO)
    }

    /// The same, with a while in between, in which brokers live on without a disk: whatever they still acknowledge is
    /// a lie.
    pub fn cut_power_slowly(&mut self, ids: &[u64], live: Duration) -> anyhow::Result<Vec<String>> {
        for id in ids {
            let broker = self.broker(*id)?;
            ensure!(broker.disk.has_power(), "brokers have plain directories in this run");
        }
        for id in ids {
            self.may_end(*id, WHY, &ERRORS);
        }
        for id in ids {
            let broker = self.broker_mut(*id)?;
            if !broker.unpowered {
                broker.disk.cut_power()?;
                broker.unpowered = true;
            }
        }
        std::thread::sleep(live);
        let mut proofs = Vec::new();
        for id in ids {
            let broker = self.broker_mut(*id)?;
            proofs.push(match broker.take_end() {
                Some(status) => format!("broker {id} ended itself: {}", process::words(status)),
                None if broker.process.is_some() => format!("broker {id}: {}", broker.kill()?),
                None => format!("broker {id} did not run"),
            });
        }
        for id in ids {
            self.no_longer(*id, WHY);
        }
        Ok(proofs)
    }

    /// Gives a broker's disk power again, if it had lost it. The broker stays down.
    pub fn restore_power(&mut self, id: u64) -> anyhow::Result<()> {
        let broker = self.broker_mut(id)?;
        if !broker.unpowered {
            return Ok(());
        }
        ensure!(broker.process.is_none(), "broker {id} runs without power");
        broker.disk.restore_power()?;
        broker.unpowered = false;
        Ok(())
    }
}
