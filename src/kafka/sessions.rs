//! Incremental fetch sessions (KIP-227): a consumer names its partitions once, then only what changed, and is
//! answered only with what changed.
//!
//! A session is pure: requests and outcomes in, decisions out. The table of sessions is a map under a lock that
//! is held for a lookup only; a session has its own. A session that is not there is no failure: the client is told
//! and sends everything again, so forgetting is always allowed; a session that would grow beyond its bound is
//! forgotten, too.
//!
//! A fetch is two steps. [`Sessions::begin`] applies the request and returns what to read, in order; after reading,
//! [`Plan::finish`] says which partitions have to be in the answer and under which session id.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use super::error::ErrorCode;
use super::keys::{PartitionKey, TopicKey};

/// A full table forgets the session unused longest, but none used so lately, or two crowds of clients would
/// take the table from each other forever.
const EVICT_AFTER_MS: u64 = 120_000;
/// Partitions remembered over all sessions: about 200 bytes each, so 200 MB at most.
const PARTITIONS_MAX: usize = 1_000_000;
/// Partitions of one session, all of which are read at every fetch, however small the request. Who wants more is
/// served without a session.
const SESSION_PARTITIONS_MAX: usize = 100_000;

const NO_SESSION: i32 = 0;
const INITIAL_EPOCH: i32 = 0;
const FINAL_EPOCH: i32 = -1;

/// What a consumer wants from one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartitionFetch {
    pub(crate) offset: i64,
    pub(crate) bytes_max: usize,
    /// The leader epoch the client believes in; -1: none.
    pub(crate) leader_epoch: i32,
    /// The epoch of the last record it has; -1: none (KIP-595).
    pub(crate) fetched_epoch: i32,
}

/// The part of a fetch request that concerns sessions.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) id: i32,
    pub(crate) epoch: i32,
    pub(crate) by_topic_id: bool,
    pub(crate) wanted: Vec<(PartitionKey, PartitionFetch)>,
    pub(crate) forgotten: Vec<PartitionKey>,
}

/// What an answer would say about one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) failed: bool,
    pub(crate) has_records: bool,
    pub(crate) high_watermark: i64,
    /// The last stable offset.
    pub(crate) stable: i64,
    pub(crate) log_start: i64,
    /// Said whatever else is unchanged, such as a diverging epoch.
    pub(crate) notable: bool,
}

/// What to read for a request, in this order.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) wanted: Vec<(PartitionKey, PartitionFetch)>,
    by_topic_id: bool,
    session: PlanSession,
}

#[derive(Debug)]
enum PlanSession {
    None,
    New,
    Known { id: i32, session: Arc<Mutex<Session>> },
}

/// What the answer consists of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finished {
    /// The session id to answer with; 0: none.
    pub(crate) id: i32,
    /// For each of the plan's partitions, whether the answer names it.
    pub(crate) included: Vec<bool>,
}

/// All sessions of this broker.
#[derive(Debug)]
pub(crate) struct Sessions {
    sessions_max: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    by_id: HashMap<i32, Entry>,
    /// Least recently used first.
    by_use: BTreeMap<(u64, i32), ()>,
    partitions: usize,
    last_id: i32,
}

#[derive(Debug)]
struct Entry {
    session: Arc<Mutex<Session>>,
    used_ms: u64,
    partitions: usize,
}

impl Sessions {
    pub(crate) fn new(sessions_max: usize) -> Sessions {
        Sessions { sessions_max, table: Mutex::default() }
    }

