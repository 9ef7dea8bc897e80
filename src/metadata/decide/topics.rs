//! Requests about topics.

use uuid::Uuid;

use super::replicas::check_replicas;
use super::{Decision, changed, unchanged};
use crate::metadata::command::{Change, NewGroups};
use crate::metadata::configs::STREAMS;
use crate::metadata::{
    AdminError, Candidate, Done, Explicit, Image, NewPartitions, NewTopic, Topic, TopicConfigs,
    place, quote,
};

/// What Kafka keeps in topics of these names is kept in internal groups here.
const RESERVED: [&str; 2] = ["__consumer_offsets", "__transaction_state"];
/// Kafka's limit: names became directory names there, and clients check it.
const NAME_BYTES_MAX: usize = 249;
/// One command must not stall the metadata log; 10,000 partitions are placed in a few milliseconds.
const PARTITIONS_MAX: u32 = 10_000;
const REPLICATION_DEFAULT: usize = 3;
/// More voters make every write slower and outlive no more realistic failures.
const REPLICATION_MAX: usize = 15;

pub(super) fn create(image: &Image, id: Uuid, request: &NewTopic) -> Decision {
    if image.topic_names.contains_key(&id) {
        return Ok((None, Done::Created { id }));
    }
    check_name(image, &request.name)?;
    let replicas = assign(image, request)?;
    let replication = replicas.first().map_or(0, Vec::len);
    TopicConfigs::check(&request.configs, replication, image.level)?;
    let name = request.name.clone();
    let partitions = NewGroups { first: image.next_group, replicas };
    let configs = request.configs.clone();
    Ok((Some(Change::CreateTopic { id, name, partitions, configs }), Done::Created { id }))
}

pub(super) fn delete(image: &Image, id: Uuid) -> Decision {
    if image.topic_names.contains_key(&id) {
        changed(Change::DeleteTopic { id })
    } else {
        Err(AdminError::UnknownTopicId(id))
    }
}

pub(super) fn add_partitions(image: &Image, request: &NewPartitions) -> Decision {
    let topic = image
        .topic(&request.topic)
        .ok_or_else(|| AdminError::UnknownTopic(quote(&request.topic)))?;
    if topic.configs.streams().is_some() {
        return Err(AdminError::InvalidPartitions(
            "the topic has streams by key (quorate.streams), whose keys would belong to other partitions".to_owned(),
        ));
    }
    let (now, total) = (topic.partitions.len(), request.total);
    check_count(total)?;
    let added = (total as usize).checked_sub(now).filter(|added| *added > 0).ok_or_else(|| {
        AdminError::InvalidPartitions(format!(
            "the topic has {now} partitions, {total} is not more"
        ))
    })?;
    let replication = topic.replication();
    let replicas = if request.assignment.is_empty() {
        placed(image, added, replication)?
    } else if request.assignment.len() == added {
        check_assignment(image, &request.assignment, Some(replication))?;
        request.assignment.clone()
    } else {
        let given = request.assignment.len();
        let words = format!("{added} partitions are added, replicas are given for {given}");
        return Err(AdminError::InvalidAssignment(words));
    };
    let partitions = NewGroups { first: image.next_group, replicas };
    changed(Change::AddPartitions { topic: topic.id, partitions })
}

/// `is_empty`: all its partitions were found to be.
pub(super) fn alter_configs(
    image: &Image,
    id: Uuid,
    (set, remove): (&Explicit, &[String]),
    is_empty: bool,
) -> Decision {
    let topic = image.topic_by_id(id).ok_or(AdminError::UnknownTopicId(id))?;
    // What was set before is no reason to refuse something else.
    TopicConfigs::check(set, topic.replication_min(), image.level)?;
    let after = changed_configs(topic, set, remove);
    if after == topic.configs {
        return unchanged();
    }
    if !is_empty && needs_empty(topic, set, remove) {
        return Err(not_empty("it may have records"));
    }
    changed(Change::SetConfigs { topic: id, configs: after.explicit().clone() })
}

/// Returns whether a change turns streams on where records may have been compacted away: a version would be the number of
/// those that are left of a key by then. A topic that becomes compacted by the same change is counted before it is compacted.
pub(crate) fn needs_empty(topic: &Topic, set: &Explicit, remove: &[String]) -> bool {
    let (before, after) = (&topic.configs, changed_configs(topic, set, remove));
    before.streams().is_none() && after.streams().is_some() && before.compacts() && after.compacts()
}

/// Refuses to turn streams on in a compacted topic for what was found in it.
pub(crate) fn not_empty(found: &str) -> AdminError {
    AdminError::InvalidConfig {
        name: STREAMS.to_owned(),
        reason: format!(
            "the topic is compacted, so that only while it is empty, and {found}: of records that compaction took nobody knows \
             the number; create another topic with both, or set cleanup.policy to compact,delete, delete all records \
             (DeleteRecords up to the end of every partition) and ask again"
        ),
    }
}

