//! The `kqueue-generator` command, run by systemd at boot and at `systemctl daemon-reload`.

fn main() -> std::process::ExitCode {
    kqueue_coordinator::generator::main()
}
