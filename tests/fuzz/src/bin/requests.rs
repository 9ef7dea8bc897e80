//! libFuzzer's way into the decoder of requests; see `requests.rs` of the library.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: quorate_fuzz::seeds::write(quorate_fuzz::seeds::requests()),
    |bytes: &[u8]| quorate_fuzz::requests::judge(bytes)
);
