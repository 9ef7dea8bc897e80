//! Histories of commands and the images they leave.

use bytes::Bytes;
use quorate_raft::conformance::LogEntry;
use quorate_storage::GroupId;
use uuid::Uuid;

use super::*;
use crate::metadata::{
    AdminError, BrokerSpec, Done, HostPort, Levels, Load, NewPartitions, NewTopic, PartitionInfo,
    Request, check_form, decide,
};

mod configs;
mod contract;
mod decisions;
mod internal;
mod levels;
mod removal;

/// A metadata log being written.
#[derive(Default)]
struct Log {
    machine: MetadataMachine,
    index: u64,
    /// Everything from index 1 on.
    entries: Vec<LogEntry>,
}

impl Log {
    fn with_brokers(brokers: u64) -> Self {
        let mut log = Self::default();
        log.apply(form(7)).unwrap();
        for id in 1..=brokers {
            log.apply(Request::RegisterBroker(spec(Some(id), u128::from(id)))).unwrap();
            log.apply(Request::Unfence { broker: id }).unwrap();
        }
        log
    }

    /// Decides a request on the image as it is and applies the decision.
    fn apply(&mut self, request: Request) -> Reply {
        self.apply_again(Uuid::from_u128(self.index.into()), &request)
    }

    /// The same of a request with an id, which may have been sent before.
    fn apply_again(&mut self, id: Uuid, request: &Request) -> Reply {
        let before = self.machine.image();
        let command = decide(&before, id, request);
        let Applied::Answered(reply) = self.apply_command(&command) else {
            panic!("decided on the image as it is: {command:?}");
        };
        if reply.is_err() {
            let after = Image { applied: before.applied, ..(*self.machine.image()).clone() };
            assert_eq!(after, *before, "a refused command changed the image");
        }
        let restored = MetadataMachine::decode(&self.machine.encode()).unwrap();
        assert_eq!(restored.image(), self.machine.image(), "a checkpoint lost something");
        reply
    }

    fn apply_command(&mut self, command: &Command) -> Applied {
        self.apply_bytes(Some(Bytes::from(encode(command))))
    }

    fn apply_bytes(&mut self, payload: Option<Bytes>) -> Applied {
        self.index += 1;
        self.entries.push(LogEntry { term: 1, payload: payload.clone() });
        let entry = Committed { index: self.index, term: 1, payload: payload.as_ref() };
        self.machine.apply(entry, &mut Effects::default())
    }

    fn image(&self) -> Arc<Image> {
        self.machine.image()
    }

    fn create(&mut self, name: &str, partitions: u32, replication: Option<u16>) -> Reply {
        let topic = NewTopic {
            name: name.to_owned(),
            partitions: Some(partitions),
            replication,
            ..NewTopic::default()
        };
        self.apply(Request::CreateTopic { id: id(name), topic })
    }

    fn partition(&self, topic: &str, index: usize) -> PartitionInfo {
        self.image().topics[topic].partitions[index].clone()
    }

    fn set_replicas(&mut self, topic: &str, replicas: &[u64]) -> Reply {
        let replicas = replicas.to_vec();
        self.apply(Request::SetReplicas { topic: id(topic), partition: 0, replicas })
    }

    fn complete(&mut self, topic: &str, change: u64) -> Reply {
        let group = self.partition(topic, 0).group.0;
        self.apply(Request::CompleteReplicas { group, change })
    }
}

fn spec(id: Option<u64>, directory_id: u128) -> BrokerSpec {
    let at = |port| HostPort::new("h", port);
    let levels = Levels { lowest: 1, highest: 1 };
    BrokerSpec { id, directory_id, rack: None, kafka: at(1), http: at(2), peer: at(3), levels }
}

fn form(cluster_id: u128) -> Request {
    Request::FormCluster { cluster_id, level: 1 }
}

fn id(name: &str) -> Uuid {
    let byte = name.bytes().fold(0_u8, u8::wrapping_add);
    Uuid::from_bytes([byte; 16])
}

#[test]
fn a_cluster_is_formed_once() {
    let mut log = Log::default();
    assert_eq!(log.apply(Request::RegisterBroker(spec(None, 1))), Err(AdminError::NoController));
    assert_eq!(log.apply(form(7)), Ok(Done::Changed));
    assert_eq!(log.apply(form(7)), Ok(Done::Changed));
    assert_eq!(log.apply(form(8)), Err(AdminError::WrongCluster { ours: 7, theirs: 8 }));
}

