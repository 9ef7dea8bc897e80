use super::*;

/// Batches of each entry.
const BATCHES: u32 = 6;

/// The place of the nth batch.
fn nth(n: u64) -> Place {
    let sub = u32::try_from(n % u64::from(BATCHES)).unwrap();
    Place { index: n / u64::from(BATCHES), sub }
}

fn push(rejected: &mut Rejected, n: u64, effects: &mut Effects) {
    rejected.push(nth(n), nth(n).next(BATCHES), effects);
}

/// Every other of the first `end` batches is rejected.
fn alternating(end: u64, effects: &mut Effects) -> Rejected {
    let mut rejected = Rejected::default();
    for n in (0..end).step_by(2) {
        push(&mut rejected, n, effects);
    }
    rejected
}

#[test]
fn neighbours_are_one_run_also_across_entries() {
    let mut effects = Effects::default();
    let mut rejected = Rejected::default();
    for n in [4, 5, 6, 9] {
        push(&mut rejected, n, &mut effects);
    }
    assert_eq!((nth(5).index, nth(6)), (0, Place { index: 1, sub: 0 }));
    let page = rejected.page_in_memory();
    let skip = |n| page.skip(nth(n));
    assert_eq!((skip(3), skip(4), skip(6)), (None, Some(nth(7)), Some(nth(7))));
    assert_eq!((skip(7), skip(9), skip(10)), (None, Some(nth(10)), None));
    assert_eq!(rejected.runs.len(), 2);
    assert!(effects.is_empty());
}

#[test]
fn an_entry_of_another_kind_in_between_ends_a_run() {
    let mut effects = Effects::default();
    let mut rejected = Rejected::default();
    push(&mut rejected, 5, &mut effects);
    push(&mut rejected, 12, &mut effects);
    assert_eq!(rejected.page_in_memory().skip(nth(5)), Some(nth(6)), "the trim at 1 is looked at");
    assert_eq!(rejected.runs.len(), 2);
}

#[test]
fn a_clone_is_not_changed_by_what_comes_later() {
    let mut effects = Effects::default();
    let mut rejected = Rejected::default();
    push(&mut rejected, 1, &mut effects);
    let before = rejected.page_in_memory();
    push(&mut rejected, 2, &mut effects);
    assert_eq!(before.skip(nth(1)), Some(nth(2)));
    assert_eq!(rejected.page_in_memory().skip(nth(1)), Some(nth(3)));
}

#[test]
fn a_trim_forgets_what_lies_before_also_inside_an_entry() {
    let mut effects = Effects::default();
    let mut rejected = alternating(20, &mut effects);
    rejected.trim(nth(11), &mut effects);
    assert_eq!(rejected.runs.first(), Some(&Run { first: nth(12), end: nth(13) }));
    rejected.trim(nth(15), &mut effects);
    assert_eq!(rejected.runs.first(), Some(&Run { first: nth(16), end: nth(17) }));
    assert!(effects.is_empty());
}

#[test]
fn beyond_the_bound_the_oldest_move_out_in_blocks() {
    let mut effects = Effects::default();
    let rejected = alternating(2 * (RUNS_MAX + 1) as u64, &mut effects);
    assert_eq!(rejected.runs.len(), RUNS_MAX + 1 - BLOCK_RUNS);
    assert_eq!(effects.puts.len(), 1);
    assert_eq!(effects.puts[0].key, key(nth(0)));
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
    // As many as entries that are applied at once may have.
    let end = 2 * (RUNS_MAX + 9 * BLOCK_RUNS + 1) as u64;
    let rejected = alternating(end, &mut effects);
    assert_eq!(effects.puts.len(), 10, "blocks have moved out");
    for n in 0..end {
        let page = rejected.page(nth(n), &log).unwrap();
        assert_eq!(page.skip(nth(n)), (n % 2 == 0).then(|| nth(n + 1)), "{n}");
        assert!(!rejected.needs_disk(nth(n)), "{n}");
    }
    // Restored from a checkpoint, which is written after the block, it goes by what is written.
    let mut writer = Writer::default();
    rejected.encode(&mut writer);
    let restored = Rejected::decode(&mut Reader::new(&writer.finish())).unwrap();
    assert!(matches!(restored.page(nth(0), &log), Err(RejectedError::Missing { index: 0 })));
    db.close();
}

#[test]
fn only_the_newest_blocks_stay_in_memory() {
    let mut effects = Effects::default();
    let blocks = LEAVING_MAX + 3;
    let rejected = alternating(2 * (RUNS_MAX + blocks * BLOCK_RUNS) as u64, &mut effects);
    assert_eq!((rejected.blocks.len(), rejected.leaving.len()), (blocks, LEAVING_MAX));
    assert!(rejected.needs_disk(nth(0)) && !rejected.needs_disk(rejected.leaving[0][0].first));
}

#[test]
fn a_trim_deletes_whole_blocks_only() {
    let mut effects = Effects::default();
    let mut rejected = alternating(2 * (RUNS_MAX + 2 * BLOCK_RUNS + 1) as u64, &mut effects);
    assert_eq!(rejected.blocks.len(), 3);
    let second = rejected.blocks[1];

    rejected.trim(nth(2 * BLOCK_RUNS as u64 - 1), &mut effects);
    assert!(effects.deletes.is_empty(), "the first block still reaches there");
    rejected.trim(nth(2 * BLOCK_RUNS as u64 + 10), &mut effects);
    assert_eq!(effects.deletes, [StateDelete { from: key(nth(0)), to: key(second) }]);
    assert_eq!(rejected.blocks.len(), 2);

    effects.deletes.clear();
    rejected.trim(nth(u64::MAX), &mut effects);
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
    let runs = [Run { first: nth(5), end: nth(6) }, Run { first: nth(6), end: nth(7) }];
    assert!(decode_runs(&mut Reader::new(&encode_runs(&runs))).is_err());
    let empty = [Run { first: nth(5), end: nth(5) }];
    assert!(decode_runs(&mut Reader::new(&encode_runs(&empty))).is_err());
}
