//! Space comes back: generations nobody needs are dropped, those of slow groups rewritten.

use std::sync::Arc;
use std::time::Duration;

use quorate_storage::{Db, GroupId, Log, Options};

use crate::support::{
    append, entries, eventually, id, ignore, open, payload, read_all, small, sync, table_bytes,
    wait,
};

fn fill(log: &Log, count: u64, size: usize) {
    let mut next = log.state().last.map_or(0, |last| last.index + 1);
    let end = next + count;
    while next < end {
        let some = (end - next).min(20);
        wait(log.append(entries(log.group(), 1, next, some, size), ignore())).expect("append");
        next += some;
    }
    sync(log);
}

#[test]
fn purged_generations_give_their_files_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(dir.path());
    let logs: Vec<Log> = (1..=5).map(|group| db.log(GroupId(group))).collect();
    logs.iter().for_each(|log| fill(log, 800, 1000));
    eventually("the tables are written", || table_bytes(dir.path()) > 3 << 20);
    logs.iter().for_each(|log| wait(log.purge(id(1, 789))).expect("purge"));
    logs.iter().for_each(sync);
    eventually("the tables go", || table_bytes(dir.path()) < 400 << 10);
    assert!(db.stats().generations_dropped > 40, "{:?}", db.stats());
    for log in &logs {
        let kept: Vec<u64> = read_all(log).iter().map(|entry| entry.id.index).collect();
        assert_eq!(kept, (790..800).collect::<Vec<u64>>());
    }
}

#[test]
fn what_was_purged_before_a_restart_is_dropped_after_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(dir.path());
    fill(&db.log(GroupId(1)), 2000, 1000);
    wait(db.log(GroupId(1)).purge(id(1, 1990))).expect("purge");
    db.close();
    let db = open(dir.path());
    eventually("the tables go", || table_bytes(dir.path()) < 300 << 10);
    assert_eq!(read_all(&db.log(GroupId(1))).len(), 9);
}

#[test]
fn a_dropped_group_gives_its_space_back_and_does_not_return() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(dir.path());
    fill(&db.log(GroupId(1)), 1000, 1000);
    fill(&db.log(GroupId(2)), 10, 1000);
    let (durable, fired) = crate::support::durable();
    db.drop_group(GroupId(1), durable);
    fired.recv_timeout(crate::support::PATIENCE).expect("durable");
    assert_eq!(db.groups(), vec![GroupId(2)]);
    eventually("the tables go", || table_bytes(dir.path()) < 300 << 10);
    db.close();
    let db = open(dir.path());
    assert_eq!(db.groups(), vec![GroupId(2)]);
    let log = db.log(GroupId(1));
    assert_eq!(log.state().last, None);
    append(&log, entries(GroupId(1), 9, 4, 3, 10));
    assert_eq!(read_all(&log).iter().map(|entry| entry.id.index).collect::<Vec<_>>(), [4, 5, 6]);
}

#[test]
fn what_is_purged_on_a_quiet_broker_goes_although_its_generation_is_not_full() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = Options { generation_age: Duration::from_millis(240), ..small() };
    let db = Db::open(dir.path(), options).expect("open");
    let log = db.log(GroupId(1));
    fill(&log, 10, 1000);
    eventually("what is old is in a table", || table_bytes(dir.path()) > 10_000);
    wait(log.purge(id(1, 9))).expect("purge");
    sync(&log);
    // A slow disk may have spread the entries over more than one.
    let only_the_present_one = || db.stats().generations <= 1 && db.stats().live_bytes == 0;
    eventually("the generation goes", only_the_present_one);
    let dropped = db.stats().generations_dropped;
    assert!(dropped > 0);
    fill(&log, 1, 1000);
    wait(log.purge(id(1, 10))).expect("purge");
    sync(&log);
    eventually("so does the next", || db.stats().generations_dropped > dropped);
    eventually("and none begins while nothing is written", only_the_present_one);
}

/// One group keeps everything, four others are purged: a tenth of each generation stays.
fn skewed(db: &Arc<Db>) -> Log {
    let slow = db.log(GroupId(1));
    let fast: Vec<Log> = (2..=5).map(|group| db.log(GroupId(group))).collect();
    for round in 0..60 {
        fill(&slow, 2, 1000);
        for log in &fast {
            fill(log, 10, 1000);
        }
        if round % 10 == 9 {
            for log in &fast {
                let last = log.state().last.expect("entries");
                wait(log.purge(last)).expect("purge");
            }
        }
    }
    slow
}

