//! kill -9 in a loop, with several threads appending at once: every acknowledged entry is there.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use quorate_storage::{Db, GroupId};

use crate::support::{PATIENCE, durable, entries, open, payload, read_all, small, wait};
use crate::workload::Random;

const THREADS: u64 = 4;
const GROUPS_PER_THREAD: u64 = 3;
const ROUNDS: u64 = 10;

/// Appends for ever until it is killed; nothing in a normal test run.
#[test]
fn child_of_the_kill_test() {
    let Ok(dir) = std::env::var("QUORATE_KILL_DIR") else { return };
    let dir = Path::new(&dir);
    let db = Db::open(&dir.join("db"), small()).expect("the store opens");
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let db = &db;
            scope.spawn(move || {
                let path = dir.join(format!("acks-{thread}"));
                let mut acks = File::options().append(true).create(true).open(path).expect("acks");
                for round in 0_u64.. {
                    let group = GroupId(1 + thread * GROUPS_PER_THREAD + round % GROUPS_PER_THREAD);
                    let log = db.log(group);
                    let first = log.state().last.map_or(0, |last| last.index + 1);
                    let count = 1 + round % 5;
                    let (durable, fired) = durable();
                    wait(log.append(entries(group, 1, first, count, 700), durable))
                        .expect("append");
                    fired.recv_timeout(PATIENCE).expect("durable");
                    // In one piece: a line that is cut short would go on with the next child's.
                    let line = format!("{} {}\n", group.0, first + count);
                    acks.write_all(line.as_bytes()).expect("acknowledge");
                    if round % 50 == 49 {
                        let upto = log.id_at(first / 2).expect("id").expect("an entry");
                        wait(log.purge(upto)).expect("purge");
                    }
                }
            });
        }
    });
}

fn acknowledged(dir: &Path) -> Vec<(GroupId, u64)> {
    (0..THREADS)
        .flat_map(|thread| {
            let acks = fs::read_to_string(dir.join(format!("acks-{thread}"))).unwrap_or_default();
            acks.lines()
                .filter_map(|line| {
                    let (group, end) = line.split_once(' ')?;
                    Some((GroupId(group.parse().ok()?), end.parse().ok()?))
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn kill_9_under_load_loses_no_acknowledged_entry() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut random = Random::new(std::process::id().into());
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["kill::child_of_the_kill_test", "--exact", "--nocapture"])
            .env("QUORATE_KILL_DIR", dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the child runs");
        // Anywhere in its life: while it opens the store again, or after many generations.
        let enough = acknowledged(dir.path()).len() as u64 + random.below(300);
        crate::support::eventually("the child acknowledges", || {
            acknowledged(dir.path()).len() as u64 >= enough
        });
        child.kill().expect("kill");
        child.wait().expect("wait");

        let db = open(&dir.path().join("db"));
        for (group, end) in acknowledged(dir.path()) {
            let has = db.log(group).state().last.map_or(0, |last| last.index + 1);
            assert!(has >= end, "round {round}: group {group} lost {end}, has {has}");
        }
        for group in db.groups() {
            for entry in read_all(&db.log(group)) {
                assert_eq!(entry.payload, payload(group, entry.id, 700), "round {round}");
            }
        }
    }
}
