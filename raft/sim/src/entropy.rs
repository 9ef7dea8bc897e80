//! The system's randomness, replaced by a stream that follows from the seed.
//!
//! The keys of the standard library's hash maps, tokio's `select!` and the election timeouts of the
//! consensus core all come from `getrandom(2)` in the end, each through its own library. Defining
//! the symbol in this program puts one seeded stream under all of them, which no setting of theirs
//! could do; it is also why a process runs one seed only. The test that runs a seed twice would
//! notice a source that was forgotten.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use quorate_storage::simulation::Random;

/// State of the stream; the seed before the first call.
static STREAM: AtomicU64 = AtomicU64::new(0);
/// Bytes handed out.
static TAKEN: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Whether this thread belongs to the simulation. Others get bytes too, but leave the stream
    /// alone.
    static SIMULATED: Cell<bool> = const { Cell::new(false) };
}

/// Begins the stream of a seed and makes this thread the one that draws from it.
pub fn begin(seed: u64) {
    STREAM.store(Random::new(seed).bits(), Ordering::Relaxed);
    SIMULATED.set(true);
}

/// Bytes the simulation has drawn: 0 would mean that the symbol is not in effect.
pub fn taken() -> u64 {
    TAKEN.load(Ordering::Relaxed)
}

fn word() -> u64 {
    if !SIMULATED.try_with(Cell::get).unwrap_or(false) {
        return 0x5851_f42d_4c95_7f2d;
    }
    TAKEN.fetch_add(8, Ordering::Relaxed);
    let mut random = Random::new(STREAM.load(Ordering::Relaxed));
    let word = random.bits();
    STREAM.store(random.bits(), Ordering::Relaxed);
    word
}

/// In place of `getrandom(2)`: fills the buffer and says so.
///
/// # Safety
/// As for the system call: `buffer` points to `length` writable bytes.
#[expect(unsafe_code, reason = "the symbol can only be replaced by defining it")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    let mut written = 0;
    while written < length {
        let bytes = word().to_le_bytes();
        let count = bytes.len().min(length - written);
        // SAFETY: the caller vouches for `length` bytes, and `written + count` is at most that.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.add(written), count) };
        written += count;
    }
    length.cast_signed()
}
