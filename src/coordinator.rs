//! Consumer groups: who reads what, and how far.
//!
//! ```text
//!  kafka ──▶ Coordinator ──calls──▶ Driver ──▶ groups, classic   (pure; the leader's view, ahead of the log)
//!                │                    │ commands, one entry at a time
//!                │ offsets            ▼
//!                └──────────▶ CoordinatorMachine   (replicated: groups in memory, offsets by key)
//! ```
//!
//! A coordinator is an internal Raft group; there are 32, and a consumer group is at home in the one that Kafka's hash of
//! its name says. Everything that a new leader must know is in its log: generations, members, parts, offsets. So it serves
//! at once, and nobody has to join again because a broker died. Who is alive is known to the leader alone.
//!
//! Invariant: no answer leaves before all it rests on is committed.

mod call;
mod classic;
mod clock;
mod command;
mod consumer;
mod coordinators;
mod driver;
mod group;
mod groups;
mod locate;
mod machine;
mod offsets;
mod pending;
mod record;
mod regex;
mod subscription;
mod sweep;
mod transactional;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quorate_raft::Group;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use uuid::Uuid;

pub use call::{
    Commit, ConsumerDescription, ConsumerMemberDescription, Described, Description, GroupError,
    GroupProtocol, GroupState, Heard, Identity, Join, Joined, JoinedMember, Leave, Listing,
    MemberDescription, MemberHeartbeat, NamedPartition, NamedParts, Position, Sync, Synced,
};
pub use consumer::ASSIGNORS;
pub use coordinators::{
    COORDINATORS, CoordinatorSettings, Coordinators, GROUP_NAME_BYTES_MAX, home_of,
};
pub use locate::{NotLocated, locate, locate_internal};
pub use machine::{CoordinatorMachine, Verdict};
pub use regex::Rematcher;
pub use subscription::parts;
pub use sweep::Sweeper;
pub use transactional::OffsetsTransaction;

use crate::metadata::Metadata;
use crate::replica::{self, Task, read_keyed};
use call::{Answer, Call};
use driver::Asked;
use offsets::OffsetKey;

/// How long a call may wait to be taken.
const QUEUE_WAIT: Duration = Duration::from_secs(5);
/// How long a majority may take for what is answered as soon as it is committed.
const COMMIT_WAIT: Duration = Duration::from_secs(5);
/// Offsets read at once.
const PAGE: usize = 1000;
/// How often the offsets of a group are read anew because a transaction has ended meanwhile.
const WHOLE_TRIES: u32 = 20;

/// A replica of one coordinator on this broker.
pub struct Coordinator {
    group: Group<CoordinatorMachine>,
    calls: mpsc::Sender<Asked>,
    reads: Arc<Semaphore>,
    matching: Arc<Semaphore>,
    /// How many heartbeats were heard here that brought a regular expression.
    regex_joins: AtomicU64,
    metadata: Arc<Metadata>,
    /// What waits here for an answer ends with it.
    driver: Task,
}

/// A committed offset, and of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    pub topic: Uuid,
    pub partition: i32,
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: String,
}

impl Coordinator {
    /// Returns the Raft group behind it.
    pub fn group(&self) -> &Group<CoordinatorMachine> {
        &self.group
    }

    /// Joins a group; waits for the others, as long as a rebalance takes.
    ///
    /// # Errors
    /// Those of JoinGroup, see [`GroupError`].
    pub async fn join(&self, join: Join) -> Result<Joined, GroupError> {
        match self.ask(Call::Join(join)).await? {
            Answer::Join(answer) => answer,
            _ => Err(GroupError::NotCoordinator),
        }
    }

    /// Asks for one's part; waits for the member that assigns.
    ///
    /// # Errors
    /// Those of SyncGroup, see [`GroupError`].
    pub async fn sync(&self, sync: Sync) -> Result<Synced, GroupError> {
        match self.ask(Call::Sync(sync)).await? {
            Answer::Sync(answer) => answer,
            _ => Err(GroupError::NotCoordinator),
        }
    }

    /// Says that a member is alive.
    ///
    /// # Errors
    /// Those of Heartbeat, see [`GroupError`].
    pub async fn heartbeat(&self, who: Identity) -> Result<(), GroupError> {
        self.done(Call::Heartbeat(who)).await
    }

    /// Hears a member of the consumer protocol: it joins, goes on or leaves (KIP-848).
    ///
    /// # Errors
    /// Those of ConsumerGroupHeartbeat, see [`GroupError`].
    pub async fn member_heartbeat(
        &self,
        mut heartbeat: MemberHeartbeat,
    ) -> Result<Heard, GroupError> {
        if let Some(regex) = heartbeat.regex.clone().filter(|it| !it.is_empty()) {
            self.ready().await?;
            let place = timeout(COMMIT_WAIT, Arc::clone(&self.matching).acquire_owned()).await;
            let place = place.map_err(|_| GroupError::NotAvailable)?;
            let place = place.map_err(|_| GroupError::NotCoordinator)?;
            let image = self.metadata.image();
            let matched = spawn_blocking(move || {
                let names = regex::matching(&regex, &image);
                drop(place);
                Ok((regex, names?))
            });
            heartbeat.matched = Some(matched.await.map_err(|_| GroupError::NotCoordinator)??);
        }
        let has_regex = heartbeat.matched.is_some();
        let answer = self.ask_soon(Call::MemberHeartbeat(heartbeat)).await?;
        if has_regex {
            self.regex_joins.fetch_add(1, Ordering::Relaxed);
        }
        match answer {
            Answer::Heard(answer) => answer,
            _ => Err(GroupError::NotCoordinator),
        }
    }

