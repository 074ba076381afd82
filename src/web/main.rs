//! The `kqueue-web` command.

fn main() -> std::process::ExitCode {
    kqueue_web::main()
}
