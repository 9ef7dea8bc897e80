//! A cluster of real brokers, each on a host and disk of its own, and everything that can be done to them.
//!
//! All methods act from the control host, which no fault ever touches: [`Cluster::start`] moves its thread there, and
//! a thread that the cluster is handed to has to enter [`Cluster::control`] first.

mod health;
mod judge;
mod members;
mod moves;
mod power;
mod removal;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use super::broker::Start;
use super::{Broker, Disk, DiskKind, Host, Hosts, Share, Shim, State};
use crate::admin::{Admin, wait};
use crate::checker::Finding;
use crate::environment::Address;
use crate::net::{HostId, Network};

/// Until a broker that was started serves.
const READY: Duration = Duration::from_secs(60);
/// Until the cluster is whole after everything was healed.
const WHOLE: Duration = Duration::from_secs(60);
/// A fault waits so long for an answer.
const HASTE: Duration = Duration::from_secs(2);
/// A stop hands leaderships over first.
const STOP: Duration = Duration::from_secs(35);
/// Hosts of client groups are numbered from here.
const CLIENTS: HostId = 101;
const CLIENT_GROUPS_MAX: usize = 50;
const CONTROL: HostId = 200;
/// As many hosts as there are numbers for.
const BROKERS_MAX: u64 = 50;

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The broker.
    pub binary: PathBuf,
    /// The shim's library, see [`Shim::find`].
    pub shim: PathBuf,
    /// An existing directory for logs, disks and control files.
    pub dir: PathBuf,
    /// Brokers that form the cluster, numbered from 1.
    pub brokers: u64,
    /// Further hosts, for brokers that join.
    pub spares: u64,
    pub client_groups: usize,
    pub disk: DiskKind,
    /// Of the network's random choices.
    pub seed: u64,
    /// Settings given to all brokers, such as `raft.dead_after_ms`.
    pub settings: Vec<(String, String)>,
    /// The most files and connections that a broker may have open, if there is a limit.
    pub descriptors: Option<u64>,
}

/// See the module. Dropping it ends all brokers.
pub struct Cluster {
    spec: Spec,
    brokers: Vec<Broker>,
    hosts: Hosts,
    /// Brokers whose data is damaged or lost, now.
    damaged: BTreeSet<u64>,
    /// Partitions may have fewer replicas than they should, now.
    thin: bool,
    findings: Vec<Finding>,
}

impl Cluster {
    /// Makes hosts and disks, starts the brokers and waits until they are one whole cluster.
    pub fn start(spec: &Spec) -> anyhow::Result<Cluster> {
        let places = spec.brokers + spec.spares;
        ensure!(spec.brokers > 0 && places <= BROKERS_MAX, "1 to {BROKERS_MAX} brokers");
        ensure!((1..=CLIENT_GROUPS_MAX).contains(&spec.client_groups), "1 to 50 client groups");
        let mut cluster = Cluster::create(spec)?;
        cluster.control().enter()?;
        cluster.start_broker(1)?;
        ensure!(cluster.wait_ready(1, READY), "broker 1 is not ready{}", cluster.tails());
        for id in 2..=spec.brokers {
            cluster.start_broker(id)?;
        }
        if let Err(reasons) = cluster.wait_whole(READY) {
            bail!("the cluster does not form: {}{}", reasons.join("; "), cluster.tails());
        }
        Ok(cluster)
    }

    /// Everything but processes.
    fn create(spec: &Spec) -> anyhow::Result<Cluster> {
        let ids: Vec<u64> = (1..=spec.brokers + spec.spares).collect();
        let mut names = vec![("control".to_owned(), CONTROL)];
        for id in &ids {
            names.push((format!("broker-{id}"), HostId::try_from(*id)?));
        }
        for group in 0..spec.client_groups {
            names.push((format!("clients-{group}"), CLIENTS + HostId::try_from(group)?));
        }
        let named: Vec<(&str, HostId)> =
            names.iter().map(|(name, id)| (name.as_str(), *id)).collect();
        let hosts = Hosts::create(&named, spec.seed)?;
        let mut brokers = Vec::new();
        for id in ids {
            let host = hosts.host(HostId::try_from(id)?);
            let disk = Disk::create(&spec.dir, &host.name, spec.disk)?;
            let control = spec.dir.join(format!("{}.shim", host.name));
            let shim = Shim::create(&spec.shim, &control)?;
            if disk.has_power() {
                shim.no_preallocation()?;
            }
            brokers.push(Broker::new(id, host, disk, shim, &spec.dir));
        }
        let (damaged, thin, findings) = (BTreeSet::new(), false, Vec::new());
        Ok(Cluster { spec: spec.clone(), brokers, hosts, damaged, thin, findings })
    }

    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Members of the cluster, running or not.
    pub fn addresses(&self) -> Vec<Address> {
        self.members().map(Broker::address).collect()
    }

