use quorate_storage::GroupId;

use super::*;
use crate::metadata::{Broker, HostPort, Levels};

/// Brokers from 1 on, each on a rack.
fn image(racks: &[&str]) -> Image {
    let mut image = Image::default();
    for (id, rack) in (1..).zip(racks) {
        let at = HostPort::new("127.0.0.1", 1);
        let (kafka, http, peer) = (at.clone(), at.clone(), at);
        let rack = Some((*rack).to_owned());
        let broker = Broker {
            id,
            rack,
            kafka,
            http,
            peer,
            directory_id: id.into(),
            fenced: false,
            levels: Levels::supported(),
        };
        image.brokers.insert(id, broker);
    }
    image
}

fn on(replicas: &[u64]) -> PartitionInfo {
    PartitionInfo::new(GroupId(1), replicas.to_vec())
}

fn remove(image: &mut Image, broker: u64) {
    image.brokers.remove(&broker);
    image.removed.insert(broker);
}

#[test]
fn one_replica_becomes_three_once_there_are_three_brokers() {
    assert_eq!(wanted(&image(&["a"]), &on(&[1])), None);
    // The loss of either of two would stop it.
    assert_eq!(wanted(&image(&["a", "b"]), &on(&[1])), None);
    assert_eq!(wanted(&image(&["a", "b", "c"]), &on(&[2])), Some(vec![2, 1, 3]));
    assert_eq!(wanted(&image(&["a", "b", "c"]), &on(&[2, 1, 3])), None);
}

#[test]
fn newcomers_stand_on_other_racks_and_carry_least() {
    let mut image = image(&["a", "a", "b", "b", "c"]);
    image.load.entry(3).or_default().replicas = 2;
    assert_eq!(wanted(&image, &on(&[1])), Some(vec![1, 4, 5]));
    image.load.entry(4).or_default().replicas = 3;
    assert_eq!(wanted(&image, &on(&[1])), Some(vec![1, 5, 3]));
    image.brokers.get_mut(&3).unwrap().fenced = true;
    assert_eq!(wanted(&image, &on(&[1])), Some(vec![1, 5, 4]));
}

#[test]
fn who_is_silent_stays_and_who_was_removed_is_replaced() {
    let mut image = image(&["a", "b", "c", "d"]);
    image.brokers.get_mut(&3).unwrap().fenced = true;
    assert_eq!(wanted(&image, &on(&[1, 2, 3])), None);
    remove(&mut image, 3);
    assert_eq!(wanted(&image, &on(&[3, 1, 2])), Some(vec![1, 2, 4]));
}

#[test]
fn a_move_goes_on_unless_it_waits_for_a_broker_that_is_away() {
    let mut image = image(&["a", "b", "c", "d"]);
    let moving = on(&[1]).begin(vec![1, 2, 3], 7);
    assert_eq!(wanted(&image, &moving), None);
    image.brokers.get_mut(&3).unwrap().fenced = true;
    assert_eq!(wanted(&image, &moving), Some(vec![1, 2, 4]));
    remove(&mut image, 4);
    assert_eq!(wanted(&image, &moving), Some(vec![1]), "it goes back");
}
