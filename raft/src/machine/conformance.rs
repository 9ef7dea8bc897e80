//! What every machine must pass, see [`crate::Machine`]: called by the unit tests of each of them with a log that has in
//! it what such a log may hold. Also for machines outside of this crate, so it is compiled always and used by tests only.
//!
//! The log is applied by machines that differ in nothing but where they were restored from a checkpoint: never, before
//! every entry, and once at places spread over the log; and whose keyed state is on disk or in memory. All must agree at
//! every index in bytes, keyed state, effects and answers.
//! Then checkpoints are cut off, lengthened and damaged: the first two are errors, the last is an error or
//! another valid state, and nothing is a panic.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;

use super::{Committed, Effects, Machine};
use crate::keyed::Keyed;

/// Places at which a machine is restored and goes on to the end.
const RESTORES: usize = 16;
/// States whose bytes are damaged, spread over the log.
const DAMAGED_STATES: usize = 8;
/// Cuts, and flipped bytes, of one state.
const DAMAGES: usize = 512;

/// An entry of the log that a machine is checked with; its index is its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Term of the leader that proposed it; must not go back along a log.
    pub term: u64,
    /// What was proposed; `None` for entries of the consensus itself.
    pub payload: Option<Bytes>,
}

/// What can be seen of a machine after an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    bytes: Vec<u8>,
    effects: String,
    reply: String,
    needed_from: u64,
    /// The keyed state, and its hash.
    keyed: (Arc<Pairs>, u64),
    needs: Vec<Bytes>,
}

type Pairs = BTreeMap<Bytes, Bytes>;

/// A machine on its way through a log.
struct Run<M> {
    machine: M,
    next: usize,
    keyed: Keyed,
    /// The keyed state as of the newest checkpoint.
    disk: Arc<Pairs>,
    /// There is a checkpoint after every entry.
    checkpoints: bool,
}

impl<M: Machine> Run<M>
where
    M::Reply: Debug,
{
    fn new(machine: M) -> Self {
        let (keyed, disk) = Default::default();
        Self { machine, next: 0, keyed, disk, checkpoints: false }
    }

    /// Continues behind the first `applied` entries from the bytes of a state and the keyed state as of it.
    fn restored((bytes, keyed): (&[u8], &(Arc<Pairs>, u64)), applied: usize) -> Self {
        let machine = match M::decode(bytes) {
            Ok(machine) => machine,
            Err(error) => panic!("what encode wrote at {applied} cannot be decoded: {error}"),
        };
        assert_eq!(machine.encode(), bytes, "a state restored at {applied} encodes to other bytes");
        let (disk, keyed) = (Arc::clone(&keyed.0), Keyed::restored(keyed.1, Default::default()));
        Self { machine, next: applied, keyed, disk, checkpoints: false }
    }

    /// Begins an entry as the applying task does: what it needs is read ahead.
    fn begin(&mut self, needs: &[Bytes]) -> Effects {
        let missing = self.keyed.missing(needs);
        let read = missing.into_iter().map(|key| (key.clone(), self.disk.get(&key).cloned()));
        self.keyed.read_ahead(read);
        self.keyed.begin(needs.to_vec());
        Effects { keyed: std::mem::take(&mut self.keyed), ..Effects::default() }
    }

    /// The keyed state now.
    fn pairs(&self) -> Arc<Pairs> {
        let mut pairs = Arc::clone(&self.disk);
        for (key, value) in self.keyed.changes() {
            let pairs = Arc::make_mut(&mut pairs);
            match value {
                Some(value) => drop(pairs.insert(key, value)),
                None => drop(pairs.remove(&key)),
            }
        }
        pairs
    }

    fn step(&mut self, log: &[LogEntry]) -> Seen {
        let entry = &log[self.next];
        let payload = entry.payload.as_ref();
        let committed = Committed { index: self.next as u64, term: entry.term, payload };
        self.next += 1;
        let needs = M::needs(committed);
        assert!(M::KEYED || needs.is_empty(), "a machine without keyed state needs {needs:?}");
        let mut effects = self.begin(&needs);
        let reply = self.machine.apply(committed, &mut effects);
        self.keyed = std::mem::take(&mut effects.keyed);
        self.keyed.end();
        let pairs = self.pairs();
        if self.checkpoints {
            self.keyed.take_changes();
            self.keyed.changes_written();
            self.disk = Arc::clone(&pairs);
        }
        let reserved = effects.puts.iter().any(|put| put.key.first() == Some(&0));
        assert!(!reserved, "entry {} writes a reserved key: {effects:?}", committed.index);
        Seen {
            bytes: self.machine.encode(),
            effects: format!("{:?} {:?}", effects.puts, effects.deletes),
            reply: format!("{reply:?}"),
            needed_from: self.machine.needed_from(),
            keyed: (pairs, self.keyed.hash()),
            needs,
        }
    }
}

