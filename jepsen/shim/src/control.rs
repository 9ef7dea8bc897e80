//! The control file, mapped.

use std::ffi::{CStr, CString};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use crate::layout::{SIZE, Slot, VARIABLE, WALS};

static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(null_mut());

/// Maps the file when the library is loaded, before `main` and before any thread.
#[used]
#[unsafe(link_section = ".init_array")]
static LOAD: extern "C" fn() = load;

extern "C" fn load() {
    let Ok(name) = CString::new(VARIABLE) else { return };
    // SAFETY: the file stays mapped for the process's life, and is as long as the mapping.
    unsafe {
        let path = libc::getenv(name.as_ptr());
        if path.is_null() {
            return;
        }
        let file = libc::open(CStr::from_ptr(path).as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        if file < 0 {
            return;
        }
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let page = libc::mmap(null_mut(), SIZE, protection, libc::MAP_SHARED, file, 0);
        libc::close(file);
        if page != libc::MAP_FAILED {
            PAGE.store(page.cast(), Ordering::Release);
        }
    }
    count(Slot::Loaded);
}

fn at(position: usize) -> Option<&'static AtomicU64> {
    let page = PAGE.load(Ordering::Acquire);
    if page.is_null() || position >= SIZE / 8 {
        return None;
    }
    // SAFETY: within the page, which stays mapped.
    Some(unsafe { &*page.add(position) })
}

/// What the tester wants; 0 when there is no tester.
pub(crate) fn wanted(slot: Slot) -> u64 {
    at(slot as usize).map_or(0, |number| number.load(Ordering::Relaxed))
}

/// The same for numbers with a sign.
pub(crate) fn wanted_signed(slot: Slot) -> i64 {
    wanted(slot).cast_signed()
}

pub(crate) fn count(slot: Slot) {
    if let Some(number) = at(slot as usize) {
        number.fetch_add(1, Ordering::Relaxed);
    }
}

/// Notes how long a write-ahead log was when it was synced.
pub(crate) fn synced(wal: u64, length: u64) {
    let place = Slot::Wals as usize + (wal as usize % WALS) * 2;
    if let (Some(number), Some(at)) = (at(place), at(place + 1)) {
        if number.swap(wal, Ordering::AcqRel) == wal {
            at.fetch_max(length, Ordering::AcqRel);
        } else {
            at.store(length, Ordering::Release);
        }
    }
}

/// Sets errno and returns what a failed call returns.
pub(crate) fn fail(errno: u64) -> i32 {
    // SAFETY: errno is this thread's own.
    unsafe { *libc::__errno_location() = i32::try_from(errno).unwrap_or(libc::EIO) };
    -1
}
