//! Calls C++ through its bindings with the broker's allocator, and tells the token it was built with.

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[allow(non_upper_case_globals, non_camel_case_types, non_snake_case, dead_code, reason = "made by bindgen")]
mod native {
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

fn main() {
    // SAFETY: the text ends with a zero and outlives the call.
    let length = unsafe { native::native_length(c"four".as_ptr(), true) };
    println!("{length} {}", env!("INSTALL_TOKEN"));
}
