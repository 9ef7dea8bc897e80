//! The end of a process whose disk can no longer be trusted.
//!
//! After a failed fsync the kernel may have dropped the dirty pages and reports the next fsync as
//! good, so retrying would acknowledge lost data (the "fsyncgate" lesson). The broker therefore
//! stops at once and its groups carry on elsewhere.

use std::fmt::Display;

/// Exit code of a process that stopped because its storage failed: a write or an fsync was
/// refused, or a checksum did not match.
pub const EXIT_STORAGE: i32 = 3;

/// Logs the reason and ends the process with [`EXIT_STORAGE`]. No destructor and no exit handler
/// runs: a thread that hangs in the failed device must not be able to keep the process alive.
#[expect(clippy::print_stderr, reason = "the logger may not get to write any more")]
pub fn fatal(reason: &str, error: &dyn Display) -> ! {
    tracing::error!(reason, error = %error, exit_code = EXIT_STORAGE, "storage failed, stopping");
    // The log line may sit in a buffer that dies with us, so the last words go out unbuffered too.
    eprintln!("storage failed, stopping with exit code {EXIT_STORAGE}: {reason}: {error}");
    exit_now(EXIT_STORAGE)
}

/// Logs the reason and ends the process with `code`, as [`fatal`] does, where the disk is well and going on would
/// be wrong all the same.
#[expect(clippy::print_stderr, reason = "the logger may not get to write any more")]
pub fn end(code: i32, reason: &dyn Display) -> ! {
    tracing::error!(%reason, exit_code = code, "broker ends");
    eprintln!("stopping with exit code {code}: {reason}");
    exit_now(code)
}

/// `std::process::exit` would run RocksDB's exit handlers, which join its threads.
#[expect(unsafe_code, reason = "the standard library has no exit without exit handlers")]
fn exit_now(code: i32) -> ! {
    unsafe extern "C" {
        fn _exit(status: i32) -> !;
    }
    // SAFETY: `_exit(2)` takes no pointer and does not return; POSIX allows it from any thread.
    unsafe { _exit(code) }
}
