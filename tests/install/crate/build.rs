//! Does what compiling RocksDB does: C++ into a library, and bindings from its header.

use std::env;
use std::path::PathBuf;

fn main() {
    for cause in ["src/native.h", "src/native.cc"] {
        println!("cargo:rerun-if-changed={cause}");
    }
    println!("cargo:rerun-if-env-changed=INSTALL_TOKEN");
    cc::Build::new().cpp(true).std("c++20").file("src/native.cc").compile("native");
    let place = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names it"));
    let bindings = bindgen::Builder::default().header("src/native.h").generate().expect("bindings of native.h");
    bindings.write_to_file(place.join("bindings.rs")).expect("the bindings are written");
}
