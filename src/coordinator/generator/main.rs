//! The generator that systemd runs at boot and at `systemctl daemon-reload`.

fn main() -> std::process::ExitCode {
    kqueue_coordinator::generator::main()
}
