//! A library that a broker is started with (`LD_PRELOAD`) and that stands in for the C library's calls which sync,
//! write and tell the time, so that the tester can make them fail, take long, lie or be wrong, and see that they did.
//!
//! Everything is off until the tester writes into the control file (`layout`). Only the wall clock is bent, never
//! the monotonic one: timers would hang.
//!
//! Each call is made by its system call, so that nothing here depends on the order in which libraries are found;
//! except for the clock, whose fast path is the C library's own.
#![expect(unsafe_code, reason = "it defines C functions and maps a shared page")]

mod clock;
mod control;
mod disk;
mod layout;
