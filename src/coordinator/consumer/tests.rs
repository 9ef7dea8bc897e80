use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::coordinator::call::MemberHeartbeat;
use crate::coordinator::record::LEFT;

pub(in crate::coordinator) mod catalog;
mod statics;

use catalog::Catalog;

const SESSION: Duration = Duration::from_secs(45);
const REBALANCE: Duration = Duration::from_secs(20);

/// A group, a clock, the topics there are, what each member was told, and what the log has.
pub(super) struct Scene {
    group: Group,
    topics: Catalog,
    now: Instant,
    log: Consumer,
    told: BTreeMap<String, (i32, Parts)>,
}

fn limits() -> Limits {
    Limits { initial_delay: Duration::ZERO, members_max: 8, consumer_session: SESSION }
}

impl Scene {
    fn new(topics: &[(&str, i32)]) -> Self {
        let mut known = Catalog::default();
        topics.iter().for_each(|(name, partitions)| known.set(name, *partitions));
        Self {
            group: Group::empty("g".to_owned(), 7, Consumer::default(), limits()),
            topics: known,
            now: Instant::now(),
            log: Consumer::default(),
            told: BTreeMap::new(),
        }
    }

    /// What was decided goes into the log, where it must fit.
    fn write(&mut self, output: Output) {
        for command in output.commands {
            let Command::Change { change, .. } = command else { panic!("{command:?}") };
            assert!(self.log.make(change), "decided on something else than the log has");
        }
        assert_eq!(self.log, self.group.consumer, "the log has what the leader sees");
        assert_eq!(self.group.owners, owners(&self.log));
        let instances = self
            .log
            .members
            .iter()
            .filter_map(|(id, it)| Some((it.instance_id.clone()?, id.clone())));
        assert_eq!(self.group.instances, instances.collect());
    }

    fn hear(&mut self, heartbeat: &MemberHeartbeat) -> Result<i32, GroupError> {
        let mut output = Output::default();
        let heard = self.group.heartbeat(heartbeat, &self.topics, self.now, &mut output);
        self.write(output);
        let heard = heard?;
        let told = self.told.entry(heartbeat.member_id.clone()).or_default();
        told.0 = heard.epoch;
        if let Some(parts) = heard.parts {
            told.1 = parts;
        }
        Ok(heard.epoch)
    }

    fn join(&mut self, id: &str, topics: &[&str]) -> i32 {
        self.hear(&join(id, topics)).unwrap()
    }

    /// A member goes on: it has what it was told, no more.
    fn beat(&mut self, id: &str) -> Result<i32, GroupError> {
        let (epoch, owned) = self.told[id].clone();
        self.hear(&MemberHeartbeat { owned: Some(owned), ..heartbeat(id, epoch) })
    }

    /// All go on until nothing changes.
    fn settle(&mut self) {
        for _ in 0..10 {
            let before = self.group.consumer.version;
            let ids: Vec<String> = self.group.consumer.members.keys().cloned().collect();
            for id in ids {
                if self.group.consumer.members[&id].epoch != LEFT {
                    self.beat(&id).unwrap();
                }
            }
            if self.group.consumer.version == before {
                assert_eq!(self.group.state(), GroupState::Stable);
                return;
            }
        }
        panic!("no end: {:?}", self.group.consumer);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        let mut output = Output::default();
        self.group.pass(self.now, &mut output);
        self.write(output);
    }

    fn leave(&mut self, id: &str, epoch: i32) -> Result<(), GroupError> {
        let mut output = Output::default();
        let left = self.group.leave(&heartbeat(id, epoch), &mut output);
        self.write(output);
        left
    }

    fn fail_over(&mut self) {
        self.group = Group::taken_over("g", 7, &self.log, limits(), self.now);
    }

    /// How many partitions each member reads.
    fn counts(&self) -> Vec<usize> {
        let members = self.group.consumer.members.values();
        members.map(|it| it.parts.values().map(BTreeSet::len).sum()).collect()
    }
}

/// Who has what, which nobody else has.
fn owners(consumer: &Consumer) -> BTreeMap<(Uuid, i32), String> {
    let mut owners = BTreeMap::new();
    for (id, member) in &consumer.members {
        for (topic, partitions) in member.parts.iter().chain(&member.revoking) {
            for partition in partitions {
                let other = owners.insert((*topic, *partition), id.clone());
                assert_eq!(other, None, "{topic}-{partition} is with {id} as well");
            }
        }
    }
    owners
}

