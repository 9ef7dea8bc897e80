use super::*;

fn epochs(started: &[(i32, i64)]) -> Epochs {
    let mut epochs = Epochs::default();
    for (epoch, offset) in started {
        epochs.observe(*epoch, *offset);
    }
    epochs
}

#[test]
fn nothing_is_known_of_an_empty_log() {
    let none = Epochs::default();
    assert_eq!((none.latest(), none.at(0)), (-1, -1));
    assert_eq!(none.end_of(0, 0), UNKNOWN);
}

#[test]
fn an_epoch_ends_where_the_next_begins() {
    let epochs = epochs(&[(2, 0), (3, 10), (7, 25)]);
    assert_eq!(epochs.end_of(7, 40), (7, 40), "the newest ends with the log");
    assert_eq!(epochs.end_of(3, 40), (3, 25));
    assert_eq!(epochs.end_of(2, 40), (2, 10));
    assert_eq!(epochs.end_of(5, 40), (3, 25), "an epoch that led nothing: the one below it");
    assert_eq!(epochs.end_of(8, 40), UNKNOWN, "newer than all");
    assert_eq!(epochs.end_of(1, 40), (1, 0), "older than all");
    assert_eq!(epochs.end_of(-1, 40), UNKNOWN);
}

#[test]
fn each_offset_has_the_epoch_it_was_written_under() {
    let epochs = epochs(&[(2, 0), (3, 10)]);
    assert_eq!((epochs.at(0), epochs.at(9), epochs.at(10), epochs.at(99)), (2, 2, 3, 3));
}

#[test]
fn a_new_leader_starts_an_epoch_without_writing() {
    let epochs = epochs(&[(2, 0), (3, 10)]);
    assert_eq!(epochs.latest(), 3);
    assert_eq!(epochs.end_of(3, 10), (3, 10));
    assert_eq!(epochs.end_of(2, 10), (2, 10));
}

#[test]
fn epochs_that_wrote_nothing_do_not_pile_up() {
    let mut epochs = epochs(&[(2, 0)]);
    for epoch in 3..1000 {
        epochs.observe(epoch, 10);
    }
    assert_eq!(epochs.0.len(), 2);
    assert_eq!(epochs.end_of(500, 12), (2, 10));
    assert_eq!(epochs.end_of(999, 12), (999, 12));
}

#[test]
fn an_epoch_never_goes_back() {
    let before = epochs(&[(5, 0)]);
    let mut after = before.clone();
    after.observe(4, 10);
    after.observe(5, 10);
    assert_eq!(after, before);
}

#[test]
fn a_trim_keeps_the_epoch_that_covers_the_log_start() {
    let mut epochs = epochs(&[(2, 0), (3, 10), (7, 25)]);
    epochs.trim(12);
    assert_eq!(epochs.end_of(2, 40), (2, 12), "older than all now");
    assert_eq!(epochs.end_of(3, 40), (3, 25));
    epochs.trim(40);
    assert_eq!(epochs.end_of(7, 40), (7, 40));
    assert_eq!(epochs.0.len(), 1);
}

#[test]
fn the_list_is_bounded() {
    let mut epochs = Epochs::default();
    for epoch in 0..5000 {
        epochs.observe(epoch, i64::from(epoch));
    }
    assert_eq!(epochs.0.len(), EPOCHS_MAX);
    assert_eq!(epochs.latest(), 4999);
}

#[test]
fn a_list_out_of_order_is_refused() {
    let mut writer = Writer::default();
    Epochs(vec![Started { epoch: 2, offset: 5 }, Started { epoch: 1, offset: 9 }])
        .encode(&mut writer);
    assert!(Epochs::decode(&mut Reader::new(&writer.finish())).is_err());
}
