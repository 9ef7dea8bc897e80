//! Brokers that do not run move to other addresses: another port, as when ports are given out anew, or another machine.

use std::net::SocketAddr;

use anyhow::ensure;

use super::{Cluster, State};

impl Cluster {
    /// From their next start on other brokers reach these at ports that nobody ever had. Where each was and will be.
    pub fn move_ports(&mut self, ids: &[u64]) -> anyhow::Result<Vec<String>> {
        let mut moves = Vec::new();
        for id in ids {
            let broker = self.broker_mut(*id)?;
            ensure!(broker.state == State::Down, "broker {id} is {:?}", broker.state);
            let before = broker.peer();
            broker.move_port();
            moves.push(words(*id, before, broker.peer()));
        }
        Ok(moves)
    }

    /// Every member gets the host of the next, the last one that of the first, so that each address is another one's
    /// now. Clients have to be told.
    pub fn rotate_hosts(&mut self) -> anyhow::Result<Vec<String>> {
        let ids = self.ids();
        for id in &ids {
            let state = self.broker(*id)?.state;
            ensure!(state == State::Down, "broker {id} is {state:?}");
        }
        let before: Vec<_> = ids.iter().map(|id| self.broker(*id)).collect::<Result<_, _>>()?;
        let hosts: Vec<_> = before.iter().map(|broker| broker.host.clone()).collect();
        let mut moves = Vec::new();
        for (id, host) in ids.iter().zip(hosts.iter().cycle().skip(1)) {
            let broker = self.broker_mut(*id)?;
            let before = broker.peer();
            broker.host = host.clone();
            moves.push(words(*id, before, broker.peer()));
        }
        Ok(moves)
    }
}

fn words(id: u64, before: SocketAddr, after: SocketAddr) -> String {
    format!("broker {id} from {before} to {after}")
}
