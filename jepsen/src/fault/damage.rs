//! Damage to a file of a broker that does not run, and putting it back.
//!
//! Every kind is one that disks are known for: bits that flip, blocks that were never written, blocks with the content
//! of another place or time, files that end too early.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Wal,
    Table,
    Manifest,
    Current,
    Options,
}

impl Class {
    pub const ALL: [Class; 5] =
        [Class::Wal, Class::Table, Class::Manifest, Class::Current, Class::Options];

    fn holds(self, name: &str) -> bool {
        match self {
            Class::Wal => name.ends_with(".log"),
            Class::Table => name.ends_with(".sst"),
            Class::Manifest => name.starts_with("MANIFEST-"),
            Class::Current => name == "CURRENT",
            Class::Options => name.starts_with("OPTIONS-"),
        }
    }
}

/// How it is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    FlippedBits,
    ZeroBlock,
    StaleBlock,
    Cut,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::FlippedBits, Kind::ZeroBlock, Kind::StaleBlock, Kind::Cut];
}

const BLOCK: u64 = 4096;

/// What was done to a file, and what was there before.
#[derive(Debug)]
pub struct Damage {
    pub path: PathBuf,
    pub class: Class,
    pub kind: Kind,
    at: u64,
    before: Vec<u8>,
    after: Vec<u8>,
    data: PathBuf,
    /// All files as they were before.
    copy: PathBuf,
}

impl Damage {
    /// Damages one file of a class under `data`. None if there is no file, or nothing would be different.
    pub fn inflict(
        data: &Path,
        class: Class,
        kind: Kind,
        random: &mut StdRng,
    ) -> anyhow::Result<Option<Damage>> {
        let mut files = files(data, class);
        // The newest log is the one that matters most; any table will do.
        if class == Class::Table {
            files.shuffle(random);
        }
        let Some(path) = files.pop() else { return Ok(None) };
        let content = fs::read(&path).with_context(|| path.display().to_string())?;
        let length = content.len() as u64;
        let blocks = length.div_ceil(BLOCK);
        let block = random.random_range(0..blocks);
        let (at, end) = (block * BLOCK, ((block + 1) * BLOCK).min(length));
        let slice = |at: u64, end: u64| content[at as usize..end as usize].to_vec();
        let (at, before, after) = match kind {
            Kind::FlippedBits => {
                let (before, mut after) = (slice(at, end), slice(at, end));
                for _ in 0..random.random_range(1..=3) {
                    let bit = random.random_range(0..after.len() * 8);
                    after[bit / 8] ^= 1 << (bit % 8);
                }
                (at, before, after)
            }
            Kind::ZeroBlock => (at, slice(at, end), vec![0; (end - at) as usize]),
            Kind::StaleBlock => {
                // What another block holds, or held before it was written anew.
                let mut after = if blocks > 1 {
                    let other = (block + random.random_range(1..blocks)) % blocks * BLOCK;
                    slice(other, (other + BLOCK).min(length))
                } else {
                    stray(data, &path, random)?
                };
                after.resize((end - at) as usize, 0);
                (at, slice(at, end), after)
            }
            Kind::Cut => {
                let at = random.random_range(0..length);
                (at, slice(at, length), Vec::new())
            }
        };
        if before == after {
            return Ok(None);
        }
        // Beside the disk, not on it: the disk may be full, or lose its power.
        let copy = data.parent().unwrap_or(data).with_extension("copy");
        replace(data, &copy)?;
        let data = data.to_owned();
        let damage = Damage { path, class, kind, at, before, after, data, copy };
        damage.write(&damage.after)?;
        Ok(Some(damage))
    }

    fn write(&self, bytes: &[u8]) -> anyhow::Result<()> {
        let file = File::options().write(true).open(&self.path)?;
        file.write_all_at(bytes, self.at)?;
        if self.kind == Kind::Cut {
            file.set_len(self.at + bytes.len() as u64)?;
        }
        Ok(file.sync_all()?)
    }

    /// Puts back what was there. False if the broker has replaced the file or written over the damage meanwhile.
    pub fn undo(&self) -> anyhow::Result<bool> {
        let Ok(content) = fs::read(&self.path) else { return Ok(false) };
        let at = usize::try_from(self.at)?;
        let unchanged = match self.kind {
            Kind::Cut => content.len() == at,
            _ => content.get(at..at + self.after.len()) == Some(&self.after[..]),
        };
        if unchanged {
            self.write(&self.before)?;
        }
        Ok(unchanged)
    }