    /// Applies a request at `now_ms` (any clock that does not go back) and returns what to read.
    pub(crate) fn begin(&self, request: Request, now_ms: u64) -> Result<Plan, ErrorCode> {
        let Request { id, epoch, by_topic_id, wanted, forgotten } = request;
        if epoch == FINAL_EPOCH || epoch == INITIAL_EPOCH {
            self.table.lock().remove(id);
            let session = match epoch {
                FINAL_EPOCH => PlanSession::None,
                _ => PlanSession::New,
            };
            return Ok(Plan { wanted, by_topic_id, session });
        }
        let session =
            self.table.lock().touch(id, now_ms).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        let (plan, partitions) = {
            let mut locked = session.lock();
            locked.advance(epoch, by_topic_id)?;
            locked.update(wanted, &forgotten);
            (locked.wanted(), locked.partitions.len())
        };
        let mut table = self.table.lock();
        if !table.may_grow(id, partitions) {
            table.remove(id);
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        if partitions == 0 {
            table.remove(id);
            return Ok(Plan { wanted: plan, by_topic_id, session: PlanSession::None });
        }
        table.resize(id, partitions);
        Ok(Plan { wanted: plan, by_topic_id, session: PlanSession::Known { id, session } })
    }

    /// Returns how many partitions a fetch of that session reads beside those it names; 0 when it is not there.
    pub(crate) fn partitions_of(&self, id: i32) -> usize {
        self.table.lock().by_id.get(&id).map_or(0, |entry| entry.partitions)
    }

    fn create(&self, session: Session, now_ms: u64) -> i32 {
        let partitions = session.partitions.len();
        let mut table = self.table.lock();
        let room = table.make_room(self.sessions_max, partitions, now_ms);
        if room && (1..=SESSION_PARTITIONS_MAX).contains(&partitions) {
            table.insert(session, partitions, now_ms)
        } else {
            NO_SESSION
        }
    }
}

impl Plan {
    /// Takes what was read, in the plan's order, and decides what the answer says.
    pub(crate) fn finish(
        &self,
        sessions: &Sessions,
        outcomes: &[Outcome],
        now_ms: u64,
    ) -> Finished {
        let everything = || vec![true; outcomes.len()];
        match &self.session {
            PlanSession::None => Finished { id: NO_SESSION, included: everything() },
            PlanSession::New => {
                let mut session = Session::new(self.by_topic_id);
                session.update(self.wanted.clone(), &[]);
                session.note(&self.wanted, outcomes);
                Finished { id: sessions.create(session, now_ms), included: everything() }
            }
            PlanSession::Known { id, session } => {
                Finished { id: *id, included: session.lock().note(&self.wanted, outcomes) }
            }
        }
    }
}

impl Table {
    fn touch(&mut self, id: i32, now_ms: u64) -> Option<Arc<Mutex<Session>>> {
        let entry = self.by_id.get_mut(&id)?;
        self.by_use.remove(&(entry.used_ms, id));
        entry.used_ms = now_ms;
        self.by_use.insert((now_ms, id), ());
        Some(Arc::clone(&entry.session))
    }

    /// Whether a session may come to so many partitions. Shrinking is always allowed.
    fn may_grow(&self, id: i32, partitions: usize) -> bool {
        let now = self.by_id.get(&id).map_or(0, |entry| entry.partitions);
        let all = self.partitions - now + partitions;
        partitions <= now || (partitions <= SESSION_PARTITIONS_MAX && all <= PARTITIONS_MAX)
    }

    fn resize(&mut self, id: i32, partitions: usize) {
        if let Some(entry) = self.by_id.get_mut(&id) {
            self.partitions = self.partitions - entry.partitions + partitions;
            entry.partitions = partitions;
        }
    }

    fn remove(&mut self, id: i32) {
        if let Some(entry) = self.by_id.remove(&id) {
            self.by_use.remove(&(entry.used_ms, id));
            self.partitions -= entry.partitions;
        }
    }

    /// Forgets old sessions until one more fits; false when only lately used ones are left.
    fn make_room(&mut self, sessions_max: usize, partitions: usize, now_ms: u64) -> bool {
        loop {
            let fits =
                self.by_id.len() < sessions_max && self.partitions + partitions <= PARTITIONS_MAX;
            let oldest = self.by_use.first_key_value().map(|(key, ())| *key);
            match oldest {
                _ if fits => return true,
                Some((used, id)) if now_ms.saturating_sub(used) >= EVICT_AFTER_MS => {
                    self.remove(id);
                }
                _ => return false,
            }
        }
    }

