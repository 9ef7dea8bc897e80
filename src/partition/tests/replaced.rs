//! What is made of rows of aborted transactions where a snapshot takes the place of the state: they and what the machine said
//! are of two states, and a row that is missing would show what was aborted.

use super::broker::{Broker, records};
use super::transactions::{end, put};
use crate::partition::CompactError;
use crate::partition::aborted::AbortedRows;
use crate::partition::position::Place;
use crate::partition::walk::WalkError;

#[tokio::test]
async fn rows_are_not_believed_where_a_snapshot_has_come_or_begun_since() {
    let broker = Broker::start().await;
    let partition = &broker.partition;
    put(partition, records(1, 5, 10).producer(1, 0, 0), 10).await;
    end(partition, 1, 10, false).await;
    let looked = |further: u64| {
        let mut rows = AbortedRows::new(partition.group());
        rows.installs += further;
        rows.of(1, 0, Place::default())
    };
    let found = looked(0).unwrap().unwrap();
    assert_eq!((found.first_offset, found.marker_offset), (0, 1));
    // What is looked at now is of another count than when it began.
    for further in [1, 2] {
        assert!(matches!(looked(further), Err(WalkError::Replaced)), "{further}");
    }
}

#[test]
fn a_compaction_under_which_a_snapshot_comes_gives_way_and_is_none_of_a_damaged_log() {
    assert!(matches!(CompactError::from(WalkError::Replaced), CompactError::Changed));
}
