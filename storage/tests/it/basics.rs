//! Single operations and what they promise.

use bytes::Bytes;
use quorate_storage::{Db, Error, GroupId, LogState, Options, Reset, StateDelete, StatePut};

use crate::support::{
    PATIENCE, append, durable, entries, id, ignore, open, read_all, small, sync, wait,
};

const GROUP: GroupId = GroupId(7);

#[test]
fn an_append_is_readable_at_once_and_durable_when_it_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(dir.path());
    let log = db.log(GROUP);
    let (durable, fired) = durable();
    let appended = entries(GROUP, 1, 0, 3, 100);
    wait(log.append(appended.clone(), durable)).expect("append");
    assert_eq!(log.read(0, 10, usize::MAX).expect("read"), appended);
    assert_eq!(log.state(), LogState { purged: None, last: Some(id(1, 2)) });
    assert!(log.read_cached(0, 10, usize::MAX).is_some());
    fired.recv_timeout(PATIENCE).expect("durable");
    assert_eq!(db.stats().entries_appended, 3);
    assert_eq!(log.read(3, 9, 100).expect("read"), vec![]);
}

#[test]
fn reads_give_the_same_from_memory_from_disk_and_across_the_two() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = Options { tail_cache_group_bytes: 20 << 10, ..small() };
    let db = Db::open(dir.path(), options).expect("open");
    let log = db.log(GROUP);
    let all = entries(GROUP, 1, 0, 300, 1000);
    all.chunks(7).for_each(|some| append(&log, some.to_vec()));
    for (from, held) in [(0, false), (299, true), (300, true)] {
        assert_eq!(log.read_cached(from, 301, usize::MAX).is_some(), held, "{from}");
    }
    assert!(log.read_cached(0, 300, usize::MAX).is_none());
    assert_eq!(log.read(0, 300, usize::MAX).expect("read"), all);
    for (from, to) in [(0, 1), (100, 250), (270, 300), (299, 300), (299, 999)] {
        let expected = &all[from..to.min(300)];
        let found = log.read(from as u64, to as u64, usize::MAX).expect("read");
        assert_eq!(found, expected, "{from}..{to}");
    }
    for bytes in [0, 999, 1000, 2999, 3000, 50_000, 299_999] {
        let found = log.read(0, 300, bytes).expect("read");
        assert_eq!(found.len(), (bytes / 1000).max(1), "{bytes} bytes");
    }
    assert!(log.bytes() >= 300_000 && log.bytes() < 320_000, "{}", log.bytes());
}

#[test]
fn reads_of_purged_entries_are_refused_and_of_later_ones_empty() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(dir.path());
    let log = db.log(GROUP);
    append(&log, entries(GROUP, 1, 0, 10, 10));
    wait(log.purge(id(1, 4))).expect("purge");
    for from in [0, 4] {
        let refused = log.read(from, 10, 1000).expect_err("purged");
        assert!(matches!(refused, Error::Purged { first: 5, .. }), "{refused}");
        let cached = log.read_cached(from, 10, 1000);
        assert!(cached.is_some_and(|refused| refused.is_err()));
    }
    assert_eq!(log.read(5, 10, 1000).expect("read").len(), 5);
    assert_eq!(log.id_at(4).expect("id"), Some(id(1, 4)));
    assert_eq!(log.id_at(3).expect("id"), None);
    assert_eq!(log.id_at(10).expect("id"), None);
}

#[test]
fn a_log_that_begins_behind_zero_is_read_from_its_beginning() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(dir.path());
    let log = db.log(GROUP);
    append(&log, entries(GROUP, 3, 5, 4, 10));
    assert_eq!(log.read(0, 100, 1000).expect("read").len(), 4);
    assert_eq!(log.id_at(4).expect("id"), None);
    drop(log);
    db.close();
    let db = open(dir.path());
    let log = db.log(GROUP);
    assert_eq!(log.read(0, 100, 1000).expect("read").len(), 4);
    wait(log.truncate_after(None)).expect("truncate");
    assert_eq!(log.state(), LogState::default());
}

