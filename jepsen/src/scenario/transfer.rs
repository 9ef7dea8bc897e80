//! Leadership that moves on purpose, as fast as it can.

use crate::fault::Outcome;
use crate::run::Stage;

/// Every partition goes from broker to broker, round after round.
pub(super) fn ping_pong(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let mut round = 0;
    while stage.another_round() {
        let brokers = stage.cluster.ids();
        let to = brokers[round % brokers.len()];
        round += 1;
        all_to(stage, to)?;
        stage.rest(0.3);
    }
    Ok(())
}

/// Every partition goes to one broker, where that can be.
pub(super) fn all_to(stage: &mut Stage<'_>, to: u64) -> anyhow::Result<()> {
    let admin = stage.cluster.admin();
    let (mut moved, mut refused) = (0, 0);
    stage.began(
        "transfer",
        Outcome::Installed {
            what: format!("all partitions to broker {to}"),
            proof: "asked".to_owned(),
        },
    )?;
    for used in stage.used()? {
        let answer = admin.set_leader(&used.topic, used.partition.partition, to);
        if answer.is_ok_and(|reply| reply.ok()) { moved += 1 } else { refused += 1 }
    }
    let what = format!("all partitions to broker {to}");
    let proof = format!("{moved} lead there, {refused} refused or unanswered");
    stage.ended(
        "transfer",
        match moved {
            0 => Outcome::Skipped { reason: proof },
            _ => Outcome::Installed { what, proof },
        },
    )
}
