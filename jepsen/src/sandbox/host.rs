//! A host: a network namespace with one address, which a thread can enter and a process can be started in.

use std::fs::File;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, ensure};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::net::{Forwarding, HostId, MTU, Network, Tun};

/// Packets that may wait in a host before it drops them itself, uncounted.
const SEND_QUEUE: usize = 4_000;

/// See the module. Cloning gives another handle to the same host.
#[derive(Clone)]
pub struct Host {
    pub name: Arc<str>,
    pub id: HostId,
    namespace: Arc<File>,
}

/// Hosts and the network between them.
pub struct Hosts {
    hosts: Vec<Host>,
    network: Network,
    _forwarding: Forwarding,
}

impl Hosts {
    /// Makes hosts with these names and numbers; `seed` is the network's.
    pub fn create(names: &[(&str, HostId)], seed: u64) -> anyhow::Result<Hosts> {
        let (mut hosts, mut devices) = (Vec::new(), Vec::new());
        for (name, id) in names {
            let (host, tun) = Host::create(name, *id)?;
            hosts.push(host);
            devices.push((*id, tun));
        }
        let (network, forwarding) = Network::start(devices, seed)?;
        Ok(Hosts { hosts, network, _forwarding: forwarding })
    }

    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The host of a number that was given to [`Hosts::create`].
    pub fn host(&self, id: HostId) -> Host {
        let host = self.hosts.iter().find(|host| host.id == id);
        host.expect("a host that was made").clone()
    }
}

impl Host {
    /// Makes a host and its line to the router.
    pub(crate) fn create(name: &str, id: HostId) -> anyhow::Result<(Host, Tun)> {
        let address = address(id);
        let made = std::thread::scope(|scope| scope.spawn(|| namespace(address)).join());
        let (namespace, tun) =
            made.expect("the thread does not panic").with_context(|| format!("host {name}"))?;
        Ok((Host { name: name.into(), id, namespace: Arc::new(namespace) }, tun))
    }

    pub fn address(&self) -> Ipv4Addr {
        address(self.id)
    }

    /// Moves the calling thread into this host, for good.
    pub fn enter(&self) -> anyhow::Result<()> {
        move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .with_context(|| format!("enter host {}", self.name))
    }

    /// Does something in this host and waits for it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| self.enter().map(|()| work()));
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts a process in this host.
    pub fn spawn(&self, command: &mut Command) -> anyhow::Result<Child> {
        let program = command.get_program().to_owned();
        let child = self.run(|| command.spawn())?;
        child.with_context(|| format!("start {}", program.display()))
    }
}

fn address(id: HostId) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, id)
}

/// Leaves the calling thread in a new network namespace with one device.
fn namespace(address: Ipv4Addr) -> anyhow::Result<(File, Tun)> {
    #[expect(
        unsafe_code,
        reason = "unsafe for flags that unshare memory or files; NEWNET does not"
    )]
    unsafe {
        unshare_unsafe(UnshareFlags::NEWNET).context("unshare the network")?;
    }
    let tun = Tun::create()?;
    let device = crate::net::DEVICE;
    let lines = format!(
        "link set lo up\n\
         link set {device} mtu {MTU} txqueuelen {SEND_QUEUE} addrgenmode none up\n\
         addr add {address}/24 dev {device}\n"
    );
    let mut ip = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("run ip")?;
    ip.stdin.take().context("ip reads its input")?.write_all(lines.as_bytes())?;
    let done = ip.wait_with_output()?;
    ensure!(done.status.success(), "ip: {}", String::from_utf8_lossy(&done.stderr));
    let namespace = File::open("/proc/thread-self/ns/net").context("/proc/thread-self/ns/net")?;
    Ok((namespace, tun))
}
