//! Placeholder until the store compiles.
fn main() {}