pub(super) fn heartbeat(id: &str, epoch: i32) -> MemberHeartbeat {
    MemberHeartbeat {
        group: "g".to_owned(),
        member_id: id.to_owned(),
        epoch,
        rebalance_timeout_ms: -1,
        ..MemberHeartbeat::default()
    }
}

pub(super) fn join(id: &str, topics: &[&str]) -> MemberHeartbeat {
    MemberHeartbeat {
        rebalance_timeout_ms: i32::try_from(REBALANCE.as_millis()).unwrap(),
        topics: Some(topics.iter().map(|it| (*it).to_owned()).collect()),
        owned: Some(Parts::new()),
        ..heartbeat(id, 0)
    }
}

#[test]
fn one_member_reads_all_at_once_and_a_second_gets_its_half_once_it_is_given_back() {
    let mut scene = Scene::new(&[("t", 4)]);
    assert_eq!(scene.join("a", &["t"]), 1);
    assert_eq!((scene.counts(), scene.group.state()), (vec![4], GroupState::Stable));
    assert_eq!(scene.join("b", &["t"]), 2);
    assert_eq!(scene.counts(), [4, 0], "a does not know yet");
    assert_eq!(scene.group.state(), GroupState::Reconciling);
    // It hears what it is to give back, and stays in its epoch for as long as it has it.
    let all = scene.told["a"].1.clone();
    let keeps = MemberHeartbeat { owned: Some(all), ..heartbeat("a", 1) };
    for _ in 0..2 {
        assert_eq!(scene.hear(&keeps), Ok(1));
        assert_eq!(scene.counts(), [2, 0]);
        assert_eq!(scene.beat("b"), Ok(2));
        assert!(scene.told["b"].1.is_empty(), "what a has yet to give back");
    }
    assert_eq!(scene.beat("a"), Ok(2));
    assert_eq!(scene.beat("b"), Ok(2));
    assert_eq!((scene.counts(), scene.group.state()), (vec![2, 2], GroupState::Stable));
}

#[test]
fn a_heartbeat_that_changes_nothing_writes_nothing_and_tells_nothing() {
    let mut scene = Scene::new(&[("t", 4)]);
    scene.join("a", &["t"]);
    let version = scene.group.consumer.version;
    let mut output = Output::default();
    let quiet = MemberHeartbeat { client_id: String::new(), ..heartbeat("a", 1) };
    let heard = scene.group.heartbeat(&quiet, &scene.topics, scene.now, &mut output);
    assert_eq!(heard, Ok(crate::coordinator::Heard { epoch: 1, parts: None }));
    assert_eq!((output, scene.group.consumer.version), (Output::default(), version));
}

#[test]
fn an_answer_that_was_lost_is_no_reason_to_begin_anew_and_a_wrong_epoch_is() {
    let mut scene = Scene::new(&[("t", 4)]);
    scene.join("a", &["t"]);
    let before = scene.told["a"].clone();
    scene.join("b", &["t"]);
    scene.settle();
    let behind = |owned| MemberHeartbeat { owned, ..heartbeat("a", before.0) };
    assert_eq!(scene.hear(&behind(None)), Err(GroupError::FencedMemberEpoch), "says nothing");
    let more = Some(before.1.clone());
    assert_eq!(scene.hear(&behind(more)), Err(GroupError::FencedMemberEpoch), "has too much");
    let has = scene.group.consumer.members["a"].parts.clone();
    assert_eq!(scene.hear(&behind(Some(has))), Ok(2));
    assert_eq!(scene.hear(&heartbeat("a", 9)), Err(GroupError::FencedMemberEpoch));
    assert_eq!(scene.hear(&heartbeat("z", 1)), Err(GroupError::UnknownMember));
    // Fenced, it gives all up and joins under its old id: it is told its part at once.
    assert_eq!(scene.join("a", &["t"]), 2);
    assert_eq!(scene.counts(), [2, 2]);
    assert_eq!(scene.told["a"].1, scene.group.consumer.members["a"].parts);
}