#[test]
fn a_gap_is_refused_and_the_callback_not_fired() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(dir.path());
    let log = db.log(GROUP);
    append(&log, entries(GROUP, 1, 0, 2, 10));
    let (durable, fired) = durable();
    let refused = wait(log.append(entries(GROUP, 1, 3, 1, 10), durable)).expect_err("a gap");
    assert!(matches!(refused, Error::NotContiguous { expected: 2, found: 3 }));
    sync(&log);
    assert!(fired.try_recv().is_err());
    assert_eq!(read_all(&log).len(), 2);
}

#[test]
fn a_truncated_suffix_stays_away_whether_it_was_short_or_long() {
    for (count, keep) in [(100, 90), (100, 3), (900, 10)] {
        let dir = tempfile::tempdir().expect("a directory");
        let db = open(dir.path());
        let log = db.log(GROUP);
        append(&log, entries(GROUP, 1, 0, count, 200));
        wait(log.truncate_after(Some(keep))).expect("truncate");
        assert_eq!(log.state().last, Some(id(1, keep)));
        append(&log, entries(GROUP, 2, keep + 1, 2, 50));
        drop(log);
        db.close();
        let db = open(dir.path());
        let log = db.log(GROUP);
        assert_eq!(log.state().last, Some(id(2, keep + 2)));
        assert_eq!(log.id_at(keep + 1).expect("id"), Some(id(2, keep + 1)));
        assert_eq!(log.id_at(keep + 3).expect("id"), None);
        assert_eq!(read_all(&log).len() as u64, keep + 3);
    }
}

#[test]
fn votes_survive_and_every_vote_is_answered() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(dir.path());
    let log = db.log(GROUP);
    assert_eq!(log.vote(), None);
    let fired: Vec<_> = (0..20_u8)
        .map(|number| {
            let (durable, fired) = durable();
            wait(log.save_vote(Bytes::from(vec![number]), durable)).expect("vote");
            fired
        })
        .collect();
    fired.iter().for_each(|fired| fired.recv_timeout(PATIENCE).expect("durable"));
    drop(log);
    db.close();
    assert_eq!(open(dir.path()).log(GROUP).vote(), Some(Bytes::from_static(&[19])));
}

#[test]
fn a_reset_replaces_log_and_state_and_keeps_the_vote() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(dir.path());
    let log = db.log(GROUP);
    wait(log.save_vote(Bytes::from_static(b"v"), ignore())).expect("vote");
    append(&log, entries(GROUP, 1, 0, 500, 300));
    let old = StatePut { key: b"old".to_vec(), value: Bytes::from_static(b"1") };
    wait(log.write_state(vec![old], vec![])).expect("state");
    let new = StatePut { key: b"new".to_vec(), value: Bytes::from_static(b"2") };
    let (durable, fired) = durable();
    wait(log.reset_to(id(4, 200), Reset { state: vec![new], ..Reset::default() }, durable))
        .expect("reset");
    assert_eq!(log.state(), LogState { purged: Some(id(4, 200)), last: Some(id(4, 200)) });
    fired.recv_timeout(PATIENCE).expect("durable");
    append(&log, entries(GROUP, 4, 201, 1, 10));
    let check = |log: &quorate_storage::Log| {
        assert_eq!(read_all(log).len(), 1);
        assert_eq!(log.vote(), Some(Bytes::from_static(b"v")));
        assert_eq!(log.state_get(b"old").expect("get"), None);
        assert_eq!(log.state_get(b"new").expect("get").as_deref(), Some(&b"2"[..]));
    };
    check(&log);
    drop(log);
    db.close();
    check(&open(dir.path()).log(GROUP));
}

#[test]
fn purged_entries_do_not_come_back_when_a_dropped_or_reset_group_begins_again_below_them() {
    for reset in [false, true] {
        let dir = tempfile::tempdir().expect("a directory");
        let db = Db::open(dir.path(), Options::default()).expect("open");
        let log = db.log(GROUP);
        append(&log, entries(GROUP, 1, 0, 200, 10));
        wait(log.purge(id(1, 199))).expect("purge");
        let first = if reset {
            wait(log.reset_to(id(1, 9), Reset::default(), ignore())).expect("reset");
            10
        } else {
            db.drop_group(GROUP, ignore());
            0
        };
        append(&log, entries(GROUP, 2, first, 3, 10));
        // As a crash would leave it: the generation still open.
        let copy = tempfile::tempdir().expect("a directory");
        for file in std::fs::read_dir(dir.path()).expect("the directory").flatten() {
            // RocksDB may just have replaced one of its temporary files.
            let _ = std::fs::copy(file.path(), copy.path().join(file.file_name()));
        }
        let again = open(copy.path());
        assert_eq!(again.log(GROUP).state().last, Some(id(2, first + 2)));
        assert_eq!(read_all(&again.log(GROUP)).len(), 3);
    }
}

