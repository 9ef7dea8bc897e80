//! What the Kafka and HTTP interfaces can ask of the cluster.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use tokio::time::Instant;
use uuid::Uuid;

use super::Controller;
use crate::metadata::{
    AdminError, AlteredConfigs, ConfigResource, Done, Explicit, Image, NewPartitions, NewTopic,
    PartitionInfo, Request, Topic, TopicConfigs, decide, find_config, preview, quote,
};

/// Requests of one batch that are under way at a time; the metadata leader merges them into few writes.
const CONCURRENT: usize = 64;

/// Partitions that one request adds, over all its topics: as many as one topic may have, and as in Kafka. What a
/// request makes this broker hold, also one that only wants to know whether it would work, is bounded by it.
pub const PARTITIONS_AT_ONCE: usize = 10_000;

/// A producer asks for a new id once in its life; 1000 at a time keep brokers away from the log (KIP-730).
const PRODUCER_IDS: u32 = 1_000;

/// A topic by either of its names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TopicRef {
    Name(String),
    Id(Uuid),
}

impl Controller {
    /// Creates topics, each on its own, and returns them in request order as they stand in the local image.
    ///
    /// `validate_only` judges by the local image and changes nothing.
    pub async fn create_topics(
        &self,
        topics: Vec<NewTopic>,
        validate_only: bool,
        timeout: Duration,
    ) -> Vec<Result<Arc<Topic>, AdminError>> {
        let topics: Vec<_> = topics.into_iter().map(|topic| self.with_defaults(topic)).collect();
        let added = topics.iter().map(|topic| match topic.assignment.len() {
            0 => topic.partitions.unwrap_or(1) as usize,
            named => named,
        });
        if let Err(error) = check_added(added) {
            return vec![Err(error); topics.len()];
        }
        let request = |topic| Request::CreateTopic { id: Uuid::new_v4(), topic };
        let requests = topics.into_iter().map(request).collect();
        self.change_topics(requests, validate_only, timeout).await
    }

    /// Deletes topics; their data goes as soon as each broker sees it.
    pub async fn delete_topics(
        &self,
        topics: Vec<TopicRef>,
        timeout: Duration,
    ) -> Vec<Result<(), AdminError>> {
        let deadline = Instant::now() + timeout;
        let delete = |topic: TopicRef| async move {
            let id = resolve(&self.metadata().image(), &topic)?;
            let deleted = self.submit(Request::DeleteTopic { id }, deadline).await;
            deleted.map(drop).map_err(|error| named(error, &topic))
        };
        each(topics, delete).await
    }

    /// Adds partitions to topics; existing ones keep their records.
    pub async fn create_partitions(
        &self,
        topics: Vec<NewPartitions>,
        validate_only: bool,
        timeout: Duration,
    ) -> Vec<Result<Arc<Topic>, AdminError>> {
        let image = self.metadata().image();
        let added = topics.iter().map(|request| {
            let now = image.topic(&request.topic).map_or(0, |topic| topic.partitions.len());
            (request.total as usize).saturating_sub(now)
        });
        if let Err(error) = check_added(added) {
            return vec![Err(error); topics.len()];
        }
        let requests = topics.into_iter().map(Request::CreatePartitions).collect();
        self.change_topics(requests, validate_only, timeout).await
    }

    /// Sets and removes explicit configs of topics; each topic's change is made whole or not at all. `keep`: what is wanted
    /// of a topic as it is then.
    pub async fn alter_configs<T>(
        &self,
        topics: Vec<AlteredConfigs>,
        validate_only: bool,
        timeout: Duration,
        keep: impl Fn(&Topic) -> T + Copy,
    ) -> Vec<Result<T, AdminError>> {
        let deadline = Instant::now() + timeout;
        let alter = |change: AlteredConfigs| async move {
            // What is sent on to the metadata leader is bounded so. How many replicas the topic has, it knows.
            TopicConfigs::check(&change.set, usize::MAX, u16::MAX)?;
            let topic = TopicRef::Name(change.topic);
            let (set, remove) = self.without_defaults(change.set, change.remove);
            let wanted = (&set, &remove[..]);
            let mut id = self.resolve_current(&topic, deadline).await?;
            if validate_only {
                let previewed = match self.altering(id, wanted, deadline).await {
                    Ok(request) => self.preview(&[request]).await.pop(),
                    Err(error) => Some(Err(error)),
                };
                let previewed = previewed.unwrap_or(Err(AdminError::Timeout));
                return previewed.map(|it| keep(&it)).map_err(|error| named(error, &topic));
            }
            let mut changed = self.alter_topic(id, wanted, deadline).await;
            if matches!(changed, Err(AdminError::UnknownTopicId(_))) {
                // Made anew meanwhile, perhaps.
                self.catch_up(deadline).await?;
                id = resolve(&self.metadata().image(), &topic)?;
                changed = self.alter_topic(id, wanted, deadline).await;
            }
            changed.map_err(|error| named(error, &topic))?;
            // Missing after success: the image did not arrive in time, or the topic is deleted again.
            let image = self.metadata().image();
            image.topic_by_id(id).map(|it| keep(it)).ok_or(AdminError::Timeout)
        };
        each(topics, alter).await
    }

