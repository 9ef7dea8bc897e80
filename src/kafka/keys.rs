//! Topics and partitions as requests name them.

use std::sync::Arc;

use uuid::Uuid;

use super::error::ErrorCode;
use crate::metadata::{Image, PartitionInfo, Topic};

/// A topic as a request names it: by name, or by id in the newest versions (KIP-516).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum TopicKey {
    Name(Arc<str>),
    Id(Uuid),
}

/// A partition as a request names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PartitionKey {
    pub(crate) topic: TopicKey,
    pub(crate) index: i32,
}

impl PartitionKey {
    /// Finds the partition in `image`.
    pub(crate) fn find<'i>(&self, image: &'i Image) -> Result<&'i PartitionInfo, ErrorCode> {
        let topic = self.topic.find(image)?;
        topic.partition(self.index).ok_or(ErrorCode::UnknownTopicOrPartition)
    }
}

impl TopicKey {
    /// Chooses the form that the request's version uses.
    pub(crate) fn of(by_id: bool, name: &str, id: kafka_wire_core::Uuid) -> TopicKey {
        if by_id {
            TopicKey::Id(Uuid::from_bytes(id.to_bytes()))
        } else {
            TopicKey::Name(Arc::from(name))
        }
    }

    /// Finds the topic in `image`, if it has that partition.
    pub(crate) fn with_partition<'i>(
        &self,
        image: &'i Image,
        index: i32,
    ) -> Result<&'i Arc<Topic>, ErrorCode> {
        let topic = self.find(image)?;
        topic.partition(index).map(|_| topic).ok_or(ErrorCode::UnknownTopicOrPartition)
    }

    /// Finds the topic in `image`.
    pub(crate) fn find<'i>(&self, image: &'i Image) -> Result<&'i Arc<Topic>, ErrorCode> {
        match self {
            TopicKey::Name(name) => image.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition),
            TopicKey::Id(id) => image.topic_by_id(*id).ok_or(ErrorCode::UnknownTopicId),
        }
    }
}
