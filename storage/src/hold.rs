//! When RocksDB may delete files, decided by us.
//!
//! RocksDB unlinks a table or log on its own threads as soon as its manifest no
//! longer needs the file. Until the inventory covers that manifest the file may be all that is left of acknowledged
//! entries, so deletions are held for the whole life of the store, and let go for a moment after each new inventory.
//! The crate `rocksdb` lends the pointer, the two functions are of RocksDB's C interface (`rocksdb/c.h`).

use std::ffi::{CStr, c_char, c_void};
use std::ptr;

use rocksdb::{AsRawPtr, DB};

#[expect(unsafe_code, reason = "the crate has no safe function for it")]
unsafe extern "C" {
    fn rocksdb_disable_file_deletions(db: *mut c_void, error: *mut *mut c_char);
    fn rocksdb_enable_file_deletions(db: *mut c_void, error: *mut *mut c_char);
    fn rocksdb_free(pointer: *mut c_void);
}

/// From now on nothing is deleted.
#[expect(unsafe_code, reason = "see above")]
pub(crate) fn hold(db: &DB) -> Result<(), String> {
    let mut error = ptr::null_mut();
    // SAFETY: the pointer is that of an open database, which outlives the call.
    unsafe { rocksdb_disable_file_deletions(db.as_raw_ptr().cast(), &raw mut error) };
    said(error)
}

/// Deletes what is held and not needed any more, in the calling thread, and holds again.
#[expect(unsafe_code, reason = "see above")]
pub(crate) fn let_go(db: &DB) -> Result<(), String> {
    let mut error = ptr::null_mut();
    // SAFETY: the pointer is that of an open database, which outlives the call.
    unsafe { rocksdb_enable_file_deletions(db.as_raw_ptr().cast(), &raw mut error) };
    said(error)?;
    hold(db)
}

/// What the C interface has to say: nothing, or a text that is ours to free.
#[expect(unsafe_code, reason = "see above")]
fn said(error: *mut c_char) -> Result<(), String> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: RocksDB gives a terminated string, allocated by itself, once.
    let text = unsafe { CStr::from_ptr(error) }.to_string_lossy().into_owned();
    // SAFETY: as above; it is not used again.
    unsafe { rocksdb_free(error.cast()) };
    Err(text)
}
