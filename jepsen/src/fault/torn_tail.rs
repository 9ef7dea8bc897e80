//! The end of a write-ahead log as a power cut may leave it: what came after the last sync is there in part, or is
//! garbage. Nobody was told of it, so a broker has to start without it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng, RngCore};

use super::damage::{Class, files};
use super::target::Who;
use super::{Fault, Outcome, installed, skipped};
use crate::sandbox::Cluster;

struct TornTail;

pub(super) fn make() -> Box<dyn Fault> {
    Box::new(TornTail)
}

/// Bytes of garbage, at most.
const GARBAGE_MAX: usize = 10_000;

impl Fault for TornTail {
    fn begin(&mut self, cluster: &mut Cluster, random: &mut StdRng) -> anyhow::Result<Outcome> {
        let who = Who::any(&[Who::Leader, Who::One], random);
        let Some(id) = who.pick(cluster, random).first().copied() else {
            return Ok(skipped(format!("{who:?}: no such broker runs")));
        };
        cluster.kill(id)?;
        let broker = cluster.broker(id)?;
        let newest = files(&broker.disk.data, Class::Wal).pop();
        let torn = newest.and_then(|wal| {
            let synced = broker.shim.synced_length(number(&wal)?)?;
            Some((wal, synced))
        });
        let outcome = match torn {
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

fn number(wal: &Path) -> Option<u64> {
    wal.file_stem()?.to_str()?.parse().ok()
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
