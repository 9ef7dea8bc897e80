//! A disk that fails. After a failed fsync nobody knows what is on it: the broker has to end, at once and by itself.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::target::{TargetClass, named};
use super::{Fault, Outcome, installed, skipped};
use crate::admin::wait;
use crate::sandbox::{Cluster, EIO, ENOSPC, Hits, State};

/// Until a broker whose fsync failed has ended.
const END: Duration = Duration::from_secs(3);
/// What a broker may log about it.
const ERRORS: [&str; 4] = ["storage failed", "Input/output error", "No space left", "broker ends"];

const WHY: &str = "its disk fails";

#[derive(Clone, Copy, Debug)]
enum Kind {
    Sync,
    Write(u64),
}

#[derive(Default)]
struct IoError {
    broken: Option<(u64, Kind)>,
    before: Hits,
}

pub(super) fn make() -> Box<dyn Fault> {
    Box::<IoError>::default()
}

impl Fault for IoError {
    fn begin(&mut self, cluster: &mut Cluster, random: &mut StdRng) -> anyhow::Result<Outcome> {
        let who = TargetClass::any(&[TargetClass::Leader, TargetClass::One], random);
        let kinds = [Kind::Sync, Kind::Sync, Kind::Write(EIO), Kind::Write(ENOSPC)];
        let kind = kinds.choose(random).copied().unwrap_or(Kind::Sync);
        let Some(id) = who.pick(cluster, random).first().copied() else {
            return Ok(skipped(format!("{who:?}: no such broker runs")));
        };
        cluster.may_end(id, WHY, &ERRORS);
        let shim = &cluster.broker(id)?.shim;
        self.before = shim.hits();
        let what = match kind {
            Kind::Sync => {
                shim.fail_sync(EIO)?;
                "fsync fails with EIO".to_owned()
            }
            Kind::Write(errno) => {
                shim.fail_write(errno)?;
                format!("writes fail with errno {errno}")
            }
        };
        self.broken = Some((id, kind));
        Ok(installed(format!("{who:?}: {}: {what}", named(&[id])), "set"))
    }

    fn end(&mut self, cluster: &mut Cluster) -> anyhow::Result<Outcome> {
        let Some((id, kind)) = self.broken.take() else { return Ok(skipped("not begun")) };
        let hits = cluster.broker(id)?.shim.hits();
        let syncs = hits.syncs_failed - self.before.syncs_failed;
        let writes = hits.writes_failed - self.before.writes_failed;
        let ended = wait(if syncs > 0 { END } else { Duration::ZERO }, || {
            cluster.watch();
            cluster.broker(id).is_ok_and(|broker| broker.state() == State::Down).then_some(())
        });
        let broker = cluster.broker(id)?;
        // One that is starved may not have come to it yet.
        if syncs > 0 && ended.is_none() && broker.running() && !broker.starved() {
            let case = format!("broker {id} lives on after {syncs} failed syncs ({kind:?})");
            cluster.find("lives-after-failed-sync", vec![case]);
        }
        let shim = &cluster.broker(id)?.shim;
        shim.fail_sync(0)?;
        shim.fail_write(0)?;
        cluster.no_longer(id, WHY);
        let broker = cluster.broker(id)?;
        if broker.state() == State::Down && broker.powered() {
            cluster.start_broker(id)?;
        }
        let how = if ended.is_some() { "it ended" } else { "it lived on" };
        match syncs + writes {
            0 => Ok(skipped("nothing was written or synced")),
            _ => Ok(installed(
                format!("{} has a good disk again", named(&[id])),
                format!("{syncs} syncs and {writes} writes failed, {how}"),
            )),
        }
    }
}
