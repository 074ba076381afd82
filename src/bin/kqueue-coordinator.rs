//! The `kqueue-coordinator` command.

fn main() -> std::process::ExitCode {
    kqueue::coordinator::main()
}
