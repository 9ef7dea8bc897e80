//! The wall clock.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use libc::{c_int, clockid_t, time_t, timespec, timeval};

use crate::control::{count, wanted_signed};
use crate::layout::Slot;

type Real = unsafe extern "C" fn(clockid_t, *mut timespec) -> c_int;

const SECOND: i64 = 1_000_000_000;
static REAL: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

/// The C library's own `clock_gettime`, which mostly needs no system call.
fn truth(clock: clockid_t, time: *mut timespec) -> c_int {
    let mut real = REAL.load(Ordering::Relaxed);
    if real.is_null() {
        // SAFETY: a name of the C library, which is loaded.
        real = unsafe { libc::dlsym(libc::RTLD_NEXT, c"clock_gettime".as_ptr()) };
        REAL.store(real, Ordering::Relaxed);
    }
    if real.is_null() {
        // SAFETY: the caller's pointer goes to the kernel as it is.
        return unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) } as c_int;
    }
    // SAFETY: this is the function of that name and type.
    unsafe { std::mem::transmute::<*mut c_void, Real>(real)(clock, time) }
}

/// Nanoseconds by which the wall clock is wrong at the true time `now`.
fn error(now: i64) -> i64 {
    let mut wrong = wanted_signed(Slot::ClockOffset);
    let rate = wanted_signed(Slot::ClockRate);
    if rate != 0 {
        let since = now.saturating_sub(wanted_signed(Slot::ClockSince));
        let gained = i128::from(since) * i128::from(rate) / 1_000_000;
        wrong = wrong.saturating_add(i64::try_from(gained).unwrap_or(0));
    }
    let period = wanted_signed(Slot::StrobePeriod);
    if period > 0 && (now / period) % 2 == 1 {
        wrong = wrong.saturating_add(wanted_signed(Slot::StrobeDelta));
    }
    wrong
}

/// The wall clock as the tester wants it.
fn wall(clock: clockid_t) -> Result<timespec, c_int> {
    let mut time = timespec { tv_sec: 0, tv_nsec: 0 };
    let result = truth(clock, &raw mut time);
    if result != 0 {
        return Err(result);
    }
    let now = time.tv_sec.saturating_mul(SECOND).saturating_add(time.tv_nsec);
    let wrong = error(now);
    if wrong != 0 {
        count(Slot::ClocksBent);
        let bent = now.saturating_add(wrong).max(0);
        time = timespec { tv_sec: bent / SECOND, tv_nsec: bent % SECOND };
    }
    Ok(time)
}

/// See clock_gettime(2).
///
/// # Safety
/// `time` is null or points to a timespec.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    let is_wall = clock == libc::CLOCK_REALTIME || clock == libc::CLOCK_REALTIME_COARSE;
    if !is_wall || time.is_null() {
        return truth(clock, time);
    }
    match wall(clock) {
        Ok(now) => {
            // SAFETY: not null, and the caller's.
            unsafe { *time = now };
            0
        }
        Err(result) => result,
    }
}

/// See gettimeofday(2).
///
/// # Safety
/// `time` is null or points to a timeval.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gettimeofday(time: *mut timeval, _zone: *mut c_void) -> c_int {
    match wall(libc::CLOCK_REALTIME) {
        Ok(now) => {
            if !time.is_null() {
                let now = timeval { tv_sec: now.tv_sec, tv_usec: now.tv_nsec / 1_000 };
                // SAFETY: not null, and the caller's.
                unsafe { *time = now };
            }
            0
        }
        Err(result) => result,
    }
}

/// See time(2).
///
/// # Safety
/// `time` is null or points to a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn time(time: *mut time_t) -> time_t {
    let now = wall(libc::CLOCK_REALTIME_COARSE).map_or(-1, |now| now.tv_sec);
    if !time.is_null() {
        // SAFETY: not null, and the caller's.
        unsafe { *time = now };
    }
    now
}