#[test]
fn a_newcomer_gets_an_id_nobody_had_and_the_same_one_when_it_asks_again() {
    let mut log = Log::with_brokers(2);
    log.apply(Request::RegisterBroker(spec(Some(9), 9))).unwrap();
    let asked = |log: &mut Log| log.apply(Request::RegisterBroker(spec(None, 77)));
    assert_eq!(asked(&mut log), Ok(Done::Registered { broker: 10 }));
    assert_eq!(asked(&mut log), Ok(Done::Registered { broker: 10 }));
    assert!(log.image().brokers[&10].fenced, "not heard yet");
}

#[test]
fn no_choice_of_an_id_leaves_newcomers_without_one() {
    let mut log = Log::with_brokers(1);
    for far in [0, 1_000_000_001, 2_147_483_647, u64::MAX] {
        let refused = log.apply(Request::RegisterBroker(spec(Some(far), 50))).unwrap_err();
        assert!(refused.to_string().contains("from 1 to 1000000000"), "{refused}");
    }
    log.apply(Request::RegisterBroker(spec(Some(1_000_000_000), 51))).unwrap();
    let given = Ok(Done::Registered { broker: 1_000_000_001 });
    assert_eq!(log.apply(Request::RegisterBroker(spec(None, 52))), given);
    // It comes back under the id it was given.
    let again = Request::RegisterBroker(spec(Some(1_000_000_001), 52));
    assert_eq!(log.apply(again), given);
}

#[test]
fn an_id_belongs_to_one_directory_for_ever() {
    let mut log = Log::with_brokers(2);
    assert_eq!(
        log.apply(Request::RegisterBroker(spec(Some(2), 99))),
        Err(AdminError::BrokerIdTaken { id: 2, registered: 2, offered: 99 })
    );
    let moved = log.apply(Request::RegisterBroker(spec(Some(3), 2)));
    assert!(matches!(moved, Err(AdminError::InvalidRequest(_))), "{moved:?}");
    let words = AdminError::BrokerIdTaken { id: 2, registered: 2, offered: 99 }.to_string();
    assert!(words.contains(&format!("{:032x}", 2)) && words.contains(&format!("{:032x}", 99)));
}

#[test]
fn a_broker_that_registers_again_changes_its_addresses_and_stays_in_service() {
    let mut log = Log::with_brokers(1);
    let moved = BrokerSpec { rack: Some("r".into()), ..spec(Some(1), 1) };
    log.apply(Request::RegisterBroker(moved)).unwrap();
    let broker = log.image().brokers[&1].clone();
    assert_eq!((broker.rack.as_deref(), broker.fenced), (Some("r"), false));
}

#[test]
fn a_topic_is_placed_on_live_brokers_with_groups_never_used_before() {
    let mut log = Log::with_brokers(4);
    log.apply(Request::Fence { broker: 2 }).unwrap();
    log.create("a", 6, None).unwrap();
    let image = log.image();
    let topic = &image.topics["a"];
    let groups: Vec<u64> = topic.partitions.iter().map(|it| it.group.0).collect();
    assert_eq!(groups, [1, 2, 3, 4, 5, 6]);
    for partition in &topic.partitions {
        assert_eq!(partition.replicas.len(), 3);
        assert!(!partition.replicas.contains(&2));
        assert_eq!(partition.initial, partition.replicas);
    }
    assert_eq!(image.partition_of(GroupId(3)).unwrap().1, 2);
    log.apply(Request::DeleteTopic { id: id("a") }).unwrap();
    log.create("a", 1, Some(1)).unwrap();
    assert_eq!(log.partition("a", 0).group, GroupId(7));
}

#[test]
fn fewer_brokers_than_three_lower_the_default_but_not_a_wish() {
    let mut log = Log::with_brokers(2);
    log.create("a", 1, None).unwrap();
    assert_eq!(log.partition("a", 0).replicas.len(), 2);
    assert_eq!(
        log.create("b", 1, Some(3)),
        Err(AdminError::NotEnoughBrokers { wanted: 3, registered: 2, live: 2 })
    );
    assert!(matches!(log.create("b", 1, Some(0)), Err(AdminError::InvalidReplicationFactor(_))));
}

