use super::super::commits::PENDING_BYTES_MAX;
use super::*;

fn transaction(producer_id: i64, number: u64) -> OffsetsTransaction {
    OffsetsTransaction { producer_id, epoch: 2, number }
}

fn keep_at(who: Identity, transaction: OffsetsTransaction, partition: i32, bytes: usize) -> Call {
    let position = Position {
        topic: Uuid::from_u128(5),
        partition,
        offset: 3,
        leader_epoch: -1,
        metadata: "m".repeat(bytes),
    };
    Call::Keep(Commit { who, offsets: vec![position] }, transaction)
}

fn keep(who: Identity, transaction: OffsetsTransaction) -> Call {
    keep_at(who, transaction, 0, 0)
}

fn end(transaction: OffsetsTransaction, commits: bool) -> Call {
    Call::End { transaction, commits }
}

fn nobody(group: &str) -> Identity {
    identity(group, "", -1)
}

#[test]
fn who_says_to_be_a_member_has_to_be_one_and_nobody_has_to_say_so() {
    let mut scene = Scene::new();
    let it = transaction(1, 5);
    let wrong = refused(GroupError::IllegalGeneration);
    assert_eq!(scene.ask(keep(identity("g", "a", 1), it)), (wrong, vec![]), "there is no group");
    let (answer, commands) = scene.ask(keep(nobody("new"), it));
    assert_eq!(answer, DONE);
    assert!(matches!(&commands[..], [Command::Create { .. }, Command::Keep { .. }]));
    let who = scene.consume("g", "t");
    assert_eq!(scene.ask(keep(who.clone(), it)).0, DONE);
    assert_eq!(scene.ask(keep(nobody("g"), it)).0, DONE, "also while there are members");
    assert_eq!(scene.ask(commit(nobody("g"), 0)).0, refused(GroupError::UnknownMember));
    let stale = identity("g", "a", who.generation - 1);
    assert_eq!(scene.ask(keep(stale, it)).0, refused(GroupError::IllegalGeneration));
    let no_generation = identity("g", "a", -1);
    assert_eq!(scene.ask(keep(no_generation, it)).0, refused(GroupError::IllegalGeneration));
    let other = identity("g", "b", who.generation);
    assert_eq!(scene.ask(keep(other, it)).0, refused(GroupError::UnknownMember));
    let instance = Identity { instance_id: Some("i".to_owned()), ..nobody("g") };
    assert_eq!(scene.ask(keep(instance, it)).0, refused(GroupError::UnknownMember));
}

#[test]
fn a_static_member_whose_place_was_taken_is_fenced() {
    let mut scene = Scene::new();
    let instance_id = Some("i".to_owned());
    let fixed = Join { instance_id: instance_id.clone(), ..join("g", "t") };
    let (answer, _) = scene.ask(Call::Join(fixed));
    let Some(Answer::Join(Ok(joined))) = answer else { panic!("{answer:?}") };
    let who = |id: &str| Identity {
        instance_id: instance_id.clone(),
        ..identity("g", id, joined.generation)
    };
    assert_eq!(scene.ask(keep(who("a"), transaction(1, 5))).0, DONE);
    let fenced = refused(GroupError::FencedInstance);
    assert_eq!(scene.ask(keep(who("b"), transaction(1, 5))).0, fenced);
}

#[test]
fn a_group_that_rebalances_takes_what_its_generation_has_done_in_transactions() {
    let mut scene = Scene::new();
    let who = scene.consume("g", "t");
    // It is to join again, and may still say.
    scene.ask(Call::Join(Join { fresh_id: "b".to_owned(), ..join("g", "t") }));
    assert_eq!(scene.states()[0].1, "PreparingRebalance");
    assert_eq!(scene.ask(keep(who.clone(), transaction(1, 5))).0, DONE);
    scene.ask(Call::Join(Join { member_id: "a".to_owned(), ..join("g", "t") }));
    assert_eq!(scene.states()[0].1, "CompletingRebalance");
    let joined = Identity { generation: who.generation + 1, ..who.clone() };
    assert_eq!(scene.ask(commit(joined.clone(), 0)).0, refused(GroupError::Rebalancing));
    assert_eq!(scene.ask(keep(joined, transaction(1, 5))).0, DONE);
    let before = refused(GroupError::IllegalGeneration);
    assert_eq!(scene.ask(keep(who, transaction(1, 5))).0, before);
}

