//! Rot in every class of file of one broker, one after the other.

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::fault;
use crate::run::Stage;

/// With the damage: until the broker has refused, or served for a while.
const ROTTEN: f64 = 2.5;
const WHOLE: f64 = 1.5;
/// Kinds of damage are told apart after so many classes of files.
const CLASSES: usize = 5;

pub(super) fn every_class(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let mut damages = fault::every_damage();
    // There is no time for all in one run; the first seed begins with flipped bits in the write-ahead log.
    let mut seed = stage.plan.seed;
    let first = seed.saturating_sub(1) as usize * CLASSES % damages.len();
    damages.rotate_left(first);
    for mut fault in damages {
        if !stage.going_on() {
            break;
        }
        stage.rest(WHOLE);
        seed += 1;
        let begun = fault.begin(stage.cluster, &mut StdRng::seed_from_u64(seed))?;
        let skipped = matches!(begun, fault::Outcome::Skipped { .. });
        stage.began("bitrot", begun)?;
        if skipped {
            let nothing = fault::Outcome::Skipped { reason: "never begun".to_owned() };
            stage.ended("bitrot", nothing)?;
            continue;
        }
        stage.rest(ROTTEN);
        let ended = fault.end(stage.cluster)?;
        stage.ended("bitrot", ended)?;
    }
    Ok(())
}