    /// Where a client group lives.
    pub fn client_host(&self, group: usize) -> Host {
        let groups = self.spec.client_groups.max(1);
        self.hosts.host(CLIENTS + HostId::try_from(group % groups).unwrap_or(0))
    }

    /// Where all client groups live.
    pub fn client_hosts(&self) -> Vec<Host> {
        (0..self.spec.client_groups).map(|group| self.client_host(group)).collect()
    }

    /// Where the runner and the nemesis live; no fault touches it.
    pub fn control(&self) -> Host {
        self.hosts.host(CONTROL)
    }

    pub fn network(&self) -> &Network {
        self.hosts.network()
    }

    /// All brokers, spares and those that are gone included.
    pub fn brokers(&self) -> &[Broker] {
        &self.brokers
    }

    pub fn members(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.iter().filter(|broker| broker.member())
    }

    /// Numbers of the brokers that run, unpaused.
    pub fn running(&self) -> Vec<u64> {
        self.members().filter(|broker| broker.running()).map(|broker| broker.id).collect()
    }

    pub fn broker(&self, id: u64) -> anyhow::Result<&Broker> {
        self.brokers.iter().find(|broker| broker.id == id).context("no such broker")
    }

    fn broker_mut(&mut self, id: u64) -> anyhow::Result<&mut Broker> {
        self.brokers.iter_mut().find(|broker| broker.id == id).context("no such broker")
    }

    /// The HTTP API of the brokers that run.
    pub fn admin(&self) -> Admin {
        let running = self.members().filter(|broker| broker.running());
        Admin::new(running.map(Broker::address).collect())
    }

    /// The same for faults, which must not wait for answers that other faults hold back.
    pub fn hasty_admin(&self) -> Admin {
        let running = self.members().filter(|broker| broker.running());
        Admin::with_patience(running.map(Broker::address).collect(), HASTE)
    }

    /// The logs of all brokers that ever ran.
    pub fn logs(&self) -> Vec<PathBuf> {
        let logs = self.brokers.iter().map(|broker| broker.log.clone());
        logs.filter(|log| log.exists()).collect()
    }

    /// Who leads a partition, as far as the brokers that run know.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<u64> {
        self.admin().leader(topic, partition)
    }

    /// Starts a broker that does not run; does not wait until it serves.
    pub fn start_broker(&mut self, id: u64) -> anyhow::Result<()> {
        // The first one forms the cluster; all others ask those that are in it.
        let others = self.members().filter(|broker| broker.id != id);
        let join: Vec<_> = others.map(Broker::peer).collect();
        let Spec { binary, settings, descriptors, .. } = self.spec.clone();
        let broker = self.broker_mut(id)?;
        ensure!(
            !matches!(broker.state, State::Gone | State::Buried),
            "broker {id} never comes back"
        );
        broker.start(&Start { binary: &binary, join: &join, settings: &settings, descriptors })
    }

    /// SIGKILL. Returns the proof, as do the others.
    pub fn kill(&mut self, id: u64) -> anyhow::Result<String> {
        self.broker_mut(id)?.kill()
    }

    pub fn pause(&mut self, id: u64) -> anyhow::Result<String> {
        self.broker_mut(id)?.pause()
    }

    pub fn resume(&mut self, id: u64) -> anyhow::Result<String> {
        self.broker_mut(id)?.resume()
    }

    /// From now on a broker that runs gets only this share of the processor, also if it is started anew.
    pub fn starve(&mut self, id: u64, share: Share) -> anyhow::Result<()> {
        self.broker_mut(id)?.starve(share)
    }

    /// It gets what it needs again. Returns how often it was stopped.
    pub fn feed(&mut self, id: u64) -> anyhow::Result<u64> {
        Ok(self.broker_mut(id)?.feed())
    }

    /// An orderly stop.
    pub fn stop(&mut self, id: u64) -> anyhow::Result<String> {
        self.broker_mut(id)?.stop(STOP)
    }

    /// Waits until a broker says that it can serve.
    pub fn wait_ready(&mut self, id: u64, limit: Duration) -> bool {
        let Ok(address) = self.broker(id).map(Broker::address) else { return false };
        let admin = Admin::new(vec![address]);
        wait(limit, || {
            // One that has ended will not become ready.
            let ended =
                self.broker_mut(id).ok()?.process.as_mut().is_none_or(|it| it.ended().is_some());
            if ended { Some(false) } else { admin.ready(&address).then_some(true) }
        })
        .unwrap_or(false)
    }
}

impl Cluster {
    /// Ends all brokers and removes their disks, which hold gigabytes; the logs stay. For runs in which nothing was wrong.
    pub fn discard(mut self) {
        for mut broker in std::mem::take(&mut self.brokers) {
            drop(broker.process.take());
            broker.disk.remove();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Processes end before the disks beneath them are taken away.
        self.brokers.iter_mut().for_each(|broker| drop(broker.process.take()));
    }
}
