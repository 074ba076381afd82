//! The `kqueue-coordinator` command.

fn main() -> std::process::ExitCode {
    kqueue_coordinator::main()
}
