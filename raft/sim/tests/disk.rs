//! The simulated disk keeps the contract of the real one: judged by the model the real store is
//! judged by, over the same random operations, and after crashes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quorate_storage::simulation::{Crash, Disk, Random, SyncDelay};
use quorate_storage::{Db, Options};
use tokio::runtime::Runtime;

#[path = "../../../storage/tests/it/model.rs"]
mod model;
#[expect(dead_code, reason = "shared with the tests of the real store, which use more of it")]
#[path = "../../../storage/tests/it/support.rs"]
mod support;
#[path = "../../../storage/tests/it/workload.rs"]
mod workload;

use model::Model;
use workload::Op;

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap()
}

#[test]
fn what_is_written_is_what_the_model_says_at_every_step() {
    let disk = Disk::create(Path::new("/simulated/model"), 1);
    let runtime = runtime();
    let _entered = runtime.enter();
    let db = Db::open(Path::new("/simulated/model"), Options::default()).unwrap();
    let mut model = Model::default();
    for seed in 0..3000 {
        let op = Op::next(seed, &model, 4);
        model.apply(&op);
        op.run(&db, support::ignore());
        assert_eq!(model.difference(&db), None, "after {op:?} of seed {seed}");
    }
    drop(disk);
}

/// Writes, crashes at a random point, and finds a prefix that contains what was reported.
fn crash(seed: u64) -> (u64, u64, u64) {
    let path = format!("/simulated/crash/{seed}");
    let path = Path::new(&path);
    let disk = Disk::create(path, seed);
    let mut random = Random::new(seed);
    disk.set_delay(SyncDelay { min: 1, max: 9, stall_percent: 10, stall: 40 });
    let (mut models, reported) = (vec![Model::default()], Arc::new(AtomicU64::new(0)));
    {
        let runtime = runtime();
        let _entered = runtime.enter();
        let db = Db::open(path, Options::default()).unwrap();
        for step in 1..=random.between(1, 120) {
            let mut model = models.last().unwrap().clone();
            let op = Op::next(seed << 32 | step, &model, 3);
            model.apply(&op);
            models.push(model);
            let reported = Arc::clone(&reported);
            op.run(
                &db,
                Box::new(move || {
                    reported.fetch_max(step, Ordering::Relaxed);
                }),
            );
            runtime.block_on(tokio::time::sleep(Duration::from_millis(random.below(4))));
        }
        disk.crash(Crash::Power);
        assert!(op_is_refused(&db));
    }
    let runtime = runtime();
    let _entered = runtime.enter();
    let db = Db::open(path, Options::default()).unwrap();
    let reported = reported.load(Ordering::Relaxed);
    let kept = (reported as usize..models.len()).find(|at| models[*at].difference(&db).is_none());
    let kept = kept.unwrap_or_else(|| panic!("seed {seed}: no prefix from {reported} on is left"));
    (reported, kept as u64, models.len() as u64 - 1)
}

fn op_is_refused(db: &Arc<Db>) -> bool {
    db.node_put("after", b"the crash").is_err()
}

#[test]
fn a_crash_keeps_a_prefix_with_everything_that_was_reported_durable() {
    let found: Vec<(u64, u64, u64)> = (1..=300).map(crash).collect();
    assert!(found.iter().any(|(reported, kept, _)| kept > reported), "more than was promised");
    assert!(found.iter().any(|(reported, kept, all)| kept == reported && kept < all), "no more");
    assert!(found.iter().any(|(reported, _, _)| *reported > 20), "syncs are reported");
}
