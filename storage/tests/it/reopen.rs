//! Any sequence of operations, with reopening anywhere, leaves what a plain map would hold.

use std::sync::Arc;

use proptest::prelude::{ProptestConfig, any, proptest};
use proptest::test_runner::TestCaseError;
use quorate_storage::Db;

use crate::model::Model;
use crate::support::{ignore, open};
use crate::workload::{Op, Random};

fn check(model: &Model, db: &Arc<Db>, step: usize) -> Result<(), TestCaseError> {
    match model.difference(db) {
        Some(difference) => Err(TestCaseError::fail(format!("after step {step}: {difference}"))),
        None => Ok(()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").map_or(12, |n| n.parse().expect("a number")),
        max_shrink_iters: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_sequence_of_operations_and_reopens_equals_the_model(
        seeds in proptest::collection::vec(any::<u64>(), 50..400)
    ) {
        let dir = tempfile::tempdir().expect("a directory");
        let mut db = open(dir.path());
        let mut model = Model::default();
        for (step, &seed) in seeds.iter().enumerate() {
            match Random::new(!seed).below(60) {
                0 => {
                    // Through recovery of sealed segments; crashes of the open one have their tests.
                    drop(db);
                    db = open(dir.path());
                    check(&model, &db, step)?;
                }
                1 => check(&model, &db, step)?,
                _ => {
                    let op = Op::next(seed, &model, 4);
                    op.run(&db, ignore());
                    model.apply(&op);
                }
            }
        }
        check(&model, &db, seeds.len())?;
        db.close();
        check(&model, &open(dir.path()), seeds.len())?;
    }
}
