//! The thread that forwards packets between hosts.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::link::{Counters, Link, ResetNotice, Rule};
use super::tcp::Segment;
use super::{HostId, Tun};

/// Packets read from one host before the next has its turn.
const BURST: usize = 64;
/// How late the thread notices that it is to end.
const REST: Duration = Duration::from_millis(200);
/// Larger than any packet that a device gives.
const PACKET_MAX: usize = 1 << 16;

/// The links between all hosts. Cloning it gives another handle to the same network.
#[derive(Clone)]
pub struct Network {
    links: Arc<Mutex<Links>>,
}

/// Ends the forwarding when dropped.
pub(crate) struct Forwarding {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Links {
    /// Positions of hosts in `table`.
    places: BTreeMap<HostId, usize>,
    /// `table[from][to]`
    table: Vec<Vec<Link>>,
}

impl Network {
    /// Begins to forward between these hosts; `seed` decides who is lost.
    pub(crate) fn start(
        devices: Vec<(HostId, Tun)>,
        seed: u64,
    ) -> anyhow::Result<(Network, Forwarding)> {
        let count = devices.len();
        let places = devices.iter().enumerate().map(|(place, (id, _))| (*id, place)).collect();
        let row = || (0..count).map(|_| Link::default()).collect();
        let table = (0..count).map(|_| row()).collect();
        let links = Arc::new(Mutex::new(Links { places, table }));
        let stop = Arc::new(AtomicBool::new(false));
        let mut router = Router {
            devices: devices.into_iter().map(|(_, tun)| tun).collect(),
            links: Arc::clone(&links),
            random: StdRng::seed_from_u64(seed),
            held: BinaryHeap::new(),
            count: 0,
        };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("router".into())
            .spawn(move || router.run(&stopped))
            .context("start the router")?;
        Ok((Network { links }, Forwarding { stop, thread: Some(thread) }))
    }

    /// Gives directed links new rules, all at the same moment.
    pub fn change(&self, rules: impl IntoIterator<Item = ((HostId, HostId), Rule)>) {
        let mut links = self.links.lock();
        for ((from, to), rule) in rules {
            if let Some(link) = links.link(from, to) {
                link.adjust(|old| *old = rule);
            }
        }
    }

    /// Changes a part of the rules of directed links, so that faults of several kinds can be on one link.
    pub fn adjust<'a>(
        &self,
        pairs: impl IntoIterator<Item = &'a (HostId, HostId)>,
        adjust: impl Fn(&mut Rule),
    ) {
        let mut links = self.links.lock();
        for (from, to) in pairs {
            if let Some(link) = links.link(*from, *to) {
                link.adjust(&adjust);
            }
        }
    }

    /// Nothing is cut, reset, late or lost any more.
    pub fn heal(&self) {
        let mut links = self.links.lock();
        let healed = |link: &mut Link| link.adjust(|rule| *rule = Rule::default());
        links.table.iter_mut().flatten().for_each(healed);
    }

    /// What these links did since the start, together.
    pub fn counters<'a>(&self, pairs: impl IntoIterator<Item = &'a (HostId, HostId)>) -> Counters {
        let mut links = self.links.lock();
        let mut sum = Counters::default();
        for (from, to) in pairs {
            if let Some(link) = links.link(*from, *to) {
                sum.add(&link.counters);
            }
        }
        sum
    }
}

impl Links {
    fn link(&mut self, from: HostId, to: HostId) -> Option<&mut Link> {
        let (from, to) = (*self.places.get(&from)?, *self.places.get(&to)?);
        Some(&mut self.table[from][to])
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A packet held back. Ordered by when it is due, then by arrival.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct DelayedPacket {
    due: Instant,
    count: u64,
    from: usize,
    to: usize,
    packet: Box<[u8]>,
}

struct Router {
    devices: Vec<Tun>,
    links: Arc<Mutex<Links>>,
    random: StdRng,
    held: BinaryHeap<Reverse<DelayedPacket>>,
    count: u64,
}

impl Router {
    fn run(&mut self, stop: &AtomicBool) {
        let mut buffer = vec![0; PACKET_MAX];
        while !stop.load(Ordering::Relaxed) {
            let ready = self.wait();
            let links = Arc::clone(&self.links);
            let mut links = links.lock();
            for from in ready {
                for _ in 0..BURST {
                    // A device whose host is gone has nothing more to say.
                    let Ok(Some(len)) = self.devices[from].receive(&mut buffer) else { break };
                    self.forward(&mut links, from, &mut buffer[..len]);
                }
            }
            self.deliver_due(&mut links);
        }
    }

    /// Sleeps until a host has sent something or a held packet is due; the hosts that have sent.
    fn wait(&self) -> Vec<usize> {
        let rest = match self.held.peek() {
            Some(Reverse(next)) => next.due.saturating_duration_since(Instant::now()).min(REST),
            None => REST,
        };
        let rest = Timespec { tv_sec: 0, tv_nsec: rest.subsec_nanos().into() };
        let mut fds: Vec<PollFd<'_>> =
            self.devices.iter().map(|device| PollFd::new(device, PollFlags::IN)).collect();
        if poll(&mut fds, Some(&rest)).unwrap_or(0) == 0 {
            return Vec::new();
        }
        let sent = |fd: &PollFd<'_>| fd.revents().contains(PollFlags::IN);
        fds.iter().enumerate().filter(|(_, fd)| sent(fd)).map(|(place, _)| place).collect()
    }

    fn forward(&mut self, links: &mut Links, from: usize, packet: &mut [u8]) {
        // IPv4 only: bytes 16 to 19 are the destination. What hosts say in IPv6 to nobody is not forwarded.
        if packet.len() < 20 || packet[0] >> 4 != 4 {
            return;
        }
        let Some(&to) = links.places.get(&packet[19]) else { return };
        let now = Instant::now();
        let link = &mut links.table[from][to];
        if link.ends_connections()
            && let Some(segment) = Segment::of(packet)
            && let Some(told) = link.refuse(&segment, now)
        {
            self.devices[from].deliver(&segment.reset_sender());
            if told == ResetNotice::Both {
                self.devices[to].deliver(&segment.reset_receiver());
            }
            return;
        }
        for copy in link.decide(packet.len(), now, &mut self.random).into_iter().flatten() {
            if let Some(bit) = copy.flip {
                packet[bit / 8] ^= 1 << (bit % 8);
            }
            if copy.due <= now {
                pass(&self.devices[to], link, packet);
            } else {
                link.hold(packet.len());
                self.count += 1;
                let (due, count, packet) = (copy.due, self.count, Box::from(&*packet));
                self.held.push(Reverse(DelayedPacket { due, count, from, to, packet }));
            }
            if let Some(bit) = copy.flip {
                packet[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    fn deliver_due(&mut self, links: &mut Links) {
        let now = Instant::now();
        while self.held.peek().is_some_and(|Reverse(next)| next.due <= now) {
            let Some(Reverse(held)) = self.held.pop() else { break };
            let link = &mut links.table[held.from][held.to];
            link.release(held.packet.len());
            if link.closed() {
                link.counters.cut += 1;
            } else {
                pass(&self.devices[held.to], link, &held.packet);
            }
        }
    }
}

fn pass(device: &Tun, link: &mut Link, packet: &[u8]) {
    if device.deliver(packet) {
        link.counters.passed += 1;
        link.counters.bytes += packet.len() as u64;
    } else {
        link.counters.overflowed += 1;
    }
}