#[test]
fn a_topic_made_while_a_broker_is_away_has_a_replica_there() {
    let mut log = Log::with_brokers(3);
    log.apply(Request::Fence { broker: 1 }).unwrap();
    log.create("default", 4, None).unwrap();
    log.create("wanted", 4, Some(3)).unwrap();
    for (topic, at) in
        ["default", "wanted"].into_iter().flat_map(|it| (0..4).map(move |at| (it, at)))
    {
        let partition = log.partition(topic, at);
        assert_eq!(partition.replicas.len(), 3, "{partition:?}");
        assert_eq!(partition.replicas[2], 1, "who is away does not lead: {partition:?}");
    }
    let grow = NewPartitions { topic: "default".into(), total: 5, assignment: Vec::new() };
    log.apply(Request::CreatePartitions(grow)).unwrap();
    assert_eq!(log.partition("default", 4).replicas.len(), 3);
    // Two of three away: nothing could be written.
    log.apply(Request::Fence { broker: 2 }).unwrap();
    assert_eq!(
        log.create("none", 1, None),
        Err(AdminError::NotEnoughBrokers { wanted: 3, registered: 3, live: 1 })
    );
}

#[test]
fn creating_again_after_an_unheard_success_is_a_success() {
    let mut log = Log::with_brokers(1);
    let done = Ok(Done::Created { id: id("a") });
    assert_eq!(log.create("a", 1, None), done);
    assert_eq!(log.create("a", 1, None), done);
    assert_eq!(log.image().topics.len(), 1);
    let other = NewTopic { name: "a".into(), ..NewTopic::default() };
    assert_eq!(
        log.apply(Request::CreateTopic { id: Uuid::from_bytes([0; 16]), topic: other }),
        Err(AdminError::TopicExists("a".into()))
    );
}

#[test]
fn names_kafka_tools_cannot_handle_are_refused() {
    let mut log = Log::with_brokers(1);
    log.create("a.b", 1, None).unwrap();
    for name in ["", ".", "..", "a b", "a/b", "ä", "a_b", &"x".repeat(250)] {
        let reply = log.create(name, 1, None);
        assert!(matches!(reply, Err(AdminError::InvalidName(_))), "{name:?}: {reply:?}");
    }
    log.create(&"x".repeat(249), 1, None).unwrap();
}

#[test]
fn replicas_given_by_name_are_checked() {
    let mut log = Log::with_brokers(3);
    let mut create = |assignment: &[&[u64]]| {
        let assignment = assignment.iter().map(|replicas| replicas.to_vec()).collect();
        let topic = NewTopic { name: "a".into(), assignment, ..NewTopic::default() };
        log.apply(Request::CreateTopic { id: id("a"), topic })
    };
    for wrong in [&[&[1_u64, 1][..]][..], &[&[4]], &[&[]], &[&[1], &[1, 2]]] {
        let reply = create(wrong);
        assert!(matches!(reply, Err(AdminError::InvalidAssignment(_))), "{wrong:?}: {reply:?}");
    }
    create(&[&[3, 1], &[2, 3]]).unwrap();
    assert_eq!(log.partition("a", 1).replicas, [2, 3]);
}

#[test]
fn partitions_are_only_added() {
    let mut log = Log::with_brokers(3);
    log.create("a", 2, Some(2)).unwrap();
    let mut grow = |total, assignment| {
        log.apply(Request::CreatePartitions(NewPartitions { topic: "a".into(), total, assignment }))
    };
    assert!(matches!(grow(2, vec![]), Err(AdminError::InvalidPartitions(_))));
    assert!(matches!(grow(1, vec![]), Err(AdminError::InvalidPartitions(_))));
    assert!(matches!(grow(3, vec![vec![1]]), Err(AdminError::InvalidAssignment(_))));
    assert!(matches!(grow(4, vec![vec![1, 2]]), Err(AdminError::InvalidAssignment(_))));
    assert_eq!(grow(3, vec![vec![3, 2]]), Ok(Done::Changed));
    assert_eq!(grow(5, vec![]), Ok(Done::Changed));
    assert_eq!(log.partition("a", 2).replicas, [3, 2]);
    assert_eq!(log.image().groups.len(), 5);
}

#[test]
fn a_move_keeps_every_replica_until_it_is_complete() {
    let mut log = Log::with_brokers(4);
    log.create("a", 1, Some(3)).unwrap();
    assert_eq!(log.partition("a", 0).replicas, [1, 2, 3]);
    log.set_replicas("a", &[4, 2, 3]).unwrap();
    let moving = log.partition("a", 0);
    assert_eq!(moving.target, Some(vec![4, 2, 3]));
    assert!((1..=4).all(|broker| moving.hosted_by(broker)));
    assert_eq!(log.image().moving.len(), 1);
    log.complete("a", moving.change).unwrap();
    let moved = log.partition("a", 0);
    assert_eq!((moved.replicas.as_slice(), moved.target.as_ref()), (&[4, 2, 3][..], None));
    assert!(!moved.hosted_by(1));
    assert!(moved.initial.is_empty(), "nobody may found it again");
    assert!(log.image().moving.is_empty());
    assert_eq!(log.complete("a", moving.change), Ok(Done::Changed));
}

