//! Links between brokers that a test can cut one by one: every broker is dialled through a proxy that
//! reads from the handshake who dials.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::cluster::{Broker, Cluster, fresh_dir};
use super::ports;

/// Where the dialler's id stands in the first frame: behind length, checksum, version, kind, magic, versions, cluster.
const NODE_AT: usize = 4 + 4 + 1 + 1 + 8 + 2 + 2 + 16;

type Link = (u64, u64);

#[derive(Default)]
struct State {
    cut: BTreeSet<Link>,
    open: Vec<(Link, TcpStream)>,
}

/// All links of a cluster.
#[derive(Clone, Default)]
pub struct Links(Arc<Mutex<State>>);

fn link(a: u64, b: u64) -> Link {
    (a.min(b), a.max(b))
}

impl Links {
    /// Accepts diallers of broker `to` on one port and passes them on to another, for as long as the test runs.
    pub fn proxy(&self, to: u64, listen: u16, target: u16) {
        let listener = TcpListener::bind(("127.0.0.1", listen)).unwrap();
        let links = self.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let links = links.clone();
                thread::spawn(move || links.pass_on(to, stream, target));
            }
        });
    }

    fn pass_on(&self, to: u64, mut dialler: TcpStream, target: u16) -> Option<()> {
        let mut head = [0; NODE_AT + 8];
        dialler.read_exact(&mut head).ok()?;
        let from = u64::from_be_bytes(head[NODE_AT..].try_into().unwrap());
        let mut dialled = TcpStream::connect(("127.0.0.1", target)).ok()?;
        {
            let mut state = self.0.lock().unwrap();
            if state.cut.contains(&link(from, to)) {
                return None;
            }
            state.open.push((link(from, to), dialler.try_clone().ok()?));
            state.open.push((link(from, to), dialled.try_clone().ok()?));
        }
        dialled.write_all(&head).ok()?;
        let back = (dialled.try_clone().ok()?, dialler.try_clone().ok()?);
        thread::spawn(move || copy(back.0, back.1));
        copy(dialler, dialled);
        Some(())
    }

    /// Ends what two brokers have between them and lets neither dial the other.
    pub fn cut(&self, a: u64, b: u64) {
        let mut state = self.0.lock().unwrap();
        state.cut.insert(link(a, b));
        let (ended, open) = state.open.drain(..).partition(|(of, _)| *of == link(a, b));
        state.open = open;
        let ended: Vec<(Link, TcpStream)> = ended;
        ended.iter().for_each(|(_, stream)| drop(stream.shutdown(Shutdown::Both)));
    }

    /// Everybody may dial everybody again.
    pub fn heal(&self) {
        self.0.lock().unwrap().cut.clear();
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    drop(std::io::copy(&mut from, &mut to));
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

impl Cluster {
    /// As [`Cluster::start_with`], with every broker dialled by the others through `links`.
    pub fn start_linked(
        name: &str,
        brokers: u64,
        settings: &[(&str, &str)],
        links: &Links,
    ) -> Cluster {
        let dir = fresh_dir(name);
        let first = ports::block(brokers as u16);
        let proxy = |id: u64| first + id as u16 - 1;
        let brokers = (1..=brokers).map(|id| {
            let advertised = format!("127.0.0.1:{}", proxy(id));
            let mut settings = settings.to_vec();
            settings.push(("QUORATE_PEER_ADVERTISED", &advertised));
            let join: &[u16] = if id == 1 { &[] } else { &[proxy(1)] };
            let broker = Broker::new(&dir, id, join, &settings);
            links.proxy(id, proxy(id), broker.peer);
            broker
        });
        let brokers: Vec<Broker> = brokers.collect();
        Cluster::form(dir, brokers, settings, Vec::new())
    }
}
