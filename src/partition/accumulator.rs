//! Which batches of a partition go into which entry, and when. Pure: what it says is done by `proposer.rs`.
//!
//! An entry costs the same whether it holds one batch or a thousand. So while few entries are under way a batch goes at
//! once, by itself; otherwise it waits and is put together with those that come meanwhile. Nothing is ever
//! delayed for what might come: the wait is that for an entry under way. An entry that is full
//! does not wait at all, as nothing could be added to it, so that the time a commit takes bounds no throughput.
//!
//! ```text
//!            at once while fewer than 5 are under way
//!  batches ──────────────────────────────────────────▶ proposed ──▶ landed
//!      │                                                 ▲             │
//!      └──▶ waiting: [full] [full] [growing] ────────────┘◀── a slot ──┘
//!                     at once        when one has landed
//! ```
//!
//! Batches are copied into their entry when they come, so what waits holds none of its request's memory. Its bytes are
//! bounded by the room that each batch has taken (`quorate_raft::Reservation`).
//!
//! Invariant: entries are proposed one at a time, in the order in which their batches came, and hold batches of one
//! term. Whoever is told to propose asks [`Accumulator::next`] when that is done, until nothing waits.

use std::collections::VecDeque;

use super::command::AppendPayload;

/// Entries under way of which none waited to be filled: as many as the batches that a Kafka producer has in flight
/// (`max.in.flight.requests.per.connection`), so that one alone never waits.
const IN_FLIGHT_MAX: usize = 5;
/// Bytes from which an entry is full, a larger single batch aside: as much as a span, so that who looks for a batch
/// reads no more than where each batch is an entry.
pub(super) const ENTRY_BYTES: usize = 256 * 1024;
/// The same where single records are looked up, each of which costs the reading of its entry.
pub(super) const STREAM_ENTRY_BYTES: usize = 4 * 1024;
/// Batches with which an entry is full: applying it takes a millisecond at most.
const ENTRY_BATCHES: u32 = 1024;

/// The batches of one partition on their way into the log. `W`: who waits for a batch.
#[derive(Debug)]
pub(super) struct Accumulator<W> {
    waiting: VecDeque<Entry<W>>,
    in_flight: usize,
    /// Somebody proposes, or waits until there is something to propose.
    proposing: bool,
}

/// An entry under construction.
#[derive(Debug)]
pub(super) struct Entry<W> {
    /// The term under which all of its batches were checked.
    pub(super) term: u64,
    /// The wall clock of the last batch.
    pub(super) wall_ms: i64,
    pub(super) payload: AppendPayload,
    /// One for each batch.
    pub(super) waiters: Vec<W>,
    /// Bytes from which it is full.
    full_bytes: usize,
}

/// A batch that passed the gate, as it goes into an entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent<'a> {
    pub(super) bytes: &'a [u8],
    /// Its attachments, encoded.
    pub(super) attachments: &'a [u8],
    /// Bytes from which its entry is full.
    pub(super) entry_bytes: usize,
}

impl Sent<'_> {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() + self.attachments.len()
    }
}

/// What a new batch calls for.
#[derive(Debug)]
pub(super) enum Pushed<W> {
    /// To propose the entry, which holds it alone.
    Propose(Entry<W>),
    /// To have somebody ask for the next entry.
    Drive,
    /// To wake who waits for something to propose.
    Wake,
    /// Nothing.
    Waits,
}

/// What who proposes does next.
#[derive(Debug)]
pub(super) enum Next<W> {
    Propose(Entry<W>),
    /// Ask again when an entry has landed or a batch has come.
    Wait,
    /// Nothing waits; end.
    Idle,
}

impl<W> Default for Accumulator<W> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), in_flight: 0, proposing: false }
    }
}

impl<W> Accumulator<W> {
    /// Adds a batch that was checked under the leadership of `term`. `wall_ms`: the wall clock.
    pub(super) fn push(
        &mut self,
        term: u64,
        wall_ms: i64,
        batch: Sent<'_>,
        waiter: W,
    ) -> Pushed<W> {
        match self.waiting.back_mut().filter(|last| last.takes(term, batch)) {
            Some(last) => last.add(wall_ms, batch, waiter),
            None => self.waiting.push_back(Entry::new(term, wall_ms, batch, waiter)),
        }
        self.pushed()
    }

    /// The same with a batch that is too large to share an entry, so that it need not be copied here.
    pub(super) fn push_full(&mut self, entry: Entry<W>) -> Pushed<W> {
        self.waiting.push_back(entry);
        self.pushed()
    }

    fn pushed(&mut self) -> Pushed<W> {
        let proposed_by_another = std::mem::replace(&mut self.proposing, true);
        match (proposed_by_another, self.is_due()) {
            (true, true) => Pushed::Wake,
            (true, false) => Pushed::Waits,
            (false, false) => Pushed::Drive,
            (false, true) => self.take().map_or(Pushed::Waits, Pushed::Propose),
        }
    }

    /// Returns what to do for who has proposed an entry, or could not.
    pub(super) fn next(&mut self) -> Next<W> {
        if self.is_due() {
            return self.take().map_or(Next::Idle, Next::Propose);
        }
        self.proposing = !self.waiting.is_empty();
        if self.proposing { Next::Wait } else { Next::Idle }
    }

    /// An entry that was taken is decided, or did not enter the log. Returns whether who proposes is to be woken.
    pub(super) fn landed(&mut self) -> bool {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.proposing && self.is_due()
    }

    /// Takes out what waits to enter under `term` or an earlier one.
    pub(super) fn give_up(&mut self, term: u64) -> Vec<Entry<W>> {
        let (over, kept): (Vec<_>, Vec<_>) =
            self.waiting.drain(..).partition(|entry| entry.term <= term);
        self.waiting = kept.into();
        over
    }

    fn is_due(&self) -> bool {
        let Some(first) = self.waiting.front() else { return false };
        self.in_flight < IN_FLIGHT_MAX || self.waiting.len() > 1 || first.is_full()
    }

    fn take(&mut self) -> Option<Entry<W>> {
        let entry = self.waiting.pop_front()?;
        self.in_flight += 1;
        Some(entry)
    }
}

impl<W> Entry<W> {
    pub(super) fn new(term: u64, wall_ms: i64, batch: Sent<'_>, waiter: W) -> Self {
        let payload = AppendPayload::with_capacity(batch.len());
        let full_bytes = batch.entry_bytes;
        let mut entry = Self { term, wall_ms, payload, waiters: Vec::with_capacity(1), full_bytes };
        entry.add(wall_ms, batch, waiter);
        entry
    }

    fn add(&mut self, wall_ms: i64, batch: Sent<'_>, waiter: W) {
        self.wall_ms = wall_ms;
        self.payload.push(batch.bytes, batch.attachments);
        self.waiters.push(waiter);
    }

    /// Returns whether the batch may be added to it.
    fn takes(&self, term: u64, batch: Sent<'_>) -> bool {
        self.term == term && !self.is_full() && self.payload.len() + batch.len() <= self.full_bytes
    }

    fn is_full(&self) -> bool {
        self.payload.len() >= self.full_bytes || self.payload.count() >= ENTRY_BATCHES
    }
}

#[cfg(test)]
mod tests;