fn changed_configs(topic: &Topic, set: &Explicit, remove: &[String]) -> TopicConfigs {
    let mut configs = topic.configs.explicit().clone();
    configs.extend(set.clone());
    configs.retain(|name, _| !remove.contains(name));
    topic.configs.with(configs)
}

/// Refuses a topic that no image would take.
pub(super) fn check_form(request: &NewTopic) -> Result<(), AdminError> {
    check_name_form(&request.name)?;
    // How many replicas there will be is not known yet, nor at which level.
    TopicConfigs::check(&request.configs, usize::MAX, u16::MAX)
}

fn invalid_name(name: &str, why: &str) -> AdminError {
    AdminError::InvalidName(format!("{:?} {why}", quote(name)))
}

fn check_name_form(name: &str) -> Result<(), AdminError> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(AdminError::InvalidName(format!(
            "it has {} bytes, 1 to {NAME_BYTES_MAX} are possible",
            name.len()
        )));
    }
    if name == "." || name == ".." {
        return Err(invalid_name(name, "is a path"));
    }
    if RESERVED.contains(&name) {
        return Err(invalid_name(
            name,
            "is reserved: Kafka's tools take it for a part of the broker",
        ));
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        let why = "has other characters than letters, digits, '.', '_' and '-'";
        return Err(invalid_name(name, why));
    }
    Ok(())
}

fn check_name(image: &Image, name: &str) -> Result<(), AdminError> {
    check_name_form(name)?;
    if image.topic(name).is_some() {
        return Err(AdminError::TopicExists(name.to_owned()));
    }
    // Kafka's metric names fold '.' into '_', so tools take two such topics for one.
    let folded = |name: &str| name.replace('.', "_");
    if name.contains(['.', '_']) {
        let ours = folded(name);
        if let Some(twin) = image.topics.keys().find(|other| folded(other) == ours) {
            let why = format!("differs from topic {twin:?} only in '.' and '_'");
            return Err(invalid_name(name, &why));
        }
    }
    Ok(())
}

fn assign(image: &Image, request: &NewTopic) -> Result<Vec<Vec<u64>>, AdminError> {
    if !request.assignment.is_empty() {
        if request.partitions.is_some() || request.replication.is_some() {
            return Err(AdminError::InvalidRequest(
                "replicas are given by name, so partitions and replication must not be".to_owned(),
            ));
        }
        check_count(u32::try_from(request.assignment.len()).unwrap_or(u32::MAX))?;
        check_assignment(image, &request.assignment, None)?;
        return Ok(request.assignment.clone());
    }
    let partitions = request.partitions.unwrap_or(1);
    check_count(partitions)?;
    let replication = match request.replication {
        Some(0) => {
            return Err(AdminError::InvalidReplicationFactor("0 replicas keep nothing".to_owned()));
        }
        Some(wanted) => usize::from(wanted),
        // Not of the live ones: a topic that is made while a broker is away would lack it for ever.
        None => REPLICATION_DEFAULT.min(image.brokers.len()).max(1),
    };
    placed(image, partitions as usize, replication)
}

fn check_count(partitions: u32) -> Result<(), AdminError> {
    if partitions == 0 || partitions > PARTITIONS_MAX {
        return Err(AdminError::InvalidPartitions(format!(
            "{partitions} is not from 1 to {PARTITIONS_MAX}"
        )));
    }
    Ok(())
}

fn check_assignment(
    image: &Image,
    assignment: &[Vec<u64>],
    replication: Option<usize>,
) -> Result<(), AdminError> {
    let replication = replication.or(assignment.first().map(Vec::len)).unwrap_or(0);
    for replicas in assignment {
        check_replicas(image, replicas)?;
        if replicas.len() != replication {
            return Err(AdminError::InvalidAssignment(format!(
                "every partition of a topic has as many replicas, not {} and {replication}",
                replicas.len()
            )));
        }
    }
    Ok(())
}

/// Places new partitions, on brokers that are out of service where the others are too few. A majority must be
/// there, or nothing could be written until some come back.
fn placed(
    image: &Image,
    partitions: usize,
    replication: usize,
) -> Result<Vec<Vec<u64>>, AdminError> {
    if replication > REPLICATION_MAX {
        return Err(AdminError::InvalidReplicationFactor(format!(
            "{replication} is more than {REPLICATION_MAX}"
        )));
    }
    let candidates: Vec<_> =
        image.brokers.values().map(|broker| Candidate::of(image, broker)).collect();
    let live = image.live_brokers().count();
    if candidates.len() < replication || live < replication / 2 + 1 {
        return Err(AdminError::NotEnoughBrokers {
            wanted: replication as u64,
            registered: candidates.len() as u64,
            live: live as u64,
        });
    }
    Ok(place(candidates, partitions, replication))
}
