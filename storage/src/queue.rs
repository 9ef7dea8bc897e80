//! The queue in front of the writer: in order, bounded by bytes, one for all groups.
//!
//! A caller first waits for room (the only wait of a write), then changes its group and enqueues
//! under the group's lock, so the order of the queue is the order in which callers saw the group
//! change. Sequence numbers let a reader wait until something it saw is in the database.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::chunks::Chunk;
use crate::group::{Cell, Cut};
use crate::moves::Move;
use crate::runs::Run;
use crate::{Durable, Entry, EntryId, Error, StateDelete, StatePut};

/// Fixed memory counted for each request.
const REQUEST_OVERHEAD: usize = 128;

pub(crate) enum Op {
    Append {
        cell: Arc<Cell>,
        create: bool,
        entries: Vec<Entry>,
        runs: Vec<Run>,
        durable: Durable,
    },
    Vote {
        cell: Arc<Cell>,
        create: bool,
        vote: Bytes,
        durable: Durable,
    },
    Truncate {
        cell: Arc<Cell>,
        cut: Cut,
    },
    Purge {
        cell: Arc<Cell>,
        create: bool,
        upto: EntryId,
        cut: Cut,
    },
    Reset {
        cell: Arc<Cell>,
        upto: EntryId,
        keep: Vec<StateDelete>,
        state: Vec<StatePut>,
        chunks: ChunkChange,
        durable: Durable,
    },
    Chunks {
        cell: Arc<Cell>,
        create: bool,
        change: ChunkChange,
        durable: Durable,
    },
    ChunkDamaged {
        cell: Arc<Cell>,
        number: u64,
    },
    State {
        cell: Arc<Cell>,
        create: bool,
        puts: Vec<StatePut>,
        deletes: Vec<StateDelete>,
    },
    Drop {
        cell: Arc<Cell>,
        /// Numbers of its chunks.
        chunks: Vec<u64>,
        durable: Durable,
    },
    NodePut {
        key: Vec<u8>,
        value: Vec<u8>,
        durable: Durable,
    },
    Corrupt {
        cell: Arc<Cell>,
    },
    Move(Move),
    ForgetGenerations(Vec<u32>),
    /// Ends this generation, if it is still being written, although it is not full.
    EndGeneration(u32),
}

/// Rows of chunks that go and that come.
#[derive(Debug, Default)]
pub(crate) struct ChunkChange {
    /// First offset and number.
    pub gone: Vec<(u64, u64)>,
    pub new: Vec<Chunk>,
}

pub(crate) struct Request {
    pub op: Op,
    cost: usize,
    permits: u32,
}

/// WritePermit for one request, given back by the writer.
pub(crate) struct WritePermit<'a> {
    permit: Option<SemaphorePermit<'a>>,
    cost: usize,
}

#[derive(Default)]
struct Inner {
    requests: VecDeque<Request>,
    /// At most one, and outside the order: see `push_move`.
    moves: Option<Request>,
    pushed: u64,
    closed: bool,
}

pub(crate) struct Queue {
    inner: Mutex<Inner>,
    work: Condvar,
    permit: Semaphore,
    capacity: usize,
    bytes: AtomicUsize,
    written: Mutex<u64>,
    progress: Condvar,
}

/// What the writer takes at once.
pub(crate) struct Taken {
    pub requests: Vec<Request>,
    /// Sequence number of the last request.
    pub sequence: u64,
}

impl Queue {
    pub fn new(capacity: usize) -> Queue {
        Queue {
            inner: Mutex::default(),
            work: Condvar::new(),
            permit: Semaphore::new(capacity),
            capacity,
            bytes: AtomicUsize::new(0),
            written: Mutex::new(0),
            progress: Condvar::new(),
        }
    }