    /// Sets and removes configs of brokers or of a group, all of them or none. `validate_only` judges by the local image and
    /// changes nothing.
    pub async fn alter_resource_configs(
        &self,
        resource: ConfigResource,
        set: Explicit,
        remove: Vec<String>,
        validate_only: bool,
        timeout: Duration,
    ) -> Result<(), AdminError> {
        let request = Request::AlterResourceConfigs { resource, set, remove };
        if validate_only {
            return decide(&self.metadata().image(), Uuid::nil(), &request).reply.map(drop);
        }
        self.submit(request, Instant::now() + timeout).await.map(drop)
    }

    /// Finds a topic, also one that was made a moment ago through another broker.
    async fn resolve_current(
        &self,
        topic: &TopicRef,
        deadline: Instant,
    ) -> Result<Uuid, AdminError> {
        if let Ok(id) = resolve(&self.metadata().image(), topic) {
            return Ok(id);
        }
        self.catch_up(deadline).await?;
        resolve(&self.metadata().image(), topic)
    }

    /// Asks for `replicas` to keep the partition, the first as preferred leader. Returns once the request
    /// is agreed on; the move itself shows as `target` in the image until it is complete.
    pub async fn set_replicas(
        &self,
        topic: &str,
        partition: i32,
        replicas: Vec<u64>,
        timeout: Duration,
    ) -> Result<PartitionInfo, AdminError> {
        let id = self.partition(topic, partition)?.0;
        let request = Request::SetReplicas { topic: id, partition, replicas };
        self.submit(request, Instant::now() + timeout).await?;
        Ok(self.partition(topic, partition)?.1)
    }

    /// Asks to return to the replicas before the change under way.
    pub async fn cancel_replicas(
        &self,
        topic: &str,
        partition: i32,
        timeout: Duration,
    ) -> Result<PartitionInfo, AdminError> {
        let id = self.partition(topic, partition)?.0;
        let request = Request::CancelReplicas { topic: id, partition };
        self.submit(request, Instant::now() + timeout).await?;
        Ok(self.partition(topic, partition)?.1)
    }

    /// Hands the partition's leadership to replica `to` and prefers it from now on; returns once this
    /// broker knows that it leads.
    pub async fn set_leader(
        &self,
        topic: &str,
        partition: i32,
        to: u64,
        timeout: Duration,
    ) -> Result<(), AdminError> {
        let deadline = Instant::now() + timeout;
        let (id, info) = self.partition(topic, partition)?;
        if !info.hosted_by(to) {
            let reason = format!("broker {to} keeps no replica of {topic}-{partition}");
            return Err(AdminError::InvalidAssignment(reason));
        }
        self.transfer(info.group, to, deadline).await?;
        if info.preferred() == Some(to) {
            return Ok(());
        }
        // Or it would be handed back to the replica that was preferred before. The transfer took a while:
        // what the replicas are by now is for the metadata log to say.
        let request = Request::PreferLeader { topic: id, partition, broker: to };
        self.submit(request, deadline).await.map(drop)
    }

    /// Raises the feature level for good. `validate_only` judges by the local image and changes nothing.
    pub async fn finalize(
        &self,
        level: u16,
        validate_only: bool,
        timeout: Duration,
    ) -> Result<(), AdminError> {
        let request = Request::Finalize { level };
        if validate_only {
            return decide(&self.metadata().image(), Uuid::nil(), &request).reply.map(drop);
        }
        self.submit(request, Instant::now() + timeout).await.map(drop)
    }

    /// Returns a block of producer ids that nobody else was or will be given.
    pub async fn allocate_producer_ids(&self, timeout: Duration) -> Result<Range<i64>, AdminError> {
        let request = Request::AllocateProducerIds { count: PRODUCER_IDS };
        match self.submit(request, Instant::now() + timeout).await? {
            Done::ProducerIds { first, count } => Ok(first..first + i64::from(count)),
            other => Err(unexpected(&other)),
        }
    }

    /// Submits requests about one topic each and returns the topics that they leave.
    async fn change_topics(
        &self,
        requests: Vec<Request>,
        validate_only: bool,
        timeout: Duration,
    ) -> Vec<Result<Arc<Topic>, AdminError>> {
        if validate_only {
            return self.preview(&requests).await;
        }
        let deadline = Instant::now() + timeout;
        let change = |request: Request| async move {
            self.submit(request.clone(), deadline).await?;
            // Missing after success: the image did not arrive in time, or the topic is deleted again.
            request.topic_of(&self.metadata().image()).cloned().ok_or(AdminError::Timeout)
        };
        each(requests, change).await
    }

