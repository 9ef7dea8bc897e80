//! Small disks of their own for brokers: ext4 in a file, mounted, that can be filled to the last
//! byte and frozen so that every write to it waits in the kernel. Mounting takes root.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::wait;

const FILLER: &str = "filler";

/// A mounted file system that is unmounted when dropped.
pub struct Disk {
    mount: PathBuf,
}

impl Disk {
    /// Makes a disk of `bytes` and mounts it at `mount`, an existing directory's new entry.
    pub fn new(mount: &Path, bytes: u64) -> Disk {
        static SWEPT: OnceLock<()> = OnceLock::new();
        SWEPT.get_or_init(sweep);
        let image = mount.with_extension("img");
        File::create(&image).unwrap().set_len(bytes).unwrap();
        // No blocks set aside for root, whom a full disk would not stop otherwise.
        let mut mkfs = Command::new("mkfs.ext4");
        mkfs.args(["-q", "-F", "-m", "0", "-E", "nodiscard"]).arg(&image);
        run(&mut mkfs);
        fs::create_dir_all(mount).unwrap();
        run(Command::new("mount").args(["-o", "loop"]).args([&image, mount]));
        // The mount keeps it; the name is not needed, and nothing is left when the process is killed.
        fs::remove_file(&image).unwrap();
        Disk { mount: mount.to_owned() }
    }

    /// Takes every byte that is left.
    pub fn fill(&self) {
        self.take(u64::MAX);
    }

    /// Takes what is left but for so many bytes.
    pub fn fill_but(&self, left: u64) {
        let space = rustix::fs::statvfs(&self.mount).unwrap();
        self.take((space.f_bavail * space.f_frsize).saturating_sub(left));
    }

    fn take(&self, bytes: u64) {
        let file = File::create(self.mount.join(FILLER)).unwrap();
        let (mut at, mut step) = (0, 1 << 20);
        let zeroes = vec![0; step];
        while step >= 512 && at < bytes {
            match file.write_at(&zeroes[..step], at) {
                Ok(written) => at += written as u64,
                Err(_) => step /= 2, // no room for so much
            }
        }
        // Delayed allocation may have promised too little.
        drop(file.sync_all());
    }

    /// Gives back what was taken.
    pub fn empty(&self) {
        fs::remove_file(self.mount.join(FILLER)).unwrap();
    }

    /// From now on every write to it waits in the kernel, where no signal reaches it.
    pub fn freeze(&self) {
        run(Command::new("fsfreeze").arg("-f").arg(&self.mount));
    }

    pub fn thaw_if_frozen(&self) {
        // One that is not frozen refuses.
        let _ = Command::new("fsfreeze").arg("-u").arg(&self.mount).output();
    }

    pub fn thaw(&self) {
        run(Command::new("fsfreeze").arg("-u").arg(&self.mount));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.thaw_if_frozen();
        let gone = || {
            let done = Command::new("umount").arg(&self.mount).output();
            done.is_ok_and(|done| done.status.success()).then_some(())
        };
        if wait::maybe(super::cluster::SOON, gone).is_none() {
            let _ = Command::new("umount").arg("-l").arg(&self.mount).output();
        }
    }
}

/// Unmounts what a test run that was killed left behind.
fn sweep() {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clusters");
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    for place in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
        let Ok(below) = Path::new(place).strip_prefix(&root) else { continue };
        let pid = below.iter().next().unwrap_or_default();
        if !Path::new("/proc").join(pid).exists() {
            let _ = Command::new("fsfreeze").args(["-u", place]).output();
            let _ = Command::new("umount").args(["-l", place]).output();
        }
    }
}

fn run(command: &mut Command) {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?} (it takes root): {said}");
}