    /// Waits until `bytes` more fit. A request larger than the queue waits for all of it.
    pub async fn permit(&self, bytes: usize) -> Result<WritePermit<'_>, Error> {
        let cost = bytes + REQUEST_OVERHEAD;
        let permits = u32::try_from(cost.min(self.capacity)).unwrap_or(u32::MAX);
        let permit = self.permit.acquire_many(permits).await.map_err(|_| Error::Closed)?;
        Ok(WritePermit { permit: Some(permit), cost })
    }

    /// WritePermit outside the bound, for requests that are few: votes, drops of groups, values of the node.
    pub fn unbounded(&self, bytes: usize) -> WritePermit<'_> {
        WritePermit { permit: None, cost: bytes + REQUEST_OVERHEAD }
    }

    /// Enqueues and gives the sequence number; refused once closed.
    pub fn push(&self, permit: WritePermit<'_>, op: Op) -> Result<u64, Error> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(Error::Closed);
        }
        let permits = permit.permit.map_or(0, |permit| {
            let count = permit.num_permits();
            permit.forget();
            u32::try_from(count).unwrap_or(u32::MAX)
        });
        self.bytes.fetch_add(permit.cost, Ordering::Relaxed);
        inner.requests.push_back(Request { op, cost: permit.cost, permits });
        inner.pushed += 1;
        let sequence = inner.pushed;
        drop(inner);
        self.work.notify_one();
        Ok(sequence)
    }

    /// Enqueues a move ahead of everything. It is checked against what is on disk when its turn
    /// comes, so it has no place in the order of the groups' requests; and behind a full queue the
    /// rewriting of old generations would fall behind the appends for ever.
    pub fn push_move(&self, bytes: usize, request: Move) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(Error::Closed);
        }
        let cost = bytes + REQUEST_OVERHEAD;
        self.bytes.fetch_add(cost, Ordering::Relaxed);
        inner.moves = Some(Request { op: Op::Move(request), cost, permits: 0 });
        drop(inner);
        self.work.notify_one();
        Ok(())
    }

    /// Waits for work and takes up to `bytes_max` of it, at least one request. A move is taken
    /// alone, because the map follows it only after the write. None: closed and empty.
    pub fn take(&self, bytes_max: usize) -> Option<Taken> {
        let mut inner = self.inner.lock();
        while inner.requests.is_empty() && inner.moves.is_none() {
            if inner.closed {
                return None;
            }
            self.work.wait(&mut inner);
        }
        if let Some(request) = inner.moves.take() {
            let sequence = inner.pushed - inner.requests.len() as u64;
            return Some(Taken { requests: vec![request], sequence });
        }
        let mut requests = Vec::new();
        let mut bytes = 0;
        while let Some(next) = inner.requests.front() {
            if !requests.is_empty() && bytes + next.cost > bytes_max {
                break;
            }
            bytes += next.cost;
            requests.extend(inner.requests.pop_front());
        }
        let sequence = inner.pushed - inner.requests.len() as u64;
        Some(Taken { requests, sequence })
    }

    /// The writer has written everything up to `sequence`: `cost` and `permits` are free again.
    pub fn written(&self, sequence: u64, charge: Charge) {
        self.bytes.fetch_sub(charge.cost, Ordering::Relaxed);
        self.permit.add_permits(charge.permits);
        *self.written.lock() = sequence;
        self.progress.notify_all();
    }

    /// Waits until the request with this sequence number is in the database (not: synced).
    pub fn wait_written(&self, sequence: u64) {
        let mut written = self.written.lock();
        while *written < sequence {
            self.progress.wait(&mut written);
        }
    }

    /// Refuses what comes from now on; the writer still gets what is queued.
    pub fn close(&self) {
        self.permit.close();
        self.inner.lock().closed = true;
        self.work.notify_all();
    }

    pub fn is_closed(&self) -> bool {
        self.inner.lock().closed
    }

    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// What a set of requests holds of the queue's bound.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Charge {
    cost: usize,
    permits: usize,
}

impl Charge {
    /// About the bytes the requests carry.
    pub fn bytes(&self) -> usize {
        self.cost
    }

    pub fn of(requests: &[Request]) -> Charge {
        requests.iter().fold(Charge::default(), |sum, request| Charge {
            cost: sum.cost + request.cost,
            permits: sum.permits + request.permits as usize,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forget() -> Op {
        Op::ForgetGenerations(Vec::new())
    }

    #[test]
    fn requests_are_merged_up_to_the_byte_bound_in_order() {
        let queue = Queue::new(1 << 20);
        for bytes in [100, 100, 100, 5000, 100] {
            queue.push(queue.unbounded(bytes), forget()).expect("open");
        }
        let sizes: Vec<_> = (0..3)
            .map(|_| queue.take(1000).expect("work"))
            .map(|taken| (taken.requests.len(), taken.sequence))
            .collect();
        assert_eq!(sizes, vec![(3, 3), (1, 4), (1, 5)]);
    }

    #[tokio::test]
    async fn callers_wait_for_room_until_the_writer_is_done() {
        let queue = Queue::new(1000);
        let permit =
            queue.permit(5000).await.expect("a request larger than the queue gets all of it");
        queue.push(permit, forget()).expect("open");
        let mut waiting = Box::pin(queue.permit(1));
        assert!(futures_poll(&mut waiting).is_none());
        let taken = queue.take(10).expect("work");
        assert_eq!(queue.bytes(), 5000 + REQUEST_OVERHEAD);
        queue.written(taken.sequence, Charge::of(&taken.requests));
        assert_eq!(queue.bytes(), 0);
        assert!(futures_poll(&mut waiting).is_some());
    }

    #[tokio::test]
    async fn a_closed_queue_hands_out_the_rest_and_refuses_more() {
        let queue = Queue::new(1000);
        let permit = queue.permit(1).await.expect("permit");
        queue.push(queue.unbounded(1), forget()).expect("open");
        queue.close();
        assert!(matches!(queue.push(permit, forget()), Err(Error::Closed)));
        assert!(matches!(queue.permit(1).await, Err(Error::Closed)));
        assert!(queue.take(10).is_some());
        assert!(queue.take(10).is_none());
    }

    fn futures_poll<F: Future>(future: &mut std::pin::Pin<Box<F>>) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
