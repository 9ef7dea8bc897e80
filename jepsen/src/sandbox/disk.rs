//! A broker's disk: a directory, or a file system of its own in a file, whose power can be cut.
//!
//! The shutdown request of ext4 does what a power cut does: what was not synced is gone, renames included, and what
//! was synced stays. The image's own file is the device, so that it survives.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

use crate::admin::wait;

/// What brokers keep their data on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskKind {
    /// A directory; enough for runs without faults of the disk.
    Plain,
    /// An ext4 file system of so many bytes, on a loop device.
    Image { bytes: u64 },
}

impl DiskKind {
    /// Room enough for hours, taken only as it is written.
    pub const IMAGE: DiskKind = DiskKind::Image { bytes: 2 << 30 };
}

/// One disk.
pub struct Disk {
    /// Where the data is while the disk is mounted.
    pub data: PathBuf,
    mount: PathBuf,
    image: Option<PathBuf>,
}

const SHUTDOWN: Opcode = opcode::read::<u32>(b'X', 125); // EXT4_IOC_SHUTDOWN
const WITHOUT_FLUSHING_THE_LOG: u32 = 2; // EXT4_GOING_FLAGS_NOLOGFLUSH
const BALLAST: &str = "ballast";
/// Unmounting waits for the last file of a killed process to be closed.
const UNMOUNT: Duration = Duration::from_secs(20);

impl Disk {
    /// Makes an empty disk named `name` in `dir`, mounted.
    pub fn create(dir: &Path, name: &str, kind: DiskKind) -> anyhow::Result<Disk> {
        let mount = dir.join(name);
        fs::create_dir_all(&mount).with_context(|| format!("create {}", mount.display()))?;
        let DiskKind::Image { bytes } = kind else {
            return Ok(Disk { data: mount.join("data"), mount, image: None });
        };
        let image = dir.join(format!("{name}.img"));
        File::create(&image)?.set_len(bytes)?;
        // Quick: no zeroes written, no blocks set aside for root, whom a full disk would not stop.
        run(Command::new("mkfs.ext4")
            .args(["-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"])
            .arg(&image))?;
        let disk = Disk { data: mount.join("data"), mount, image: Some(image) };
        disk.mount()?;
        Ok(disk)
    }

    /// Whether it can lose its power.
    pub fn has_power(&self) -> bool {
        self.image.is_some()
    }

    fn mount(&self) -> anyhow::Result<()> {
        match &self.image {
            None => Ok(()),
            Some(image) => {
                run(Command::new("mount").args(["-o", "loop"]).args([image, &self.mount]))
            }
        }
    }

    /// Cuts the power. From now on every write and sync fails, and what was not synced is lost.
    pub fn cut_power(&self) -> anyhow::Result<()> {
        ensure!(self.has_power(), "a plain directory has no power to cut");
        let root = File::open(&self.mount)?;
        #[expect(
            unsafe_code,
            reason = "this request takes a u32, though its number says it gives one"
        )]
        unsafe {
            ioctl(&root, Setter::<SHUTDOWN, u32>::new(WITHOUT_FLUSHING_THE_LOG))
                .context("EXT4_IOC_SHUTDOWN")
        }
    }

    /// Gives power again: what is on the disk is what was synced. No process may have a file on it open.
    pub fn restore_power(&self) -> anyhow::Result<()> {
        if self.has_power() {
            self.unmount()?;
            self.mount()?;
        }
        Ok(())
    }

    fn unmount(&self) -> anyhow::Result<()> {
        let mut last = None;
        let done = wait(UNMOUNT, || match run(Command::new("umount").arg(&self.mount)) {
            Ok(()) => Some(()),
            Err(error) => {
                last = Some(error);
                None
            }
        });
        match (done, last) {
            (Some(()), _) => Ok(()),
            (None, error) => {
                Err(error.unwrap_or_else(|| anyhow::anyhow!("umount {}", self.mount.display())))
            }
        }
    }

    /// Fills the disk until not a byte is left. Returns the bytes that took.
    pub fn fill(&self) -> anyhow::Result<u64> {
        self.fill_but(0)
    }

    /// Fills the disk until about so many bytes are left. Returns the bytes that took.
    pub fn fill_but(&self, left: u64) -> anyhow::Result<u64> {
        ensure!(self.has_power(), "only a disk of its own can be filled");
        let ballast = File::create(self.mount.join(BALLAST))?;
        let mut taken = 0;
        // Halving steps, so that what is left in the end is less than a block.
        let mut step = 64 << 20;
        while step >= 4096 {
            if self.free()? < left.saturating_add(step) && left > 0 {
                step /= 2;
                continue;
            }
            let flags = rustix::fs::FallocateFlags::empty();
            match rustix::fs::fallocate(&ballast, flags, taken, step) {
                Ok(()) => taken += step,
                Err(rustix::io::Errno::NOSPC) => step /= 2,
                Err(error) => return Err(error).context("fill the disk"),
            }
        }
        Ok(taken)
    }

    /// Makes the room free again.
    pub fn empty(&self) -> anyhow::Result<()> {
        match fs::remove_file(self.mount.join(BALLAST)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("remove the ballast")
            }
            _ => Ok(()),
        }
    }

    /// Bytes that can still be written.
    pub fn free(&self) -> anyhow::Result<u64> {
        let stat = rustix::fs::statvfs(&self.mount)?;
        Ok(stat.f_bavail * stat.f_frsize)
    }

    /// Removes the disk with all that is on it.
    pub(crate) fn remove(self) {
        let (mount, image) = (self.mount.clone(), self.image.clone());
        drop(self);
        let _ = fs::remove_dir_all(mount);
        if let Some(image) = image {
            let _ = fs::remove_file(image);
        }
    }

    /// Forgets everything on it.
    pub fn wipe(&self) -> anyhow::Result<()> {
        match fs::remove_dir_all(&self.data) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove {}", self.data.display()))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.image.is_some() {
            // The sandbox's end would unmount it too; a lazy one cannot fail for a file still open.
            let _ = run(Command::new("umount").arg("-l").arg(&self.mount));
        }
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let done = command.output().with_context(|| format!("run {command:?}"))?;
    if !done.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(())
}