#[test]
fn state_is_read_as_written_by_key_by_predecessor_and_by_range() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(dir.path());
    for group in [6, 7, 8] {
        let log = db.log(GroupId(group));
        let puts = (0..5_u8)
            .flat_map(|n| [vec![b'o', n * 10], vec![b'p', n]])
            .map(|key| StatePut { value: Bytes::from(vec![group as u8, key[1]]), key })
            .collect();
        wait(log.write_state(puts, vec![])).expect("state");
    }
    let log = db.log(GROUP);
    let before = |prefix, key: &[u8]| log.state_at_or_before(prefix, key).expect("get");
    assert_eq!(log.state_get(&[b'o', 20]).expect("get").as_deref(), Some(&[7, 20][..]));
    assert_eq!(before(b'o', &[b'o', 25]), Some((vec![b'o', 20], Bytes::from(vec![7, 20]))));
    assert_eq!(before(b'o', &[b'o', 30]), Some((vec![b'o', 30], Bytes::from(vec![7, 30]))));
    assert_eq!(before(b'o', b"z"), Some((vec![b'o', 40], Bytes::from(vec![7, 40]))));
    assert_eq!(before(b'p', &[b'o', 30]), None);
    assert_eq!(before(b'a', &[b'o', 30]), None);
    let range = log.state_range(&[b'o', 10], &[b'o', 40], 2).expect("range");
    assert_eq!(range.iter().map(|(key, _)| key[1]).collect::<Vec<_>>(), vec![10, 20]);
    let delete = StateDelete { from: vec![b'o', 0], to: vec![b'o', 40] };
    wait(log.write_state(vec![], vec![delete])).expect("state");
    let range = log.state_range(&[], &[0xff], 100).expect("range");
    assert_eq!(range.len(), 6);
    assert_eq!(db.log(GroupId(8)).state_range(&[], &[0xff], 100).expect("range").len(), 10);
}

#[test]
fn memory_stays_within_its_bounds_and_the_oldest_go_first() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(dir.path());
    for round in 0..40 {
        for group in 1..=8 {
            append(&db.log(GroupId(group)), entries(GroupId(group), 1, round * 2, 2, 1000));
        }
    }
    let cached = db.stats().cache_bytes;
    assert!(cached <= 128 << 10, "{cached}");
    assert!(cached > 64 << 10, "{cached}");
    for group in 1..=8 {
        let log = db.log(GroupId(group));
        assert!(log.read_cached(79, 80, 1).is_some(), "group {group}");
        assert!(log.read_cached(0, 80, 1).is_none(), "group {group}");
        assert_eq!(read_all(&log).len(), 80);
    }
}

#[test]
fn one_entry_is_read_in_memory_and_on_disk_and_none_where_there_is_none() {
    let dir = tempfile::tempdir().expect("a directory");
    let all = entries(GROUP, 1, 1, 200, 1000);
    for reopened in [false, true] {
        let db = open(dir.path());
        let log = db.log(GROUP);
        if !reopened {
            assert_eq!(log.read_one(5, <[u8]>::len).expect("an empty log"), None);
            append(&log, all.clone());
            sync(&log);
        }
        for entry in &all {
            let found = log.read_one(entry.id.index, <[u8]>::to_vec).expect("readable");
            assert_eq!(found.as_deref(), Some(&entry.payload[..]), "{:?}", entry.id);
        }
        for none in [0, 201, u64::MAX - 1] {
            assert_eq!(log.read_one(none, <[u8]>::len).expect("nothing there"), None, "{none}");
        }
        if reopened {
            wait(log.purge(id(1, 100))).expect("purge");
            let purged = log.read_one(100, <[u8]>::len);
            assert!(matches!(purged, Err(Error::Purged { first: 101, .. })), "{purged:?}");
            assert_eq!(log.read_one(101, <[u8]>::len).expect("the first"), Some(1000));
        }
        drop(log);
        db.close();
    }
}