/// Makes the keys that an entry needs readable in `effects`, whose keyed state is all in memory, as that of a replica is
/// before its first checkpoint. For tests that apply entries one by one.
pub fn name_keys<M: Machine>(entry: Committed<'_>, effects: &mut Effects) {
    let needs = M::needs(entry);
    let missing = effects.keyed.missing(&needs);
    effects.keyed.end();
    effects.keyed.read_ahead(missing.into_iter().map(|key| (key, None)));
    effects.keyed.begin(needs);
}

/// Checks a machine with a log; `new` makes one that has applied nothing.
///
/// # Panics
/// If the machine breaks its contract, saying how.
pub fn check<M: Machine>(new: impl Fn() -> M, log: &[LogEntry])
where
    M::Reply: Debug,
{
    assert!(log.len() >= 2, "a log of {} entries shows nothing", log.len());
    let fresh = (new().encode(), Default::default());
    let mut straight = Run::new(new());
    let seen: Vec<Seen> = log.iter().map(|_| straight.step(log)).collect();
    let state_at = |applied: usize| match applied {
        0 => (&fresh.0[..], &fresh.1),
        _ => (&seen[applied - 1].bytes[..], &seen[applied - 1].keyed),
    };
    never_back(new().needed_from(), &seen);
    agrees("made anew", Run::new(new()), log, &seen);
    let written_out = Run { checkpoints: true, ..Run::new(new()) };
    agrees("whose keyed state is on disk", written_out, log, &seen);
    for at in spread(log.len(), RESTORES) {
        agrees(&format!("restored at {at}"), Run::<M>::restored(state_at(at), at), log, &seen);
    }
    for (at, expected) in seen.iter().enumerate() {
        let found = Run::<M>::restored(state_at(at), at).step(log);
        assert_eq!(&found, expected, "restored just before entry {at}");
    }
    assert!(M::decode(&[]).is_err(), "no bytes are no state");
    for at in spread(log.len() + 1, DAMAGED_STATES) {
        refuses_damage::<M>(state_at(at).0, at);
    }
}

fn never_back(mut before: u64, seen: &[Seen]) {
    for (index, seen) in seen.iter().enumerate() {
        let now = seen.needed_from;
        assert!(now >= before, "needed_from goes back from {before} to {now} at entry {index}");
        let end = index as u64 + 1;
        assert!(now <= end, "needed_from is {now} at entry {index}, beyond what was applied");
        before = now;
    }
}

fn agrees<M: Machine>(what: &str, mut run: Run<M>, log: &[LogEntry], seen: &[Seen])
where
    M::Reply: Debug,
{
    while run.next < log.len() {
        let at = run.next;
        assert_eq!(run.step(log), seen[at], "a machine {what} differs after entry {at}");
    }
}

fn refuses_damage<M: Machine>(bytes: &[u8], applied: usize) {
    for cut in spread(bytes.len(), DAMAGES) {
        let read = M::decode(&bytes[..cut]);
        assert!(read.is_err(), "{cut} of {} bytes of the state at {applied} are read", bytes.len());
    }
    let longer = [bytes, &[0]].concat();
    assert!(M::decode(&longer).is_err(), "a byte behind the state at {applied} is not noticed");
    for at in spread(bytes.len(), DAMAGES) {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= flip;
            if let Ok(machine) = M::decode(&damaged) {
                // Some other state, then, and whole.
                machine.needed_from();
                let again = machine.encode();
                assert!(M::decode(&again).is_ok(), "byte {at} of the state at {applied} flipped");
            }
        }
    }
}

/// At most `most` numbers below `end`, spread evenly, the first and the last among them.
fn spread(end: usize, most: usize) -> impl Iterator<Item = usize> {
    let count = end.min(most);
    (0..count).map(move |n| if count < 2 { n } else { n * (end - 1) / (count - 1) })
}

#[cfg(test)]
mod tests;