    /// Lets members go; one answer for each.
    ///
    /// # Errors
    /// That the coordinator is not here, or cannot be reached.
    pub async fn leave(&self, leave: Leave) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        match self.ask_soon(Call::Leave(leave)).await? {
            Answer::Leave(answers) => Ok(answers),
            _ => Err(GroupError::NotCoordinator),
        }
    }

    /// Commits offsets: all of them or none.
    ///
    /// # Errors
    /// Those of OffsetCommit, see [`GroupError`]. After [`GroupError::NotAvailable`] they may be committed.
    pub async fn commit(&self, commit: Commit) -> Result<(), GroupError> {
        self.done(Call::Commit(commit)).await
    }

    /// Deletes offsets of a group; one answer for each partition.
    ///
    /// # Errors
    /// [`GroupError::NotFound`], [`GroupError::NotEmpty`] for a group that is not one of consumers.
    pub async fn delete_offsets(
        &self,
        group: String,
        partitions: Vec<NamedPartition>,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        match self.ask_soon(Call::DeleteOffsets { group, partitions }).await? {
            Answer::DeleteOffsets(answers) => answers,
            _ => Err(GroupError::NotCoordinator),
        }
    }

    /// Deletes a group that has no members, and its offsets.
    ///
    /// # Errors
    /// [`GroupError::NotFound`], [`GroupError::NotEmpty`].
    pub async fn delete(&self, group: String) -> Result<(), GroupError> {
        self.done(Call::Delete { group }).await
    }

    /// Describes a group; `None` if there is none.
    ///
    /// # Errors
    /// That the coordinator is not here, or cannot be reached.
    pub async fn describe(&self, group: String) -> Result<Option<Described>, GroupError> {
        match self.ask_soon(Call::Describe { group }).await? {
            Answer::Describe(description) => Ok(description),
            _ => Err(GroupError::NotCoordinator),
        }
    }

    /// Lists the groups.
    ///
    /// # Errors
    /// That the coordinator is not here, or cannot be reached.
    pub async fn list(&self) -> Result<Vec<Listing>, GroupError> {
        match self.ask_soon(Call::List).await? {
            Answer::List(groups) => Ok(groups),
            _ => Err(GroupError::NotCoordinator),
        }
    }

    /// Returns all offsets that a group has committed, by topic and partition; those of topics that are deleted may be
    /// among them. Linearizable (ReadIndex, Raft § 6.4), and of what a transaction made visible all or nothing.
    ///
    /// # Errors
    /// That the coordinator is not here, or cannot be reached.
    pub async fn offsets(&self, group: &str) -> Result<Vec<CommittedOffset>, GroupError> {
        self.offsets_of(group, None).await
    }

    /// As [`Coordinator::offsets`], for a member that says in which epoch it is. Of groups of the classic protocol nobody
    /// is asked for that.
    ///
    /// # Errors
    /// Also [`GroupError::UnknownMember`], [`GroupError::StaleMemberEpoch`].
    pub async fn offsets_of(
        &self,
        group: &str,
        member: Option<(&str, i32)>,
    ) -> Result<Vec<CommittedOffset>, GroupError> {
        let term = self.confirmed().await?;
        for _ in 0..WHOLE_TRIES {
            let (incarnation, transacted) = {
                let machine = self.group.machine();
                let Some(record) = machine.group(group) else { return Ok(Vec::new()) };
                if let (Some((id, epoch)), Some(consumer)) = (member, record.membership.consumer())
                {
                    consumer::check_epoch(consumer, id, epoch)?;
                }
                (record.incarnation, record.transacted)
            };
            let pairs = self.read_all(offsets::of_group(incarnation), usize::MAX).await?;
            // Of a replica that is given a snapshot meanwhile there is nothing to be read for a moment.
            if self.ready().await? != term {
                return Err(GroupError::NotCoordinator);
            }
            // They may be in several pages, and what a transaction makes visible in some of them only.
            let whole = |record: &record::GroupRecord| record.transacted == transacted;
            if self.group.machine().group(group).is_none_or(whole) {
                return Ok(pairs.iter().filter_map(|(key, value)| committed(key, value)).collect());
            }
        }
        Err(GroupError::NotAvailable)
    }

    /// Returns what all groups have committed, by group, as this replica knows it: at most so many offsets, those of the
    /// oldest groups, and how many are left out.
    ///
    /// # Errors
    /// That the coordinator is not here.
    pub async fn all_offsets(
        &self,
        max: usize,
    ) -> Result<(Vec<(String, CommittedOffset)>, u64), GroupError> {
        let pairs = self.read_all(offsets::all(), max).await?;
        let machine = self.group.machine();
        let total: u64 = machine.groups().values().map(|group| group.offsets).sum();
        let named = |(key, value): &(Bytes, Bytes)| {
            let (group, _) = machine.named(OffsetKey::decode(key)?.incarnation)?;
            Some((group.to_owned(), committed(key, value)?))
        };
        let offsets: Vec<_> = pairs.iter().filter_map(named).collect();
        let left_out = total.saturating_sub(offsets.len() as u64);
        Ok((offsets, if pairs.len() < max { 0 } else { left_out }))
    }

    /// Reads a range of the keyed state, page by page.
    async fn read_all(
        &self,
        (mut from, to): (Bytes, Bytes),
        max: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, GroupError> {
        let mut found = Vec::new();
        loop {
            let page = PAGE.min(max - found.len());
            let pairs = self.read(from, to.clone(), page).await?;
            let is_last = pairs.len() < page;
            found.extend(pairs);
            match found.last() {
                Some((key, _)) if !is_last && found.len() < max => {
                    from = [&key[..], &[0]].concat().into();
                }
                _ => return Ok(found),
            }
        }
    }

    async fn read(
        &self,
        from: Bytes,
        to: Bytes,
        max: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, GroupError> {
        let pairs = read_keyed(&self.group, &self.reads, from, to, max).await;
        pairs.ok_or(GroupError::NotCoordinator)
    }

    fn regex_joins(&self) -> u64 {
        self.regex_joins.load(Ordering::Relaxed)
    }

    /// The regular expressions by which the members of its groups read, by group.
    fn regexes(&self) -> Vec<(String, Vec<String>)> {
        let machine = self.group.machine();
        let groups = machine.groups().iter().filter_map(|(name, record)| {
            let matched = &record.membership.consumer()?.head.matched;
            (!matched.is_empty()).then(|| (name.clone(), matched.keys().cloned().collect()))
        });
        groups.collect()
    }

    /// Tells what regular expressions of a group match now.
    async fn matched(
        &self,
        group: String,
        matched: Vec<(String, BTreeSet<String>)>,
    ) -> Result<(), GroupError> {
        self.done(Call::Matched { group, matched }).await
    }

    /// Lets what a sweep found go; returns how many commits were decided on before, all of which are applied then.
    async fn swept(&self, found: call::Found) -> Result<u64, GroupError> {
        match self.ask_soon(Call::Sweep(found)).await? {
            Answer::Swept(commits) => Ok(commits),
            _ => Err(GroupError::NotCoordinator),
        }
    }

    /// Returns the feature level that its log has reached here.
    #[must_use]
    pub fn level(&self) -> u16 {
        self.group.machine().level()
    }

    /// Raises the level of its log; returns once that is committed and applied here. Only the leader can. Asking again is
    /// harmless, and a lower level changes nothing.
    ///
    /// # Errors
    /// That the coordinator is not here, or cannot be reached.
    pub async fn set_level(&self, level: u16) -> Result<(), GroupError> {
        self.done(Call::SetLevel(level)).await
    }

    async fn done(&self, call: Call) -> Result<(), GroupError> {
        match self.ask_soon(call).await? {
            Answer::Done(answer) => answer,
            _ => Err(GroupError::NotCoordinator),
        }
    }

    /// Asks for what is answered as soon as it is committed.
    async fn ask_soon(&self, call: Call) -> Result<Answer, GroupError> {
        match timeout(COMMIT_WAIT, self.ask(call)).await {
            Ok(answer) => answer,
            Err(_) => Err(GroupError::NotAvailable),
        }
    }

    async fn ask(&self, call: Call) -> Result<Answer, GroupError> {
        self.ready().await?;
        let (asker, answered) = oneshot::channel();
        match timeout(QUEUE_WAIT, self.calls.send((call, asker))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(GroupError::NotCoordinator),
            Err(_) => return Err(GroupError::NotAvailable),
        }
        // Dropped where the leadership is lost.
        answered.await.map_err(|_| GroupError::NotCoordinator)
    }

    /// Returns the term in which this replica leads, after a majority has confirmed that it does, and what had been committed
    /// before is applied here.
    async fn confirmed(&self) -> Result<u64, GroupError> {
        let term = self.ready().await?;
        match timeout(COMMIT_WAIT, self.group.read_barrier()).await {
            Ok(Ok(())) => Ok(term),
            Ok(Err(_)) => Err(GroupError::NotCoordinator),
            Err(_) => Err(GroupError::NotAvailable),
        }
    }

    /// Waits a moment for a replica that has won its election and is about to serve; returns the term it leads in.
    async fn ready(&self) -> Result<u64, GroupError> {
        replica::ready(&self.group).await.map_err(|_| GroupError::NotCoordinator)
    }
}

fn committed(key: &[u8], value: &[u8]) -> Option<CommittedOffset> {
    let OffsetKey { topic, partition, .. } = OffsetKey::decode(key)?;
    let offsets::Committed { offset, leader_epoch, metadata, .. } = machine::read(value);
    Some(CommittedOffset { topic, partition, offset, leader_epoch, metadata })
}
