//! Changes of a topic that are made only while it is empty, and how that is found out.
//!
//! Who leads a partition knows where its log begins and ends, and a majority confirms that it leads. The broker that takes the
//! change asks all of them before it asks the metadata's leader. What is appended between the two is there when the
//! partition carries the change out: streams count what is there, and compaction waits for that. So the question keeps nobody
//! from appending.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use quorate_storage::GroupId;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::calls::ENDS;
use super::{Controller, STEP};
use crate::metadata::{
    AdminError, Done, Explicit, Request, Topic, decode, encode, needs_empty, not_empty,
};

/// Says where the log of a partition begins and ends here.
pub(crate) type AskEnds = Arc<dyn Fn(GroupId) -> Option<(i64, i64)> + Send + Sync>;

/// Where logs begin and end, by group; those that nobody tells of are missing.
pub(super) type Ends = HashMap<u64, (i64, i64)>;

/// Between two rounds of questions.
const PAUSE: Duration = Duration::from_millis(50);
/// Groups that a majority confirms at the same time.
const CONFIRMED_AT_A_TIME: usize = 64;
/// What a broker may take for its answer; it uses less for its questions.
const ANSWER_WAIT: Duration = Duration::from_secs(3);
const CONFIRM_WAIT: Duration = Duration::from_secs(2);

impl Controller {
    /// Says who knows where the logs of partitions begin and end. Until then nobody does.
    pub(crate) fn ask_for_ends(&self, ends: AskEnds) {
        let _ = self.ends.set(ends);
    }

    /// Sets and removes explicit configs of a topic, which has to be empty for some of them.
    pub(super) async fn alter_topic(
        &self,
        id: Uuid,
        (set, remove): (&Explicit, &[String]),
        deadline: Instant,
    ) -> Result<Done, AdminError> {
        let request = self.altering(id, (set, remove), deadline).await?;
        let is_checked = matches!(request, Request::AlterEmptyTopic { .. });
        let done = self.submit(request, deadline).await;
        if is_checked || !matches!(done, Err(AdminError::InvalidConfig { .. })) {
            return done;
        }
        // The image may have been behind; it shows by now what the refusal goes by.
        match self.altering(id, (set, remove), deadline).await? {
            request @ Request::AlterEmptyTopic { .. } => self.submit(request, deadline).await,
            _ => done,
        }
    }

    /// Returns the request for a change, once the leaders have said that the topic is empty where it has to be.
    pub(super) async fn altering(
        &self,
        id: Uuid,
        (set, remove): (&Explicit, &[String]),
        deadline: Instant,
    ) -> Result<Request, AdminError> {
        let (topic, set, remove) = (id, set.clone(), remove.to_vec());
        let image = self.metadata().image();
        match image.topic_by_id(id).filter(|topic| needs_empty(topic, &set, &remove)) {
            None => Ok(Request::AlterConfigs { topic, set, remove }),
            Some(named) => {
                self.check_empty(named, deadline).await?;
                Ok(Request::AlterEmptyTopic { topic, set, remove })
            }
        }
    }

    /// Refuses a topic that has records, or of which that cannot be found out.
    ///
    /// It is empty when every log begins where it ends: what was deleted is gone for those as well who would count it.
    async fn check_empty(&self, topic: &Topic, deadline: Instant) -> Result<(), AdminError> {
        let deadline = deadline.min(Instant::now() + STEP);
        let mut left: BTreeMap<GroupId, i32> =
            topic.numbered().map(|(index, info)| (info.group, index)).collect();
        loop {
            let told = self.ends_of(left.keys().copied(), deadline).await;
            for (group, (start, end)) in told {
                if let Some(index) = left.remove(&GroupId(group))
                    && start < end
                {
                    let last = end - 1;
                    let found = format!("partition {index} has offsets {start} to {last}");
                    return Err(not_empty(&found));
                }
            }
            let Some(index) = left.values().next() else { return Ok(()) };
            if Instant::now() + PAUSE >= deadline {
                let (topic, partition) = (topic.name.clone(), *index);
                return Err(AdminError::EmptinessUnknown { topic, partition });
            }
            sleep(PAUSE).await;
        }
    }

    /// Asks the leaders, each once for all that it leads.
    async fn ends_of(&self, groups: impl Iterator<Item = GroupId>, deadline: Instant) -> Ends {
        let mut by_leader: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for group in groups {
            if let Some(leader) = self.metadata.leader(group) {
                by_leader.entry(leader.id).or_default().push(group.0);
            }
        }
        let wait = deadline.saturating_duration_since(Instant::now());
        let asked =
            by_leader.into_iter().map(|(leader, groups)| self.ends_at(leader, groups, wait));
        futures::future::join_all(asked).await.into_iter().flatten().collect()
    }

    async fn ends_at(&self, leader: u64, groups: Vec<u64>, wait: Duration) -> Ends {
        if leader == self.node.id() {
            return timeout(wait, self.ends_here(groups)).await.unwrap_or_default();
        }
        // A call would wait for it to come back, and meanwhile another one may lead.
        if !self.node.alive(leader) {
            return Ends::default();
        }
        let body = Bytes::from(encode(&groups));
        let answer = self.node.call(leader, ENDS, body, ANSWER_WAIT.min(wait)).await;
        answer.ok().and_then(|answer| decode(&answer).ok()).unwrap_or_default()
    }

    /// Returns where the logs begin and end of those partitions that this broker leads.
    pub(super) async fn ends_here(&self, groups: Vec<u64>) -> Ends {
        let looks = groups.into_iter().map(|group| async move {
            let ask = self.ends.get()?;
            let here = self.node.group(GroupId(group))?;
            timeout(CONFIRM_WAIT, here.read_barrier()).await.ok()?.ok()?;
            Some((group, ask(GroupId(group))?))
        });
        let looks = stream::iter(looks).buffer_unordered(CONFIRMED_AT_A_TIME);
        looks.filter_map(|end| async move { end }).take_until(sleep(CONFIRM_WAIT)).collect().await
    }
}