#[test]
fn a_commit_in_a_transaction_is_no_sign_of_life_of_the_consumer() {
    let mut scene = Scene::new();
    let who = scene.consume("g", "t");
    for _ in 0..2 {
        scene.pass(Duration::from_secs(5));
        scene.ask(keep(who.clone(), transaction(1, 5)));
    }
    assert_eq!(scene.ask(keep(who, transaction(1, 5))).0, refused(GroupError::UnknownMember));
}

#[test]
fn of_the_consumer_protocol_a_stale_epoch_is_told_as_a_generation() {
    let mut scene = Scene::new();
    scene.topics.set("t", 1);
    let joins = member_heartbeat("g".to_owned(), "a".to_owned(), 0);
    let (answer, _) = scene.ask(Call::MemberHeartbeat(joins));
    let Some(Answer::Heard(Ok(heard))) = answer else { panic!("{answer:?}") };
    let ask = |scene: &mut Scene, id: &str, epoch| {
        scene.ask(keep(identity("g", id, epoch), transaction(1, 5))).0
    };
    assert_eq!(ask(&mut scene, "a", heard.epoch), DONE);
    assert_eq!(ask(&mut scene, "", -1), DONE);
    let stale = refused(GroupError::IllegalGeneration);
    assert_eq!(ask(&mut scene, "a", heard.epoch - 1), stale);
    assert_eq!(ask(&mut scene, "b", heard.epoch), refused(GroupError::UnknownMember));
}

#[test]
fn an_end_names_what_is_pending_and_what_comes_later_is_refused() {
    let mut scene = Scene::new();
    for partition in [1, 0] {
        scene.ask(keep_at(nobody("g"), transaction(1, 5), partition, 0));
    }
    scene.ask(keep(nobody("h"), transaction(1, 5)));
    let lower = OffsetsTransaction { epoch: 1, ..transaction(1, 5) };
    assert_eq!(scene.ask(keep(nobody("g"), lower)).0, refused(GroupError::ProducerFenced));
    let later = scene.ask(keep(nobody("g"), transaction(1, 6)));
    assert_eq!(later, (refused(GroupError::NotAvailable), vec![]), "5 has not ended");
    let (answer, commands) = scene.ask(end(transaction(1, 5), true));
    assert_eq!(answer, DONE);
    let [Command::End { producer_id: 1, number: 5, commits: true, offsets }] = &commands[..] else {
        panic!("{commands:?}")
    };
    let named: Vec<_> = offsets.iter().map(|key| (key.incarnation, key.partition)).collect();
    assert_eq!(named, [(0, 0), (0, 1), (1, 0)]);
    for number in [4, 5] {
        let (answer, commands) = scene.ask(keep(nobody("g"), transaction(1, number)));
        assert_eq!((answer, commands), (refused(GroupError::TransactionEnded), vec![]));
    }
    assert_eq!(scene.ask(end(transaction(1, 5), true)), (DONE, vec![]), "it has ended");
    assert_eq!(scene.ask(keep(nobody("g"), transaction(1, 6))).0, DONE);
    let (_, commands) = scene.ask(end(transaction(1, 6), false));
    assert!(matches!(&commands[..], [Command::End { offsets, .. }] if offsets.is_empty()));
}

#[test]
fn pending_offsets_have_so_much_room_and_give_it_back() {
    let mut scene = Scene::new();
    let mebibyte = |it, partition| keep_at(nobody("g"), it, partition, 1 << 20);
    let count = i32::try_from(PENDING_BYTES_MAX >> 20).unwrap() - 1;
    for partition in 0..count {
        assert_eq!(scene.ask(mebibyte(transaction(1, 5), partition)).0, DONE);
    }
    // In the place of an earlier one of the transaction it takes no more.
    for _ in 0..3 {
        assert_eq!(scene.ask(mebibyte(transaction(1, 5), 0)).0, DONE);
    }
    let full = (refused(GroupError::TooLarge), vec![]);
    assert_eq!(scene.ask(mebibyte(transaction(1, 5), count)), full, "it is too large by itself");
    let full = (refused(GroupError::NotAvailable), vec![]);
    assert_eq!(scene.ask(mebibyte(transaction(2, 5), 0)), full, "others take the room");
    assert_eq!(scene.ask(keep(nobody("g"), transaction(2, 5))).0, DONE);
    scene.ask(end(transaction(1, 5), true));
    assert_eq!(scene.ask(mebibyte(transaction(2, 5), 0)).0, DONE);
    let all = keep_at(nobody("g"), transaction(3, 5), 0, PENDING_BYTES_MAX);
    assert_eq!(scene.ask(all).0, refused(GroupError::TooLarge));
}