    /// Puts all files back. Only for a broker that has refused to start: one that served has made promises since.
    pub fn undo_all(&self) -> anyhow::Result<()> {
        replace(&self.copy, &self.data)
    }

    /// The copy is no longer needed.
    pub fn forget(&self) {
        let _ = fs::remove_dir_all(&self.copy);
    }

    pub fn words(&self) -> String {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        format!("{:?} at byte {} of {name} ({:?})", self.kind, self.at, self.class)
    }
}

/// A block of another file, which a write that went astray has left in this one.
fn stray(data: &Path, path: &Path, random: &mut StdRng) -> anyhow::Result<Vec<u8>> {
    let mut others = Class::ALL.map(|class| files(data, class)).concat();
    others.retain(|other| other != path);
    let Some(other) = others.choose(random) else { return Ok(Vec::new()) };
    let mut block = fs::read(other).with_context(|| other.display().to_string())?;
    block.truncate(BLOCK as usize);
    Ok(block)
}

/// Makes `to` a copy of `from`.
fn replace(from: &Path, to: &Path) -> anyhow::Result<()> {
    let _ = fs::remove_dir_all(to);
    let mut copy = Command::new("cp");
    let done = copy.args(["-a", "--reflink=auto", "--sparse=always"]).args([from, to]).output()?;
    ensure!(done.status.success(), "{copy:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// Files of a class that hold something, the newest last.
pub(super) fn files(data: &Path, class: Class) -> Vec<PathBuf> {
    fn walk(dir: &Path, class: Class, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, class, found);
            } else if class.holds(&entry.file_name().to_string_lossy())
                && entry.metadata().is_ok_and(|data| data.len() > 0)
            {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(data, class, &mut found);
    // Their names carry numbers of fixed width that only grow.
    found.sort();
    found
}

/// One of each, by chance.
pub(super) fn any(random: &mut StdRng) -> (Class, Kind) {
    let class = Class::ALL.choose(random).copied().unwrap_or(Class::Wal);
    (class, Kind::ALL.choose(random).copied().unwrap_or(Kind::FlippedBits))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn every_kind_damages_one_file_and_is_undone() {
        let parent = tempfile::tempdir().unwrap();
        let dir = &parent.path().join("disk/data");
        fs::create_dir_all(dir).unwrap();
        let mut random = StdRng::seed_from_u64(7);
        let names = ["000004.log", "000009.sst", "MANIFEST-000005", "CURRENT", "OPTIONS-000007"];
        let content: Vec<u8> =
            (0..10_000_u32).map(|number| (number * number % 251) as u8).collect();
        for (class, name) in Class::ALL.into_iter().zip(names) {
            fs::write(dir.join(name), &content).unwrap();
            for kind in Kind::ALL {
                let mut inflict = |_| Damage::inflict(dir, class, kind, &mut random).unwrap();
                let damage = (0..20).find_map(&mut inflict).unwrap();
                assert_eq!(damage.path, dir.join(name));
                assert_ne!(fs::read(&damage.path).unwrap(), content, "{}", damage.words());
                if random.random_bool(0.5) {
                    assert!(damage.undo().unwrap());
                } else {
                    damage.undo_all().unwrap();
                }
                damage.forget();
                assert_eq!(fs::read(&damage.path).unwrap(), content, "{}", damage.words());
            }
        }
    }

    #[test]
    fn what_was_written_over_is_not_put_back() {
        let parent = tempfile::tempdir().unwrap();
        let dir = &parent.path().join("disk/data");
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("CURRENT"), vec![7; 5_000]).unwrap();
        let mut random = StdRng::seed_from_u64(7);
        let damage = Damage::inflict(dir, Class::Current, Kind::ZeroBlock, &mut random);
        let damage = damage.unwrap().unwrap();
        fs::write(&damage.path, "new").unwrap();
        assert!(!damage.undo().unwrap());
        assert_eq!(fs::read(&damage.path).unwrap(), b"new");
    }

    #[test]
    fn the_newest_log_that_holds_something_is_last() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("db")).unwrap();
        for (name, bytes) in [("db/000012.log", 3), ("db/000008.log", 3), ("db/000020.log", 0)] {
            fs::write(dir.path().join(name), vec![1; bytes]).unwrap();
        }
        let found = files(dir.path(), Class::Wal);
        assert_eq!(found, [dir.path().join("db/000008.log"), dir.path().join("db/000012.log")]);
    }
}
