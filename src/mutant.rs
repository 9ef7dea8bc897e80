//! The broker with a defect to choose from, see `quorate_storage::mutant`; not built without its feature.

fn main() -> std::process::ExitCode {
    quorate::cli::main()
}