#[test]
fn a_group_or_an_offset_that_is_deleted_is_pending_no_more() {
    let mut scene = Scene::new();
    scene.ask(keep_at(nobody("g"), transaction(1, 5), 0, 0));
    scene.ask(keep_at(nobody("g"), transaction(1, 5), 1, 0));
    scene.ask(keep(nobody("h"), transaction(1, 5)));
    let topic = "other".to_owned();
    let partitions = vec![NamedPartition { id: Uuid::from_u128(5), topic, partition: 0 }];
    let (answer, _) = scene.ask(Call::DeleteOffsets { group: "g".to_owned(), partitions });
    assert_eq!(answer, Some(Answer::DeleteOffsets(Ok(vec![Ok(())]))));
    assert_eq!(scene.ask(Call::Delete { group: "h".to_owned() }).0, DONE);
    let (_, commands) = scene.ask(end(transaction(1, 5), true));
    let [Command::End { offsets, .. }] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(offsets.iter().map(|key| key.partition).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_sweep_spares_groups_with_pending_offsets() {
    let mut scene = Scene::new();
    scene.ask(commit(nobody("g"), 0));
    scene.ask(keep(nobody("g"), transaction(1, 5)));
    let key = OffsetKey { incarnation: 0, topic: Uuid::from_u128(5), partition: 0 };
    let found = || Found {
        old: vec![OldOffset { group: "g".to_owned(), topic: "t".to_owned(), key }],
        before_ms: 5,
        empty: vec!["g".to_owned()],
        as_of: 9,
        ..Found::default()
    };
    let (_, commands) = scene.ask(Call::Sweep(found()));
    assert!(matches!(&commands[..], [Command::Sweep(it)] if it.expiring.is_empty()));
    scene.ask(end(transaction(1, 5), false));
    let (_, commands) = scene.ask(Call::Sweep(found()));
    assert!(matches!(&commands[..], [Command::Sweep(it), Command::Delete { .. }]
        if it.expiring.len() == 1));
    // What has no topic any more goes, pending or not.
    scene.ask(keep(nobody("g"), transaction(1, 6)));
    let key = OffsetKey { incarnation: 1, ..key };
    scene.ask(Call::Sweep(Found { orphaned: vec![key], ..Found::default() }));
    let (_, commands) = scene.ask(end(transaction(1, 6), true));
    assert!(matches!(&commands[..], [Command::End { offsets, .. }] if offsets.is_empty()));
}

#[test]
fn a_leader_that_takes_over_knows_what_is_pending_and_what_has_ended() {
    let (mut machine, mut effects, mut index) =
        (CoordinatorMachine::default(), Effects::default(), 0);
    let mut scene = Scene::new();
    let mut all = scene.ask(keep_at(nobody("g"), transaction(1, 5), 0, 9)).1;
    all.extend(scene.ask(keep_at(nobody("g"), transaction(1, 5), 1, 0)).1);
    all.extend(scene.ask(end(transaction(2, 6), true)).1);
    apply(&mut machine, &mut effects, &mut index, all);
    let bytes = scene.groups.pending.bytes();
    let take_over = |machine: &CoordinatorMachine, scene: &mut Scene| {
        let topics = Catalog::default();
        (scene.groups, _) = Groups::taken_over(machine, limits(), &topics, scene.now);
    };
    take_over(&machine, &mut scene);
    assert_eq!((scene.groups.pending.bytes(), machine.pending().bytes()), (bytes, bytes));
    let ended = refused(GroupError::TransactionEnded);
    assert_eq!(scene.ask(keep(nobody("g"), transaction(2, 6))).0, ended);
    assert_eq!(
        scene.ask(keep(nobody("g"), transaction(1, 6))).0,
        refused(GroupError::NotAvailable)
    );
    // The one before has proposed the end, and does not know whether it is in the log: it is ended once more.
    let (_, commands) = scene.ask(end(transaction(1, 5), true));
    let [Command::End { offsets, .. }] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(offsets.len(), 2);
    apply(&mut machine, &mut effects, &mut index, commands);
    take_over(&machine, &mut scene);
    assert_eq!(scene.ask(end(transaction(1, 5), true)), (DONE, vec![]));
    assert_eq!(machine.group("g").unwrap().offsets, 2);
}
