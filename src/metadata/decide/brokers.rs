//! Requests about the cluster and its brokers.

use super::{Decision, changed, internal, unchanged};
use crate::metadata::command::Change;
use crate::metadata::{AdminError, Broker, BrokerSpec, Done, Image, Levels, quote};
#[cfg(feature = "mutants")]
use crate::metadata::{FIRST_LEVEL, levels};

/// Kafka numbers brokers with an i32.
const BROKER_ID_MAX: u64 = i32::MAX as u64;
/// How many of the partitions in the way of a removal are named.
const NAMED_MAX: usize = 5;
/// The largest id a newcomer may ask for. Ids are given out above all that were ever used, so that none is used
/// twice; were the last one taken by name, none would be left to give.
const BROKER_ID_CHOSEN_MAX: u64 = 1_000_000_000;
/// The longest host or rack: the longest name DNS can hold.
const TEXT_BYTES_MAX: usize = 253;

pub(super) fn form(image: &Image, cluster_id: u128, level: u16) -> Decision {
    match image.cluster_id {
        0 => changed(Change::FormCluster { cluster_id, level }),
        ours if ours == cluster_id => unchanged(),
        ours => Err(AdminError::WrongCluster { ours, theirs: cluster_id }),
    }
}

/// Raises the feature level. Every registered broker counts, also one that is away: it will be back.
pub(super) fn finalize(image: &Image, level: u16) -> Decision {
    if image.cluster_id == 0 {
        return Err(AdminError::NoController);
    }
    let finalized = image.level;
    if level == finalized {
        return unchanged();
    }
    if level < finalized {
        return Err(AdminError::LevelNotLowered { finalized, wanted: level });
    }
    let mut lacking = image.brokers.values().filter(|broker| !broker.levels.contains(level));
    let named = |broker: &Broker| format!("{} (levels {})", broker.id, broker.levels);
    let named: Vec<String> = lacking.by_ref().take(NAMED_MAX).map(named).collect();
    if named.is_empty() {
        return changed(Change::Finalize { level });
    }
    let dots = if lacking.next().is_some() { ", ..." } else { "" };
    Err(AdminError::LevelNotSupported { level, brokers: named.join(", ") + dots })
}

/// Refuses a broker that no image would take. Guests speak here, so what they say of themselves is bounded.
pub(super) fn check_form(spec: &BrokerSpec) -> Result<(), AdminError> {
    let hosts = [&spec.kafka, &spec.http, &spec.peer].map(|at| Some(&at.host));
    let mut texts = hosts.into_iter().chain([spec.rack.as_ref()]).flatten();
    if let Some(text) = texts.find(|text| text.len() > TEXT_BYTES_MAX) {
        return Err(AdminError::InvalidRequest(format!(
            "{:?} is longer than {TEXT_BYTES_MAX} bytes, the most for a host or rack",
            quote(text)
        )));
    }
    if !spec.levels.is_range() {
        let words = format!("no release supports the feature levels {}", spec.levels);
        return Err(AdminError::InvalidRequest(words));
    }
    Ok(())
}

/// A new broker starts fenced: it is not known to be reachable until the failure detector has heard it.
pub(super) fn register(image: &Image, spec: &BrokerSpec) -> Decision {
    if image.cluster_id == 0 {
        // The broker that forms it has not come that far; asking again soon will do.
        return Err(AdminError::NoController);
    }
    check_level(image.level, spec.levels)?;
    let id = id_for(image, spec)?;
    let fenced = image.brokers.get(&id).is_none_or(|known| known.fenced);
    let BrokerSpec { id: _, directory_id, rack, kafka, http, peer, levels } = spec.clone();
    let broker = Broker { id, rack, kafka, http, peer, directory_id, fenced, levels };
    Ok((Some(Change::PutBroker(broker)), Done::Registered { broker: id }))
}

fn check_level(level: u16, levels: Levels) -> Result<(), AdminError> {
    if levels.contains(level) { Ok(()) } else { Err(AdminError::ReleaseUnfit { level, levels }) }
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

pub(super) fn set_fenced(image: &Image, broker: u64, fenced: bool) -> Decision {
    let known = image.brokers.get(&broker).ok_or(AdminError::UnknownBroker(broker))?;
    #[cfg(feature = "mutants")]
    if levels::is_next_release() && levels::is_reached(image.level, FIRST_LEVEL + 1) {
        return changed(Change::SetFenced { broker, fenced });
    }
    changed(Change::PutBroker(Broker { fenced, ..known.clone() }))
}

/// Removes a broker that nothing counts on: it is out of service and no partition has it, had it in a
/// change under way, or wants it; and every internal group has a majority without it. Afterwards whoever leads takes
/// its vote on the metadata log from it and gives its internal groups to others.
pub(super) fn remove(image: &Image, broker: u64) -> Decision {
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
    changed(Change::RemoveBroker { broker })
}

/// The partitions a broker has to run, by topic and number.
fn hosted_by(image: &Image, broker: u64) -> impl Iterator<Item = String> + '_ {
    image.topics.values().flat_map(move |topic| {
        let hosted = topic.numbered().filter(move |(_, info)| info.hosted_by(broker));
        hosted.map(|(number, _)| format!("{}-{number}", topic.name))
    })
}
