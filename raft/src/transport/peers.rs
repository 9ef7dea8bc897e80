//! The nodes this one talks to, and the book of their addresses.
//!
//! The book is what lets a restarted node find its groups' members before it has a leader to ask.
//! It also decides who may connect: a node that is not in it, or has another directory than it says,
//! is turned away.
//!
//! Members may all have moved while they were down, and until a majority meets nobody can write the new
//! addresses down. So a node that introduces itself says where it is, and that address is tried where the
//! registered one fails. It is not written to the book: the metadata does that once there is some.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::RwLock;
use quorate_storage::Db;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::peer::{Address, Common, Peer};
use crate::codec::{Get, Put};
use crate::error::{DecodeError, Error};
use crate::platform::spawn_blocking;

const KEY: &str = "raft.peers";
/// Most peers of a node.
const PEERS_MAX: u32 = 4096;

/// A peer and the task that keeps its connection.
type PeerTask = (Arc<Peer>, JoinHandle<()>);

/// All peers.
pub(crate) struct Peers {
    common: Arc<Common>,
    db: Arc<Db>,
    peers: RwLock<HashMap<u64, PeerTask>>,
    changed: Notify,
}

impl Peers {
    /// Loads the book. Reads the disk.
    pub fn load(common: Arc<Common>, db: Arc<Db>) -> Result<Self, Error> {
        let book = match db.node_get(KEY)? {
            Some(bytes) => {
                decode(bytes).map_err(|e| Error::Corrupt(format!("address book: {e}")))?
            }
            None => BTreeMap::new(),
        };
        let peers = Self { common, db, peers: RwLock::default(), changed: Notify::new() };
        for (id, address) in book {
            peers.get_or_add(id).set_address(Some(address));
        }
        Ok(peers)
    }

    pub fn get(&self, id: u64) -> Option<Arc<Peer>> {
        self.peers.read().get(&id).map(|(peer, _)| Arc::clone(peer))
    }

    /// The peer, which may have no address yet and then is unreachable.
    pub fn get_or_add(&self, id: u64) -> Arc<Peer> {
        if let Some(peer) = self.get(id) {
            return peer;
        }
        let mut peers = self.peers.write();
        let (peer, _) =
            peers.entry(id).or_insert_with(|| Peer::start(id, Arc::clone(&self.common)));
        Arc::clone(peer)
    }

    pub fn set(&self, id: u64, address: Address) {
        let peer = self.get_or_add(id);
        if peer.address().as_ref() != Some(&address) {
            peer.set_address(Some(address));
            self.changed.notify_one();
        }
    }

    pub fn remove(&self, id: u64) {
        if let Some(peer) = self.get(id).filter(|peer| peer.address().is_some()) {
            peer.set_address(None);
            self.changed.notify_one();
        }
    }

    /// A member introduced itself and said where it is.
    pub fn heard_of(&self, peer: &Peer, address: &str) {
        if address.is_empty() {
            peer.dial_now();
        } else {
            if peer.heard_at(address) {
                tracing::debug!(peer = peer.id, address, "peer says that it is elsewhere");
            }
        }
    }

    /// Somebody says where a member is. Ignored unless the member is known with that directory.
    pub fn hear_at(&self, id: u64, address: &str, directory: u128) {
        let known = self.get(id).filter(|peer| {
            peer.link().is_none() && peer.address().is_some_and(|it| it.directory == directory)
        });
        if let Some(peer) = known {
            self.heard_of(&peer, address);
        }
    }

    /// Those there is a connection to: id, address, directory.
    pub fn reached(&self) -> Vec<(u64, String, u128)> {
        let peers = self.peers.read();
        let linked = peers.iter().filter(|(_, (peer, _))| peer.link().is_some());
        let found = linked.filter_map(|(id, (peer, _))| {
            peer.found_at().map(|at| (*id, at.address, at.directory))
        });
        found.collect()
    }

    /// Whether a peer that was reached turned this node away.
    pub fn turn_away(&self) -> bool {
        self.peers.read().values().any(|(peer, _)| peer.turns_away())
    }

    /// Why a node that introduced itself is turned away, or nothing if it is welcome.
    pub fn objection(&self, id: u64, directory: u128) -> Option<String> {
        match self.get(id).and_then(|peer| peer.address()) {
            None => {
                Some(format!("node {id} is not a member of this cluster, or not known here yet"))
            }
            // The right one is not named, lest somebody copies it.
            Some(known) if known.directory != directory => Some(format!(
                "node {id} is registered with another data directory than {directory:032x}; \
                 a node that lost its directory needs a new id"
            )),
            Some(_) => None,
        }
    }

    /// Writes the book whenever it changed.
    pub async fn keep_book(self: Arc<Self>) {
        loop {
            self.changed.notified().await;
            let bytes = encode(&self.book());
            let db = Arc::clone(&self.db);
            let written = spawn_blocking(move || db.node_put(KEY, &bytes)).await;
            if let Err(error) = written {
                tracing::warn!(%error, "cannot write the address book");
            }
        }
    }

    /// Where the peers are.
    pub fn addresses(&self) -> Vec<String> {
        self.book().into_values().map(|known| known.address).collect()
    }

    fn book(&self) -> BTreeMap<u64, Address> {
        let peers = self.peers.read();
        peers.iter().filter_map(|(id, (peer, _))| Some((*id, peer.address()?))).collect()
    }

    /// Ends all connections.
    pub fn stop(&self) {
        for (_, (peer, task)) in self.peers.write().drain() {
            task.abort();
            if let Some(link) = peer.link() {
                link.close();
            }
        }
    }
}

fn encode(book: &BTreeMap<u64, Address>) -> Bytes {
    let mut out = BytesMut::new();
    out.u32(book.len() as u32);
    for (id, address) in book {
        out.u64(*id);
        out.u128(address.directory);
        out.text(&address.address);
    }
    out.freeze()
}

fn decode(bytes: Bytes) -> Result<BTreeMap<u64, Address>, DecodeError> {
    let mut input = Get::new(bytes);
    let mut book = BTreeMap::new();
    for _ in 0..input.count(PEERS_MAX)? {
        let id = input.u64()?;
        let directory = input.u128()?;
        book.insert(id, Address { address: input.text()?, directory });
    }
    input.end()?;
    Ok(book)
}
