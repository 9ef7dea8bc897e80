//! A cluster that comes back at other addresses than it knows: it has to find itself by whom brokers were told to join.

use std::time::Duration;

use crate::run::Stage;
use crate::sandbox::Cluster;

const WHOLE: Duration = Duration::from_secs(40);
const UP: f64 = 1.5;

/// All at once, each in turn, and then all at each other's addresses.
pub(super) fn all_and_each(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    stage.rest(UP);
    let all = stage.cluster.ids();
    elsewhere(stage, "all ports are others", &all, |cluster| cluster.move_ports(&cluster.ids()))?;
    for id in all.iter().copied() {
        let what = format!("broker {id} has another port");
        elsewhere(stage, &what, &[id], |cluster| cluster.move_ports(&[id]))?;
    }
    elsewhere(stage, "all are at each other's addresses", &all, Cluster::rotate_hosts)
}

fn elsewhere(
    stage: &mut Stage<'_>,
    what: &str,
    ids: &[u64],
    go: impl FnOnce(&mut Cluster) -> anyhow::Result<Vec<String>>,
) -> anyhow::Result<()> {
    stage.begin("address", what, |cluster| {
        ids.iter().try_for_each(|id| cluster.kill(*id).map(drop))?;
        let moves = go(cluster)?;
        ids.iter().try_for_each(|id| cluster.start_broker(*id))?;
        Ok(moves.join("; "))
    })?;
    *stage.env.brokers.write() = stage.cluster.addresses();
    let whole = stage.cluster.wait_whole(WHOLE);
    if let Err(reasons) = &whole {
        let case = format!("{what}, and after {WHOLE:?}: {}", reasons.join("; "));
        stage.cluster.find("not-found-again", vec![case]);
    }
    let lost = whole.is_err();
    stage.end("address", "they have found each other", |_| {
        whole.map(|()| "whole".to_owned()).map_err(|reasons| anyhow::anyhow!(reasons.join("; ")))
    })?;
    anyhow::ensure!(!lost, "a cluster that has not found itself cannot move on");
    stage.rest(UP);
    Ok(())
}
