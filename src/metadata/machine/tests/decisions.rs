//! Decisions, in the order in which they were made or in another.

use super::*;

fn create(name: &str, id: u8) -> Request {
    let topic = NewTopic { name: name.to_owned(), partitions: Some(2), ..NewTopic::default() };
    Request::CreateTopic { id: Uuid::from_bytes([id; 16]), topic }
}

/// Decides requests one after the other on the machine that the decisions before them leave.
fn ahead(log: &Log, requests: &[Request]) -> Vec<Command> {
    let mut machine = log.machine.clone();
    let numbered = (1_u128 << 64..).zip(requests);
    let decisions = numbered.map(|(number, request)| {
        let command = decide(&machine.image(), Uuid::from_u128(number), request);
        machine.carry_out(command.clone());
        command
    });
    decisions.collect()
}

#[test]
fn what_was_decided_ahead_is_applied_as_it_was_decided() {
    let mut log = Log::with_brokers(3);
    let requests = [create("a", 1), create("b", 2), create("a", 3), create("c", 4)];
    let replies: Vec<Applied> =
        ahead(&log, &requests).iter().map(|command| log.apply_command(command)).collect();
    let created = |id| Applied::Answered(Ok(Done::Created { id: Uuid::from_bytes([id; 16]) }));
    let exists = Applied::Answered(Err(AdminError::TopicExists("a".to_owned())));
    assert_eq!(replies, [created(1), created(2), exists, created(4)]);
    let groups: Vec<u64> = log.image().groups.keys().map(|group| group.0).collect();
    assert_eq!(groups, [1, 2, 3, 4, 5, 6], "each has groups of its own");
}

#[test]
fn what_was_decided_on_another_image_does_nothing_and_is_not_remembered() {
    let mut log = Log::with_brokers(3);
    let decided = ahead(&log, &[create("a", 1), create("b", 2), create("c", 3)]);
    assert!(matches!(log.apply_command(&decided[0]), Applied::Answered(Ok(_))));
    let before = log.image();
    // The second was lost, so the third would give the groups out of turn.
    assert_eq!(log.apply_command(&decided[2]), Applied::Superseded);
    assert_eq!(*log.image(), Image { applied: log.index, ..(*before).clone() });
    let again = decide(&log.image(), decided[2].request, &create("c", 3));
    assert!(matches!(log.apply_command(&again), Applied::Answered(Ok(_))));
    assert_eq!(log.partition("c", 0).group, GroupId(3));
    // The lost one arrives after all, through a leader that was cut off.
    assert_eq!(log.apply_command(&decided[1]), Applied::Superseded);
}

#[test]
fn refusals_and_what_is_so_already_leave_the_next_decision_standing() {
    let mut log = Log::with_brokers(1);
    log.apply(create("a", 1)).unwrap();
    let delete = Request::DeleteTopic { id: Uuid::from_bytes([9; 16]) };
    let requests = [create("a", 2), create("a", 1), delete, create("b", 3)];
    for command in ahead(&log, &requests) {
        assert!(matches!(log.apply_command(&command), Applied::Answered(_)), "{command:?}");
    }
    assert!(log.image().topic("b").is_some());
}

#[test]
fn a_request_that_arrives_again_takes_effect_once_and_is_answered_alike() {
    let mut log = Log::with_brokers(1);
    let (id, first, second) = (Uuid::from_bytes([1; 16]), Uuid::max(), Uuid::from_u128(1 << 65));
    let created = log.apply_again(first, &create("t", 1));
    assert_eq!(created, Ok(Done::Created { id }));
    assert_eq!(log.apply_again(second, &Request::DeleteTopic { id }), Ok(Done::Changed));
    // The copy was on its way through a leader that had been cut off.
    let copy = decide(&log.image(), first, &create("t", 1));
    assert_eq!(log.apply_command(&copy), Applied::Answered(created));
    assert!(log.image().topic("t").is_none(), "the topic is back from the dead");
    let restored = MetadataMachine::decode(&log.machine.encode()).unwrap();
    assert_eq!(restored.deduplication, log.machine.deduplication);
}

#[test]
fn a_copy_on_its_way_is_anticipated_as_well() {
    let mut log = Log::with_brokers(1);
    let mut machine = log.machine.clone();
    let mut commands = Vec::new();
    for (number, request) in [(7, create("a", 1)), (7, create("a", 1)), (8, create("b", 2))] {
        let command = decide(&machine.image(), Uuid::from_u128(number << 64), &request);
        machine.carry_out(command.clone());
        commands.push(command);
    }
    for command in &commands {
        assert!(matches!(log.apply_command(command), Applied::Answered(Ok(_))), "{command:?}");
    }
}
