//! Power cuts: of one broker, of several at the same moment.

use anyhow::ensure;

use super::{Cluster, State};

impl Cluster {
    /// Cuts the power of these brokers' disks, all of them before any process ends, then kills the processes.
    ///
    /// In between a broker may live on without a disk for a moment: whatever it still acknowledges is a lie.
    pub fn cut_power(&mut self, ids: &[u64]) -> anyhow::Result<Vec<String>> {
        for id in ids {
            let broker = self.broker(*id)?;
            ensure!(broker.disk.has_power(), "brokers have plain directories in this run");
        }
        for id in ids {
            self.may_end(
                *id,
                "power cut",
                &["storage failed", "broker ends", "Input/output error"],
            );
            self.broker(*id)?.disk.cut_power()?;
        }
        let mut proofs = Vec::new();
        for id in ids {
            let broker = self.broker_mut(*id)?;
            broker.unpowered = true;
            match broker.take_end() {
                Some(status) => proofs.push(format!("broker {id} ended itself: {status}")),
                None if broker.process.is_some() => {
                    proofs.push(format!("broker {id}: {}", broker.kill()?));
                }
                None => proofs.push(format!("broker {id} did not run")),
            }
            broker.may_end = None;
            if broker.state != State::Gone {
                broker.state = State::Down;
            }
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
