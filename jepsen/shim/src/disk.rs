//! Syncs and writes.

use std::ffi::{CStr, c_void};
use std::time::{Duration, Instant};

use libc::{c_int, c_uint, iovec, off_t, size_t, ssize_t};

use crate::control::{count, fail, synced, wanted};
use crate::layout::Slot;

/// Between two looks at whether a delay is still wanted.
const LOOK: Duration = Duration::from_millis(20);

/// What comes before a sync: a delay, and an error or a lie in its stead.
fn before_sync() -> Option<c_int> {
    delay();
    let errno = wanted(Slot::SyncError);
    if errno != 0 {
        count(Slot::SyncsFailed);
        return Some(fail(errno));
    }
    if wanted(Slot::SyncLie) != 0 {
        count(Slot::SyncsLied);
        return Some(0);
    }
    None
}

/// Waits for as long as the tester wants. Waiting for a minute ends at once when the tester wants no delay any more.
fn delay() {
    if wanted(Slot::SyncDelay) == 0 {
        return;
    }
    count(Slot::SyncsDelayed);
    let started = Instant::now();
    loop {
        let delay = Duration::from_micros(wanted(Slot::SyncDelay));
        let rest = delay.saturating_sub(started.elapsed());
        if rest.is_zero() {
            return;
        }
        std::thread::sleep(rest.min(LOOK));
    }
}

fn sync(file: c_int, call: libc::c_long) -> c_int {
    count(Slot::Syncs);
    // What was written before the call is durable after it; what comes meanwhile may not be.
    let wal = wal(file);
    if let Some(result) = before_sync() {
        return result;
    }
    // SAFETY: a system call on the caller's descriptor.
    let result = unsafe { libc::syscall(call, file) } as c_int;
    if let (0, Some((number, length))) = (result, wal) {
        synced(number, length);
    }
    result
}

/// The number and length of a write-ahead log, `000123.log`; None if this file is none.
fn wal(file: c_int) -> Option<(u64, u64)> {
    let mut link = [0_u8; 4096];
    let name = format!("/proc/self/fd/{file}\0");
    let name = CStr::from_bytes_with_nul(name.as_bytes()).ok()?;
    // SAFETY: the buffer is as long as said.
    let length = unsafe { libc::readlink(name.as_ptr(), link.as_mut_ptr().cast(), link.len()) };
    let path = std::str::from_utf8(link.get(..usize::try_from(length).ok()?)?).ok()?;
    let number = path.rsplit('/').next()?.strip_suffix(".log")?.parse().ok()?;
    // SAFETY: zeroes are a valid stat, and fstat fills it.
    let stat = unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        if libc::fstat(file, &raw mut stat) != 0 {
            return None;
        }
        stat
    };
    Some((number, u64::try_from(stat.st_size).ok()?))
}

/// See fsync(2).
#[unsafe(no_mangle)]
pub extern "C" fn fsync(file: c_int) -> c_int {
    sync(file, libc::SYS_fsync)
}

/// See fdatasync(2).
#[unsafe(no_mangle)]
pub extern "C" fn fdatasync(file: c_int) -> c_int {
    sync(file, libc::SYS_fdatasync)
}

/// See sync_file_range(2): a hint to the device, which is slow but cannot fail here.
#[unsafe(no_mangle)]
pub extern "C" fn sync_file_range(file: c_int, at: off_t, length: off_t, flags: c_uint) -> c_int {
    delay();
    // SAFETY: a system call on the caller's descriptor.
    unsafe { libc::syscall(libc::SYS_sync_file_range, file, at, length, flags) as c_int }
}

/// See fallocate(2).
#[unsafe(no_mangle)]
pub extern "C" fn fallocate(file: c_int, mode: c_int, at: off_t, length: off_t) -> c_int {
    if wanted(Slot::NoPreallocation) != 0 {
        return fail(u64::from(libc::EOPNOTSUPP.unsigned_abs()));
    }
    // SAFETY: a system call on the caller's descriptor.
    unsafe { libc::syscall(libc::SYS_fallocate, file, mode, at, length) as c_int }
}

/// See fallocate(2).
#[unsafe(no_mangle)]
pub extern "C" fn fallocate64(file: c_int, mode: c_int, at: off_t, length: off_t) -> c_int {
    fallocate(file, mode, at, length)
}

/// Whether a write to this file is to fail. Standard streams are spared: the log is how a broker says why it ends.
fn refuse(file: c_int) -> bool {
    let errno = wanted(Slot::WriteError);
    if errno == 0 || file <= 2 {
        return false;
    }
    // SAFETY: zeroes are a valid stat, and fstat fills it.
    let regular = unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        libc::fstat(file, &raw mut stat) == 0 && stat.st_mode & libc::S_IFMT == libc::S_IFREG
    };
    if regular {
        count(Slot::WritesFailed);
        fail(errno);
    }
    regular
}

/// See write(2).
///
/// # Safety
/// `bytes` points to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(file: c_int, bytes: *const c_void, length: size_t) -> ssize_t {
    if refuse(file) {
        return -1;
    }
    // SAFETY: the caller's pointer goes to the kernel as it is.
    unsafe { libc::syscall(libc::SYS_write, file, bytes, length) as ssize_t }
}

/// See writev(2).
///
/// # Safety
/// `parts` points to `count` parts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn writev(file: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    if refuse(file) {
        return -1;
    }
    // SAFETY: the caller's pointer goes to the kernel as it is.
    unsafe { libc::syscall(libc::SYS_writev, file, parts, count) as ssize_t }
}

/// See pwrite(2).
///
/// # Safety
/// `bytes` points to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite(
    file: c_int,
    bytes: *const c_void,
    length: size_t,
    at: off_t,
) -> ssize_t {
    if refuse(file) {
        return -1;
    }
    // SAFETY: the caller's pointer goes to the kernel as it is.
    unsafe { libc::syscall(libc::SYS_pwrite64, file, bytes, length, at) as ssize_t }
}

/// See pwrite(2).
///
/// # Safety
/// `bytes` points to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(
    file: c_int,
    bytes: *const c_void,
    length: size_t,
    at: off_t,
) -> ssize_t {
    // SAFETY: the same call.
    unsafe { pwrite(file, bytes, length, at) }
}
