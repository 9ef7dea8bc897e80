//! libFuzzer's way into the gate for record batches; see `batches.rs` of the library.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: quorate_fuzz::seeds::write(quorate_fuzz::seeds::batches()),
    |bytes: &[u8]| quorate_fuzz::batches::judge(bytes)
);
