//! The `kqueue` command.

fn main() -> std::process::ExitCode {
    kqueue::main()
}