#[test]
fn whoever_is_silent_or_does_not_give_back_is_gone() {
    let mut scene = Scene::new(&[("t", 4)]);
    scene.join("a", &["t"]);
    scene.join("b", &["t"]);
    let keeps = MemberHeartbeat { owned: Some(scene.told["a"].1.clone()), ..heartbeat("a", 1) };
    scene.hear(&keeps).unwrap();
    // It speaks, and that makes the time no longer.
    scene.pass(REBALANCE / 2);
    scene.hear(&keeps).unwrap();
    scene.pass(REBALANCE / 2 - Duration::from_millis(1));
    assert_eq!(scene.counts(), [2, 0]);
    scene.pass(Duration::from_millis(1));
    assert_eq!(scene.hear(&keeps), Err(GroupError::UnknownMember));
    scene.settle();
    assert_eq!(scene.counts(), [4]);
    scene.pass(SESSION);
    assert_eq!((scene.counts(), scene.group.state()), (vec![], GroupState::Empty));
    assert_eq!(scene.group.deadline(), None);
}

#[test]
fn who_leaves_is_followed_at_once_and_epochs_go_on() {
    let mut scene = Scene::new(&[("t", 3)]);
    scene.join("a", &["t"]);
    scene.join("b", &["t"]);
    scene.settle();
    assert_eq!(scene.leave("a", -1), Ok(()));
    assert_eq!(scene.leave("a", -1), Err(GroupError::UnknownMember));
    assert_eq!(scene.beat("b"), Ok(3));
    assert_eq!(scene.counts(), [3]);
    assert_eq!(scene.leave("b", -1), Ok(()));
    assert_eq!(scene.group.state(), GroupState::Empty);
    assert!(scene.join("c", &["t"]) > 4, "nobody of before is taken for one of now");
}

#[test]
fn a_topic_that_comes_grows_or_goes_moves_what_has_to_move() {
    let mut scene = Scene::new(&[("t", 2)]);
    scene.join("a", &["t", "later"]);
    scene.join("b", &["t", "later"]);
    scene.settle();
    assert_eq!(scene.counts(), [1, 1]);
    scene.topics.set("t", 6);
    scene.settle();
    assert_eq!(scene.counts(), [3, 3]);
    scene.topics.set("later", 1);
    scene.settle();
    assert_eq!(scene.counts().iter().sum::<usize>(), 7);
    scene.topics.topics.remove("t");
    scene.topics.version += 1;
    scene.settle();
    assert_eq!(scene.counts().iter().sum::<usize>(), 1);
    // A new leader that has not heard of all this yet takes nothing for gone.
    let late = std::mem::take(&mut scene.topics);
    scene.fail_over();
    scene.settle();
    assert_eq!(scene.counts().iter().sum::<usize>(), 1);
    scene.topics = late;
    let epoch = scene.group.epoch();
    scene.topics.set("other", 9);
    scene.settle();
    assert_eq!(scene.group.epoch(), epoch, "what nobody reads is nobody's affair");
}

#[test]
fn the_assignor_that_most_ask_for_is_used() {
    let mut scene = Scene::new(&[("t", 4)]);
    let by =
        |id, name: &str| MemberHeartbeat { assignor: Some(name.to_owned()), ..join(id, &["t"]) };
    scene.join("a", &["t"]);
    assert_eq!(scene.group.consumer.head.assignor, "uniform");
    scene.hear(&by("b", "range")).unwrap();
    assert_eq!(scene.group.consumer.head.assignor, "range");
    scene.hear(&by("c", "uniform")).unwrap();
    scene.hear(&by("d", "uniform")).unwrap();
    assert_eq!(scene.group.consumer.head.assignor, "uniform");
}

#[test]
fn what_expressions_match_is_read_too_and_follows_the_topics() {
    let mut scene = Scene::new(&[("logs-1", 1), ("logs-2", 2), ("t", 3)]);
    let names = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect::<BTreeSet<_>>();
    let by_regex = MemberHeartbeat {
        regex: Some("logs-.*".to_owned()),
        matched: Some(("logs-.*".to_owned(), names(&["logs-1", "logs-2"]))),
        ..join("a", &["t"])
    };
    scene.hear(&by_regex).unwrap();
    assert_eq!(scene.counts(), [6]);
    scene.topics.set("logs-3", 4);
    let mut output = Output::default();
    let now = vec![
        ("logs-.*".to_owned(), names(&["logs-1", "logs-2", "logs-3"])),
        ("nobody's".to_owned(), names(&["t"])),
    ];
    assert!(scene.group.rematch(now, &scene.topics, usize::MAX, &mut output));
    scene.write(output);
    scene.settle();
    assert_eq!(scene.counts(), [10]);
    assert_eq!(scene.group.consumer.head.matched.len(), 1);
    let none = MemberHeartbeat { regex: Some(String::new()), ..heartbeat("a", scene.told["a"].0) };
    scene.hear(&none).unwrap();
    scene.settle();
    assert_eq!((scene.counts(), scene.group.consumer.head.matched.len()), (vec![3], 0));
}

