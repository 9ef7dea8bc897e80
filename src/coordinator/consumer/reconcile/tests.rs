use super::{holds, reconcile};
use crate::coordinator::record::{ConsumerMember, Parts};
use uuid::Uuid;

fn parts(partitions: &[i32]) -> Parts {
    let topic = Uuid::from_u128(1);
    if partitions.is_empty() {
        Parts::new()
    } else {
        [(topic, partitions.iter().copied().collect())].into()
    }
}

fn member(epoch: i32, has: &[i32], target: &[i32]) -> ConsumerMember {
    ConsumerMember { epoch, parts: parts(has), target: parts(target), ..ConsumerMember::default() }
}

#[test]
fn who_has_to_give_nothing_back_goes_to_the_next_epoch_with_what_is_free() {
    let next = reconcile(&member(3, &[0, 1], &[0, 1, 2, 3]), 4, None, |_, it| it != 3);
    assert_eq!((next.epoch, next.previous_epoch, next.is_waiting), (4, 3, true));
    assert_eq!((next.parts.clone(), next.revoking.clone()), (parts(&[0, 1, 2]), Parts::new()));
    let later = reconcile(&next, 4, None, |_, _| true);
    assert_eq!((later.epoch, later.previous_epoch, later.is_waiting), (4, 3, false));
    assert_eq!(later.parts, parts(&[0, 1, 2, 3]));
    assert_eq!(reconcile(&later, 4, None, |_, _| false), later, "at rest nothing changes");
}

#[test]
fn who_has_to_give_something_back_stays_in_its_epoch_until_it_says_that_it_has() {
    let start = member(3, &[0, 1, 2], &[0, 5]);
    let revoking = reconcile(&start, 4, None, |_, _| true);
    assert_eq!((revoking.epoch, &revoking.parts), (3, &parts(&[0])));
    assert_eq!(revoking.revoking, parts(&[1, 2]));
    for owned in [None, Some(parts(&[0, 1, 2])), Some(parts(&[0, 2]))] {
        assert_eq!(reconcile(&revoking, 4, owned.as_ref(), |_, _| true), revoking, "{owned:?}");
    }
    let next = reconcile(&revoking, 4, Some(&parts(&[0])), |_, _| true);
    assert_eq!((next.epoch, &next.parts, next.revoking), (4, &parts(&[0, 5]), Parts::new()));
}

#[test]
fn what_a_member_says_not_to_have_any_more_is_not_waited_for() {
    let next = reconcile(&member(3, &[0, 1], &[1]), 4, Some(&Parts::new()), |_, _| true);
    assert_eq!((next.epoch, next.parts, next.revoking), (4, parts(&[1]), Parts::new()));
}

#[test]
fn a_target_that_changes_meanwhile_counts_once_all_is_given_back() {
    let revoking = reconcile(&member(3, &[0, 1], &[0]), 4, None, |_, _| true);
    let changed = ConsumerMember { target: parts(&[0, 1]), ..revoking };
    assert_eq!(reconcile(&changed, 5, None, |_, _| true), changed);
    let next = reconcile(&changed, 5, Some(&parts(&[0])), |_, _| true);
    assert_eq!((next.epoch, next.parts), (5, parts(&[0, 1])));
}

#[test]
fn one_holds_another_with_all_its_topics() {
    assert!(holds(&parts(&[1, 2]), &parts(&[2])) && holds(&parts(&[]), &parts(&[])));
    assert!(!holds(&parts(&[1]), &parts(&[2])) && !holds(&parts(&[]), &parts(&[2])));
}