#[test]
fn a_cancelled_move_goes_back_and_keeps_the_newcomer_until_then() {
    let mut log = Log::with_brokers(4);
    log.create("a", 1, Some(3)).unwrap();
    log.set_replicas("a", &[4, 2, 3]).unwrap();
    let first = log.partition("a", 0).change;
    let cancel = Request::CancelReplicas { topic: id("a"), partition: 0 };
    log.apply(cancel.clone()).unwrap();
    log.apply(cancel.clone()).unwrap();
    let back = log.partition("a", 0);
    assert_eq!((back.target.as_deref(), back.leaving.as_slice()), (Some(&[1, 2, 3][..]), &[4][..]));
    assert!(back.hosted_by(4), "Raft may still count on it");
    assert_eq!(log.complete("a", first), Err(AdminError::ChangeSuperseded));
    log.complete("a", back.change).unwrap();
    assert!(!log.partition("a", 0).hosted_by(4));
    assert_eq!(log.apply(cancel), Err(AdminError::NoChangeUnderWay));
}

#[test]
fn a_move_can_be_redirected() {
    let mut log = Log::with_brokers(5);
    log.create("a", 1, Some(3)).unwrap();
    log.set_replicas("a", &[4, 2, 3]).unwrap();
    log.set_replicas("a", &[5, 2, 3]).unwrap();
    let moving = log.partition("a", 0);
    assert_eq!(moving.leaving, [4]);
    log.set_replicas("a", &[4, 5, 3]).unwrap();
    assert_eq!(log.partition("a", 0).leaving, [] as [u64; 0]);
}

#[test]
fn reordering_replicas_changes_the_preference_at_once() {
    let mut log = Log::with_brokers(3);
    log.create("a", 1, Some(3)).unwrap();
    log.set_replicas("a", &[3, 1, 2]).unwrap();
    let partition = log.partition("a", 0);
    assert_eq!((partition.preferred(), partition.target), (Some(3), None));
    assert_eq!(partition.initial, [1, 2, 3], "the first voters are who they were");
}

#[test]
fn a_preferred_leader_is_a_replica_and_undoes_no_change_that_came_before() {
    let mut log = Log::with_brokers(4);
    log.create("a", 1, Some(3)).unwrap();
    let prefer = |broker| Request::PreferLeader { topic: id("a"), partition: 0, broker };
    log.apply(prefer(3)).unwrap();
    assert_eq!(log.partition("a", 0).replicas, [3, 1, 2]);
    assert!(matches!(log.apply(prefer(4)), Err(AdminError::InvalidAssignment(_))));
    log.set_replicas("a", &[4, 2, 1]).unwrap();
    let moving = log.partition("a", 0);
    log.apply(prefer(2)).unwrap();
    assert_eq!(log.partition("a", 0), moving, "the change under way stands");
    log.complete("a", moving.change).unwrap();
    assert!(matches!(log.apply(prefer(3)), Err(AdminError::InvalidAssignment(_))), "it left");
    log.apply(prefer(1)).unwrap();
    assert_eq!(log.partition("a", 0).replicas, [1, 4, 2]);
}

#[test]
fn a_move_to_a_silent_or_unknown_broker_is_refused() {
    let mut log = Log::with_brokers(4);
    log.create("a", 1, Some(3)).unwrap();
    log.apply(Request::Fence { broker: 4 }).unwrap();
    log.apply(Request::Fence { broker: 3 }).unwrap();
    for wrong in [&[4, 2, 3][..], &[9, 2, 3], &[2, 2, 3], &[]] {
        let reply = log.set_replicas("a", wrong);
        assert!(matches!(reply, Err(AdminError::InvalidAssignment(_))), "{wrong:?}: {reply:?}");
    }
    log.set_replicas("a", &[3, 2]).unwrap();
}