#[test]
fn a_group_has_no_more_members_than_it_may() {
    let mut scene = Scene::new(&[("t", 1)]);
    for it in 0..8 {
        scene.join(&format!("m{it}"), &["t"]);
    }
    assert_eq!(scene.hear(&join("m8", &["t"])), Err(GroupError::Full));
    assert!(scene.hear(&join("m3", &["t"])).is_ok(), "it is one already");
}

#[test]
fn offsets_are_committed_in_the_members_epoch() {
    let mut scene = Scene::new(&[("t", 1)]);
    let who = |id: &str, generation| Identity {
        group: "g".to_owned(),
        member_id: id.to_owned(),
        instance_id: None,
        generation,
    };
    assert_eq!(scene.group.check_commit(&who("", -1)), Ok(()));
    scene.join("a", &["t"]);
    assert_eq!(scene.group.check_commit(&who("", -1)), Err(GroupError::UnknownMember));
    assert_eq!(scene.group.check_commit(&who("a", 1)), Ok(()));
    for stale in [-1, 0, 2] {
        assert_eq!(scene.group.check_commit(&who("a", stale)), Err(GroupError::StaleMemberEpoch));
    }
}

/// Whatever members do, and whoever leads: the log has what the leader sees, no partition is with two, and once all have
/// had their say, all is read.
#[test]
fn no_partition_is_with_two_members_whatever_happens() {
    for seed in 0..300 {
        let rng = &mut StdRng::seed_from_u64(seed);
        let mut scene = Scene::new(&[("t", 5), ("u", 3), ("v", 1)]);
        let names = ["t", "u", "v", "w"];
        for step in 0..120 {
            let id = format!("m{}", rng.random_range(0..5));
            let is_member = scene.group.consumer.members.contains_key(&id);
            match rng.random_range(0..12) {
                0..2 => {
                    let reads: Vec<&str> =
                        names.into_iter().filter(|_| rng.random_bool(0.6)).collect();
                    scene.join(&id, &reads);
                }
                2..7 if is_member && scene.told.contains_key(&id) => {
                    let (epoch, mut owned) = scene.told[&id].clone();
                    // It may be slow to give back, or not have begun to read.
                    if rng.random_bool(0.3) {
                        owned = scene.group.consumer.members[&id].revoking.clone();
                    } else if rng.random_bool(0.2) {
                        owned.clear();
                    }
                    let _ = scene
                        .hear(&MemberHeartbeat { owned: Some(owned), ..heartbeat(&id, epoch) });
                }
                7 => drop(scene.leave(&id, -1)),
                8 => scene.pass(Duration::from_secs(rng.random_range(0..9))),
                9 => scene.topics.set(names[rng.random_range(0..4)], rng.random_range(1..7)),
                10 if step % 3 == 0 => scene.fail_over(),
                _ => {}
            }
        }
        scene.now += SESSION;
        scene.fail_over();
        let gone: Vec<String> = scene
            .group
            .consumer
            .members
            .keys()
            .filter(|id| !scene.told.contains_key(*id))
            .cloned()
            .collect();
        gone.iter().for_each(|id| drop(scene.leave(id, -1)));
        for id in scene.group.consumer.members.keys().cloned().collect::<Vec<_>>() {
            let epoch = scene.group.consumer.members[&id].epoch;
            scene.told.insert(id.clone(), (epoch, scene.group.consumer.members[&id].parts.clone()));
        }
        scene.settle();
        let read: usize = scene.counts().iter().sum();
        let topics = scene.group.consumer.head.topics.values();
        let all: i32 = topics.map(|topic| topic.partitions).sum();
        assert_eq!(i32::try_from(read), Ok(all), "seed {seed}");
    }
}