    /// Decides each request by itself on the local image, and changes nothing.
    async fn preview(&self, requests: &[Request]) -> Vec<Result<Arc<Topic>, AdminError>> {
        let image = self.metadata().image();
        let mut outcomes = Vec::with_capacity(requests.len());
        for request in requests {
            outcomes.push(preview(&image, request));
            // Ten thousand topics take a while, and this thread serves others.
            tokio::task::yield_now().await;
        }
        outcomes
    }

    fn partition(&self, topic: &str, index: i32) -> Result<(Uuid, PartitionInfo), AdminError> {
        let image = self.metadata().image();
        let found = image.topic(topic).ok_or_else(|| AdminError::UnknownTopic(quote(topic)))?;
        let partition = found.partition(index).cloned().ok_or_else(|| {
            AdminError::UnknownPartition { topic: topic.to_owned(), partition: index }
        })?;
        Ok((found.id, partition))
    }

    /// The defaults of the broker that takes the request become the topic's own: were they read where they
    /// are used, two brokers with different files would disagree about one topic.
    fn with_defaults(&self, mut topic: NewTopic) -> NewTopic {
        let defaults = self.defaults().with(&self.metadata().image().configs);
        if topic.assignment.is_empty() {
            topic.partitions = topic.partitions.or(u32::try_from(defaults.partitions).ok());
            let replication = defaults.replication_factor.and_then(|it| u16::try_from(it).ok());
            topic.replication = topic.replication.or(replication);
        }
        for (name, value) in self.own_defaults() {
            topic.configs.entry(name.to_owned()).or_insert(value);
        }
        topic
    }

    /// What is to return to its default returns to this broker's, where that is not everybody's: a topic made now would have
    /// it too.
    fn without_defaults(
        &self,
        mut set: BTreeMap<String, String>,
        mut remove: Vec<String>,
    ) -> (BTreeMap<String, String>, Vec<String>) {
        remove.retain(|name| find_config(name).is_some());
        for (name, value) in self.own_defaults() {
            if let Some(at) = remove.iter().position(|removed| removed == name) {
                remove.swap_remove(at);
                set.insert(name.to_owned(), value);
            }
        }
        (set, remove)
    }

    /// The topic configs that have another default on this broker than everywhere. What was set for all brokers comes first.
    fn own_defaults(&self) -> impl Iterator<Item = (&'static str, String)> {
        let image = self.metadata().image();
        let defaults = self.defaults();
        let ours = [
            ("retention.ms", defaults.retention_ms.to_string()),
            ("retention.bytes", defaults.retention_bytes.to_string()),
            ("max.message.bytes", defaults.message_bytes_max.to_string()),
        ];
        let known = TopicConfigs::default();
        let is_set = move |name: &str| {
            let entry = find_config(name);
            entry.is_some_and(|it| image.configs.cluster().contains_key(it.broker))
        };
        ours.into_iter()
            .filter(move |(name, value)| known.get(name) != Some(value.as_str()) && !is_set(name))
    }
}

/// Takes what each topic of a request would get. One alone is judged with its other properties.
fn check_added(partitions: impl ExactSizeIterator<Item = usize>) -> Result<(), AdminError> {
    let topics = partitions.len();
    let added = partitions.fold(0, usize::saturating_add);
    if topics > 1 && added > PARTITIONS_AT_ONCE {
        return Err(AdminError::InvalidRequest(format!(
            "it asks for {added} partitions; ask for {PARTITIONS_AT_ONCE} at a time at most"
        )));
    }
    Ok(())
}

async fn each<T, R, F>(items: Vec<T>, ask: impl Fn(T) -> F) -> Vec<R>
where
    F: Future<Output = R>,
{
    stream::iter(items).map(ask).buffered(CONCURRENT).collect().await
}

fn resolve(image: &Image, topic: &TopicRef) -> Result<Uuid, AdminError> {
    match topic {
        TopicRef::Name(name) => image
            .topic(name)
            .map(|found| found.id)
            .ok_or_else(|| AdminError::UnknownTopic(quote(name))),
        TopicRef::Id(id) => {
            image.topic_by_id(*id).map(|found| found.id).ok_or(AdminError::UnknownTopicId(*id))
        }
    }
}

/// Speaks of the topic as the caller did.
fn named(error: AdminError, topic: &TopicRef) -> AdminError {
    match (error, topic) {
        (AdminError::UnknownTopicId(_), TopicRef::Name(name)) => {
            AdminError::UnknownTopic(quote(name))
        }
        (error, _) => error,
    }
}

pub(super) fn unexpected(done: &Done) -> AdminError {
    AdminError::InvalidRequest(format!(
        "the cluster answered {done:?}; is a newer release running?"
    ))
}