    fn insert(&mut self, session: Session, partitions: usize, now_ms: u64) -> i32 {
        let id = loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if !self.by_id.contains_key(&self.last_id) {
                break self.last_id;
            }
        };
        let session = Arc::new(Mutex::new(session));
        self.by_id.insert(id, Entry { session, used_ms: now_ms, partitions });
        self.by_use.insert((now_ms, id), ());
        self.partitions += partitions;
        id
    }
}

/// One session: the partitions of one consumer connection in the order in which they are read.
#[derive(Debug)]
struct Session {
    by_topic_id: bool,
    /// The epoch the next request must carry.
    next_epoch: i32,
    partitions: HashMap<PartitionKey, Cached>,
    /// Reading order. What returned records goes to the end, so that a busy partition does not starve the others.
    order: BTreeMap<u64, PartitionKey>,
    next_place: u64,
}

#[derive(Debug)]
struct Cached {
    wanted: PartitionFetch,
    place: u64,
    /// What the client was last told; -1 makes the next answer tell it again.
    high_watermark: i64,
    stable: i64,
    log_start: i64,
}

impl Session {
    fn new(by_topic_id: bool) -> Session {
        Session {
            by_topic_id,
            next_epoch: 1,
            partitions: HashMap::new(),
            order: BTreeMap::new(),
            next_place: 0,
        }
    }

    fn advance(&mut self, epoch: i32, by_topic_id: bool) -> Result<(), ErrorCode> {
        if epoch != self.next_epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if by_topic_id != self.by_topic_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        // Epochs go from the largest on to 1; 0 and -1 have meanings of their own.
        self.next_epoch = epoch.checked_add(1).unwrap_or(1);
        Ok(())
    }

    fn update(&mut self, wanted: Vec<(PartitionKey, PartitionFetch)>, forgotten: &[PartitionKey]) {
        for key in forgotten {
            if let Some(cached) = self.partitions.remove(key) {
                self.order.remove(&cached.place);
            }
        }
        for (key, wanted) in wanted {
            if let Some(cached) = self.partitions.get_mut(&key) {
                cached.wanted = wanted;
                continue;
            }
            let place = self.take_place();
            self.order.insert(place, key.clone());
            let cached = Cached { wanted, place, high_watermark: -1, stable: -1, log_start: -1 };
            self.partitions.insert(key, cached);
        }
    }

    fn wanted(&self) -> Vec<(PartitionKey, PartitionFetch)> {
        let entry = |key: &PartitionKey| Some((key.clone(), self.partitions.get(key)?.wanted));
        self.order.values().filter_map(entry).collect()
    }

    /// Remembers what the client is told now; returns which partitions the answer must name.
    fn note(&mut self, plan: &[(PartitionKey, PartitionFetch)], outcomes: &[Outcome]) -> Vec<bool> {
        let mut included = Vec::with_capacity(plan.len());
        for ((key, _), outcome) in plan.iter().zip(outcomes) {
            let place = self.next_place;
            let Some(cached) = self.partitions.get_mut(key) else {
                included.push(true);
                continue;
            };
            let moved = cached.high_watermark != outcome.high_watermark
                || cached.stable != outcome.stable
                || cached.log_start != outcome.log_start;
            included.push(moved || outcome.failed || outcome.has_records || outcome.notable);
            (cached.log_start, cached.stable) = (outcome.log_start, outcome.stable);
            cached.high_watermark = if outcome.failed { -1 } else { outcome.high_watermark };
            if outcome.has_records {
                self.order.remove(&cached.place);
                self.order.insert(place, key.clone());
                cached.place = place;
                self.next_place += 1;
            }
        }
        included
    }

    fn take_place(&mut self) -> u64 {
        self.next_place += 1;
        self.next_place - 1
    }
}

impl PartitionKey {
    pub(crate) fn new(topic: TopicKey, index: i32) -> PartitionKey {
        PartitionKey { topic, index }
    }
}

#[cfg(test)]
mod tests;