#[test]
fn survivors_of_nearly_dead_generations_are_rewritten_and_stay_readable() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(dir.path());
    let slow = skewed(&db);
    eventually("the dead part goes", || table_bytes(dir.path()) < 900 << 10);
    let stats = db.stats();
    assert!(stats.bytes_rewritten > 60_000, "{stats:?}");
    assert!(stats.bytes_rewritten < stats.bytes_appended / 3, "{stats:?}");
    let check = |log: &Log| {
        let all = read_all(log);
        assert_eq!(all.len(), 120);
        for entry in all {
            assert_eq!(entry.payload, payload(GroupId(1), entry.id, 1000));
        }
    };
    check(&slow);
    drop(slow);
    db.close();
    let db = open(dir.path());
    check(&db.log(GroupId(1)));
    fill(&db.log(GroupId(1)), 1, 1000);
    assert_eq!(read_all(&db.log(GroupId(1))).len(), 121);
}

#[test]
fn survivors_are_found_without_asking_every_group() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(dir.path());
    let idle: Vec<Log> = (100..1100).map(|group| db.log(GroupId(group))).collect();
    idle.iter().for_each(|log| {
        wait(log.append(entries(log.group(), 1, 0, 1, 100), ignore())).expect("append");
    });
    sync(&idle[0]);
    skewed(&db);
    eventually("old generations are rewritten", || db.stats().bytes_rewritten > 60_000);
    let stats = db.stats();
    // Five groups lie in each generation that is rewritten, in a few moves at most.
    assert!(stats.rewrite_groups_examined < 20 * stats.generations_dropped.max(40), "{stats:?}");
}

#[test]
fn readers_are_undisturbed_while_entries_move_and_generations_go() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = Options { tail_cache_bytes: 0, tail_cache_group_bytes: 0, ..small() };
    let db = Db::open(dir.path(), options).expect("open");
    let slow = db.log(GroupId(1));
    fill(&slow, 10, 1000);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0_u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let all = read_all(&slow);
                assert!(all.iter().map(|entry| entry.id.index).eq(0..all.len() as u64));
                reads += 1;
            }
            reads
        });
        skewed(&db);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(reader.join().expect("the reader") > 0);
    });
    assert!(db.stats().bytes_rewritten > 0);
}

/// Writes 64 generations of 100 groups and measures; alone in its process, so that it counts
/// nobody else's bytes. Nothing in a normal test run.
#[test]
fn child_that_measures_what_is_written() {
    let Ok(dir) = std::env::var("QUORATE_MEASURE_DIR") else { return };
    let options = Options { generation_bytes: 1 << 20, ..Options::default() };
    let db = Db::open(dir.as_ref(), options).expect("open");
    let before = written_bytes();
    let logs: Vec<Log> = (1..=100).map(|group| db.log(GroupId(group))).collect();
    for round in 0..4 {
        for log in &logs {
            let some = entries(log.group(), 1, round * 10, 10, 16 << 10);
            wait(log.append(some, ignore())).expect("append");
        }
        sync(&logs[0]);
    }
    db.close();
    let appended = (4 * 100 * 10 * (16 << 10)) as f64;
    let ratio = (written_bytes() - before) as f64 / appended;
    std::fs::write(format!("{dir}/ratio"), ratio.to_string()).expect("a file");
}

#[test]
fn compaction_does_not_write_what_the_memtables_wrote_already() {
    let dir = tempfile::tempdir().expect("a directory");
    let child = std::process::Command::new(std::env::current_exe().expect("this binary"))
        .args(["space::child_that_measures_what_is_written", "--exact"])
        .env("QUORATE_MEASURE_DIR", dir.path())
        .output();
    assert!(child.expect("the child runs").status.success());
    let ratio = std::fs::read_to_string(dir.path().join("ratio")).expect("a ratio");
    let ratio: f64 = ratio.parse().expect("a number");
    // Once to the log and once to a table, and what pages and indexes add; compaction would add 1
    // for every level.
    assert!((1.9..2.6).contains(&ratio), "{ratio:.2} bytes written per byte");
}

fn written_bytes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").expect("linux");
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).expect("write_bytes");
    line.parse().expect("a number")
}
