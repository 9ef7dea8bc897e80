//! The command `quorate-jepsen`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    quorate_jepsen::cli::main()
}
