//! The end of a write-ahead log as a power cut may leave it: what came after the last sync is there in part, or is
//! garbage. Nobody was told of it, so a broker has to start without it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngCore};

use super::damage::{Class, files};
use super::target::TargetClass;
use super::{Fault, Outcome, installed, skipped};
use crate::admin::wait;
use crate::sandbox::{Broker, Cluster};

struct TornTail;

pub(super) fn make() -> Box<dyn Fault> {
    Box::new(TornTail)
}

/// Bytes of garbage, at most.
const GARBAGE_MAX: usize = 10_000;
/// How long a sync lasts before the kill, and until something is written meanwhile.
const LAG: Duration = Duration::from_millis(200);
const TAIL: Duration = Duration::from_secs(1);

impl Fault for TornTail {
    fn begin(&mut self, cluster: &mut Cluster, random: &mut StdRng) -> anyhow::Result<Outcome> {
        let who = TargetClass::any(&[TargetClass::Leader, TargetClass::One], random);
        let Some(id) = who.pick(cluster, random).first().copied() else {
            return Ok(skipped(format!("{who:?}: no such broker runs")));
        };
        kill_unsynced(cluster, id)?;
        let outcome = match newest(cluster.broker(id)?) {
            Some((wal, synced)) => installed(format!("broker {id}"), tear(&wal, synced, random)?),
            None => skipped(format!("broker {id} has no log that was ever synced")),
        };
        cluster.start_broker(id)?;
        Ok(outcome)
    }

    fn end(&mut self, cluster: &mut Cluster) -> anyhow::Result<Outcome> {
        // One that refused is found as a broker that ended.
        cluster.watch();
        Ok(installed("started", "processes run"))
    }
}

/// Kills a broker while its newest log has an end that is not synced, if it writes anything.
fn kill_unsynced(cluster: &mut Cluster, id: u64) -> anyhow::Result<()> {
    let broker = cluster.broker(id)?;
    let own = !broker.shim.syncs_slowly();
    if own {
        broker.shim.slow_sync(LAG)?;
    }
    wait(TAIL, || {
        let (wal, synced) = newest(broker)?;
        (wal.metadata().ok()?.len() > synced).then_some(())
    });
    cluster.kill(id)?;
    if own {
        cluster.broker(id)?.shim.slow_sync(Duration::ZERO)?;
    }
    Ok(())
}

/// The newest log, and how many bytes of it were synced.
fn newest(broker: &Broker) -> Option<(PathBuf, u64)> {
    let wal = files(&broker.disk.data, Class::Wal).pop()?;
    let number = wal.file_stem()?.to_str()?.parse().ok()?;
    let synced = broker.shim.synced_length(number)?;
    Some((wal, synced))
}

/// Cuts the log somewhere behind its last sync, and perhaps goes on with garbage.
fn tear(wal: &Path, synced: u64, random: &mut StdRng) -> anyhow::Result<String> {
    let file = File::options().write(true).open(wal)?;
    let length = file.metadata()?.len();
    let cut = random.random_range(synced.min(length)..=length);
    file.set_len(cut)?;
    // Something always changes: where nothing was cut off, something is added.
    let mut garbage = vec![0; random.random_range(1..GARBAGE_MAX)];
    let kind = match random.random_range(0..3_u8) {
        0 if cut < length => {
            garbage.clear();
            "nothing"
        }
        1 => "zeroes",
        _ => {
            random.fill_bytes(&mut garbage);
            "garbage"
        }
    };
    file.write_all_at(&garbage, cut)?;
    file.sync_all()?;
    let name = wal.file_name().unwrap_or_default().to_string_lossy();
    Ok(format!(
        "{name} of {length} bytes, {synced} of them synced, was cut to {cut}; behind it {} bytes of {kind}",
        garbage.len()
    ))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn what_was_synced_stays_and_what_comes_behind_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let wal = dir.path().join("000012.log");
        let content = vec![7; 9_000];
        let (mut cut, mut whole) = (0, 0);
        for seed in 0..200 {
            let synced = if seed % 2 == 0 { 5_000 } else { 9_000 };
            std::fs::write(&wal, &content).unwrap();
            let said = tear(&wal, synced, &mut StdRng::seed_from_u64(seed)).unwrap();
            let torn = std::fs::read(&wal).unwrap();
            assert_eq!(torn[..synced as usize], content[..synced as usize], "{said}");
            assert_ne!(torn, content, "{said}");
            cut += u32::from(torn.len() < content.len());
            whole += u32::from(torn.starts_with(&content));
        }
        assert!(cut > 10 && whole > 50, "{cut} shorter, {whole} with something behind the end");
    }
}
