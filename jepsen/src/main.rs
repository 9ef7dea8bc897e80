//! The command `quorate-jepsen`; everything is in the library.

fn main() {}
