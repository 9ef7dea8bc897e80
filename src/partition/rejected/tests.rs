use super::*;

/// Every other index below `end` is rejected.
fn alternating(end: u64, effects: &mut Effects) -> Rejected {
    let mut rejected = Rejected::default();
    for index in (0..end).step_by(2) {
        rejected.push(index, effects);
    }
    rejected
}

fn in_memory(rejected: &Rejected) -> Page {
    Page { runs: Arc::clone(&rejected.runs), valid_below: u64::MAX }
}

#[test]
fn neighbours_are_one_run() {
    let mut effects = Effects::default();
    let mut rejected = Rejected::default();
    for index in [3, 4, 5, 9] {
        rejected.push(index, &mut effects);
    }
    let page = in_memory(&rejected);
    assert_eq!((page.skip(2), page.skip(3), page.skip(5)), (None, Some(6), Some(6)));
    assert_eq!((page.skip(6), page.skip(9), page.skip(10)), (None, Some(10), None));
    assert_eq!(rejected.runs.len(), 2);
    assert!(effects.is_empty());
}

#[test]
fn a_clone_is_not_changed_by_what_comes_later() {
    let mut effects = Effects::default();
    let mut rejected = Rejected::default();
    rejected.push(1, &mut effects);
    let before = in_memory(&rejected.clone());
    rejected.push(2, &mut effects);
    assert_eq!(before.skip(1), Some(2));
    assert_eq!(in_memory(&rejected).skip(1), Some(3));
}

#[test]
fn a_trim_forgets_what_lies_before() {
    let mut effects = Effects::default();
    let mut rejected = alternating(20, &mut effects);
    rejected.trim(11, &mut effects);
    assert_eq!(rejected.runs.first(), Some(&Run { first: 12, end: 13 }));
    assert!(effects.is_empty());
}

#[test]
fn beyond_the_bound_the_oldest_move_out_in_blocks() {
    let mut effects = Effects::default();
    let rejected = alternating(2 * (RUNS_MAX + 1) as u64, &mut effects);
    assert_eq!(rejected.runs.len(), RUNS_MAX + 1 - BLOCK_RUNS);
    assert_eq!(effects.puts.len(), 1);
    assert_eq!(effects.puts[0].key, key(0));
    let block = decode_runs(&mut Reader::new(&effects.puts[0].value)).unwrap();
    assert_eq!(block.len(), BLOCK_RUNS);
    assert_eq!(block.last().unwrap().end, rejected.moved);
    assert!(!rejected.needs_disk(rejected.moved));
}

/// A log on a disk that nothing was written to.
fn nothing_written(dir: &std::path::Path) -> (Arc<quorate_storage::Db>, Log) {
    let db = quorate_storage::Db::open(dir, quorate_storage::Options::default()).unwrap();
    let log = db.log(quorate_storage::GroupId(7));
    (db, log)
}

#[test]
fn what_moves_out_is_readable_before_it_is_written() {
    let dir = tempfile::TempDir::new().unwrap();
    let (db, log) = nothing_written(dir.path());
    let mut effects = Effects::default();
    let rejected = alternating(2 * (RUNS_MAX + 1) as u64, &mut effects);
    assert_eq!(effects.puts.len(), 1, "a block has moved out");
    let end = 2 * (RUNS_MAX + 1) as u64;
    for index in 0..end {
        let page = rejected.page(index, &log).unwrap();
        assert_eq!(page.skip(index), (index % 2 == 0).then_some(index + 1), "{index}");
        assert!(!rejected.needs_disk(index), "{index}");
    }
    // Restored from a checkpoint, which is written after the block, it goes by what is written.
    let mut writer = Writer::default();
    rejected.encode(&mut writer);
    let restored = Rejected::decode(&mut Reader::new(&writer.finish())).unwrap();
    assert!(matches!(restored.page(0, &log), Err(RejectedError::Missing { first: 0 })));
    db.close();
}

#[test]
fn a_trim_deletes_whole_blocks_only() {
    let mut effects = Effects::default();
    let mut rejected = alternating(2 * (RUNS_MAX + 2 * BLOCK_RUNS + 1) as u64, &mut effects);
    assert_eq!(rejected.blocks.len(), 3);
    let second = rejected.blocks[1];

    rejected.trim(second - 1, &mut effects);
    assert!(effects.deletes.is_empty(), "the first block still reaches there");
    rejected.trim(second + 10, &mut effects);
    assert_eq!(effects.deletes, [StateDelete { from: key(0), to: key(second) }]);
    assert_eq!(rejected.blocks.len(), 2);

    effects.deletes.clear();
    rejected.trim(u64::MAX, &mut effects);
    assert_eq!(effects.deletes, [StateDelete { from: key(second), to: key(rejected.moved) }]);
    assert!(rejected.blocks.is_empty() && rejected.runs.is_empty());
}

#[test]
fn all_of_it_survives_encoding() {
    let mut effects = Effects::default();
    let rejected = alternating(2 * (RUNS_MAX + 100) as u64, &mut effects);
    let mut writer = Writer::default();
    rejected.encode(&mut writer);
    let bytes = writer.finish();
    let mut reader = Reader::new(&bytes);
    let restored = Rejected::decode(&mut reader).unwrap();
    assert_eq!((restored.runs, restored.blocks), (rejected.runs, rejected.blocks));
    assert_eq!(restored.moved, rejected.moved);
    reader.end().unwrap();
}

#[test]
fn runs_out_of_order_are_refused() {
    let runs = [Run { first: 5, end: 6 }, Run { first: 6, end: 7 }];
    assert!(decode_runs(&mut Reader::new(&encode_runs(&runs))).is_err());
    let empty = [Run { first: 5, end: 5 }];
    assert!(decode_runs(&mut Reader::new(&encode_runs(&empty))).is_err());
}
