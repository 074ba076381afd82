//! Free ports of the loopback.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// First port that is handed out. All are below the kernel's range for outgoing connections, so none is taken while its
/// server is down or restarting.
const FIRST: u16 = 10_000;
const COUNT: u16 = 6_000;
/// Offset of the second port that a cluster node uses.
const BESIDE: u16 = 10_000;

/// A free port, whose second port in a cluster is free, too. None is returned twice.
pub(super) fn free_port() -> u16 {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let own = (std::process::id() % 97) as u16 * 61;
    loop {
        let port = FIRST + (own + GIVEN.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free(port) && is_free(port + BESIDE) {
            return port;
        }
    }
}