#[test]
fn load_follows_creation_moves_and_deletion() {
    let mut log = Log::with_brokers(4);
    log.create("a", 8, Some(2)).unwrap();
    let even = Load { replicas: 4, leaders: 2 };
    assert!(log.image().load.values().all(|load| *load == even), "{:?}", log.image().load);
    log.apply(Request::DeleteTopic { id: id("a") }).unwrap();
    assert!(log.image().load.is_empty());
}

#[test]
fn producer_ids_are_given_once() {
    let mut log = Log::with_brokers(1);
    let mut take = || log.apply(Request::AllocateProducerIds { count: 1_000 });
    assert_eq!(take(), Ok(Done::ProducerIds { first: 0, count: 1_000 }));
    assert_eq!(take(), Ok(Done::ProducerIds { first: 1_000, count: 1_000 }));
}

#[test]
fn deleted_groups_are_known_as_such_and_future_ones_are_not() {
    let mut log = Log::with_brokers(1);
    log.create("a", 1, None).unwrap();
    assert!(!log.image().deleted(GroupId(1)));
    log.apply(Request::DeleteTopic { id: id("a") }).unwrap();
    let image = log.image();
    assert!(image.deleted(GroupId(1)));
    assert!(!image.deleted(GroupId(2)) && !image.deleted(GroupId(0)));
}

#[test]
fn entries_of_raft_itself_only_move_the_index() {
    let mut log = Log::with_brokers(1);
    let before = log.image();
    assert_eq!(log.apply_bytes(None), Applied::Nothing);
    assert_eq!(log.image().applied, before.applied + 1);
    assert_eq!(log.machine.needed_from(), 0);
    log.index = 10_000;
    assert_eq!(log.apply_bytes(None), Applied::Nothing);
    assert_eq!(log.machine.needed_from(), 8_192);
}

#[test]
fn a_checkpoint_is_frozen() {
    let mut log = Log::with_brokers(1);
    log.create("t", 1, None).unwrap();
    log.apply(Request::RegisterBroker(spec(Some(300), 2))).unwrap();
    log.apply(Request::RemoveBroker { broker: 300 }).unwrap();
    #[rustfmt::skip]
    let frozen = [
        3, // version of the format
        6, 6, 1, 7, 2, 173, 2, 0, // applied, version, level, cluster id, next group, broker, producer id
        1, 1, 0, 1, b'h', 1, 1, b'h', 2, 1, b'h', 3, 1, 0, 1, 1, // broker 1
        1, 1, b't', // one topic
        16, 116, 116, 116, 116, 116, 116, 116, 116, 116, 116, 116, 116, 116, 116, 116, 116,
        1, 1, 1, 1, 1, 1, 0, 0, 0, // one partition
        0, // configs
        1, 172, 2, // one was removed, number 300
        0, // internal groups
        0, // configs of brokers and groups
        6, // requests that were answered
    ];
    assert!(log.machine.encode().starts_with(&frozen), "{:?}", log.machine.encode());
    assert!(MetadataMachine::decode(&frozen[1..]).is_err());
    let older = [&[1], &log.machine.encode()[1..]].concat();
    let refused = MetadataMachine::decode(&older).unwrap_err().to_string();
    assert!(refused.contains("format version 1"), "{refused}");
}

#[test]
fn an_error_quotes_little_of_what_a_request_says() {
    let mut log = Log::with_brokers(1);
    let long = "\u{7f}".repeat(1 << 20);
    let topic = |name: &str, config: (&str, &str)| {
        let configs = [(config.0.to_owned(), config.1.to_owned())].into();
        let topic = NewTopic { name: name.to_owned(), configs, ..NewTopic::default() };
        Request::CreateTopic { id: id("t"), topic }
    };
    let hostile = [
        topic(&long[..249], ("retention.ms", "1")),
        topic("t", (&long, "1")),
        topic("t", ("retention.ms", &long)),
        topic("t", ("cleanup.policy", &long)),
    ];
    for command in hostile {
        let error = log.apply(command.clone()).unwrap_err();
        assert!(encode(&error).len() < 1_500, "{} bytes", encode(&error).len());
        assert_eq!(check_form(&command), Err(error), "known before it is logged");
    }
    let total = NewPartitions { topic: long.clone(), total: 2, assignment: Vec::new() };
    let error = log.apply(Request::CreatePartitions(total)).unwrap_err();
    assert!(encode(&error).len() < 1_500);
    let guest = BrokerSpec { rack: Some(long), ..spec(None, 9) };
    let error = check_form(&Request::RegisterBroker(guest)).unwrap_err();
    assert!(encode(&error).len() < 1_500);
}
