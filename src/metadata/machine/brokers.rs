//! Commands about the cluster and its brokers.

use crate::metadata::{AdminError, Broker, BrokerSpec, Done, Image, Reply, internal, quote};

/// Kafka numbers brokers with an i32.
const BROKER_ID_MAX: u64 = i32::MAX as u64;
/// How many of the partitions in the way of a removal are named.
const NAMED_MAX: usize = 5;
/// The largest id a newcomer may ask for. Ids are given out above all that were ever used, so that none is used
/// twice; were the last one taken by name, none would be left to give.
const BROKER_ID_CHOSEN_MAX: u64 = 1_000_000_000;
/// The longest host or rack: the longest name DNS can hold.
const TEXT_BYTES_MAX: usize = 253;

pub(super) fn form(image: &mut Image, cluster_id: u128) -> Reply {
    if image.cluster_id != 0 && image.cluster_id != cluster_id {
        return Err(AdminError::WrongCluster { ours: image.cluster_id, theirs: cluster_id });
    }
    image.cluster_id = cluster_id;
    // Ids begin at 1: 0 is the metadata group, and reads as "not set" in a broker's configuration.
    image.next_group = image.next_group.max(1);
    image.next_broker = image.next_broker.max(1);
    Ok(Done::Changed)
}

/// Refuses a broker that no image would take. Guests speak here, so what they say of themselves is bounded.
pub(super) fn check_form(spec: &BrokerSpec) -> Result<(), AdminError> {
    let hosts = [&spec.kafka, &spec.http, &spec.peer].map(|at| Some(&at.host));
    let mut texts = hosts.into_iter().chain([spec.rack.as_ref()]).flatten();
    match texts.find(|text| text.len() > TEXT_BYTES_MAX) {
        None => Ok(()),
        Some(text) => Err(AdminError::InvalidRequest(format!(
            "{:?} is longer than {TEXT_BYTES_MAX} bytes, the most for a host or rack",
            quote(text)
        ))),
    }
}

/// A new broker starts fenced: it is not known to be reachable until the failure detector has heard it.
pub(super) fn register(image: &mut Image, spec: BrokerSpec) -> Reply {
    if image.cluster_id == 0 {
        // The broker that forms it has not come that far; asking again soon will do.
        return Err(AdminError::NoController);
    }
    let id = id_for(image, &spec)?;
    let fenced = image.brokers.get(&id).is_none_or(|known| known.fenced);
    let BrokerSpec { id: _, directory_id, rack, kafka, http, peer } = spec;
    image.brokers.insert(id, Broker { id, rack, kafka, http, peer, directory_id, fenced });
    image.next_broker = image.next_broker.max(id + 1);
    Ok(Done::Registered { broker: id })
}

/// An id names one directory for ever: another directory under it lacks the votes and entries the first
/// one promised to keep, and would break elections that were already won.
fn id_for(image: &Image, spec: &BrokerSpec) -> Result<u64, AdminError> {
    let same_directory =
        image.brokers.values().find(|known| known.directory_id == spec.directory_id);
    let id = match (spec.id, same_directory) {
        (None, Some(known)) => known.id,
        (None, None) => image.next_broker,
        (Some(id), Some(known)) if id != known.id => {
            return Err(AdminError::InvalidRequest(format!(
                "this data directory is registered as broker {}, it cannot become broker {id}",
                known.id
            )));
        }
        (Some(id), None) if !(1..=BROKER_ID_CHOSEN_MAX).contains(&id) => {
            return Err(AdminError::InvalidRequest(format!(
                "a broker id that is asked for is from 1 to {BROKER_ID_CHOSEN_MAX}, not {id}; \
                 without one the broker is given one"
            )));
        }
        (Some(id), _) => id,
    };
    if id > BROKER_ID_MAX {
        return Err(AdminError::InvalidRequest("every broker id has been used".to_owned()));
    }
    if image.removed.contains(&id) {
        return Err(AdminError::BrokerRemoved(id));
    }
    match image.brokers.get(&id) {
        Some(known) if known.directory_id != spec.directory_id => Err(AdminError::BrokerIdTaken {
            id,
            registered: known.directory_id,
            offered: spec.directory_id,
        }),
        _ => Ok(id),
    }
}

pub(super) fn set_fenced(image: &mut Image, broker: u64, fenced: bool) -> Reply {
    let known = image.brokers.get_mut(&broker).ok_or(AdminError::UnknownBroker(broker))?;
    known.fenced = fenced;
    Ok(Done::Changed)
}

/// Removes a broker that nothing counts on: it is out of service and no partition has it, had it in a
/// change under way, or wants it; and every internal group has a majority without it. Afterwards whoever leads takes
/// its vote on the metadata log from it and gives its internal groups to others.
pub(super) fn remove(image: &mut Image, broker: u64) -> Reply {
    if image.removed.contains(&broker) {
        return Err(AdminError::BrokerRemoved(broker));
    }
    let known = image.brokers.get(&broker).ok_or(AdminError::UnknownBroker(broker))?;
    if image.brokers.len() == 1 {
        return Err(AdminError::LastBroker(broker));
    }
    if !known.fenced {
        return Err(AdminError::BrokerAlive(broker));
    }
    let mut hosted = hosted_by(image, broker);
    let named: Vec<String> = hosted.by_ref().take(NAMED_MAX).collect();
    let more = hosted.count();
    if !named.is_empty() {
        let partitions = (named.len() + more) as u64;
        let dots = if more > 0 { ", ..." } else { "" };
        let named = named.join(", ") + dots;
        return Err(AdminError::BrokerHasReplicas { broker, partitions, named });
    }
    internal::check_removal(image, broker)?;
    image.brokers.remove(&broker);
    image.removed.insert(broker);
    Ok(Done::Changed)
}

/// The partitions a broker has to run, by topic and number.
fn hosted_by(image: &Image, broker: u64) -> impl Iterator<Item = String> + '_ {
    image.topics.values().flat_map(move |topic| {
        let hosted = topic.numbered().filter(move |(_, info)| info.hosted_by(broker));
        hosted.map(|(number, _)| format!("{}-{number}", topic.name))
    })
}
