//! Free ports of the loopback.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// What is handed out lies below the ports that the kernel gives to outgoing connections: nobody takes one while its server
/// is not up, or is started again.
const FIRST: u16 = 10_000;
const COUNT: u16 = 6_000;
/// A cluster's nodes use this port too, so far above their own.
const BESIDE: u16 = 10_000;

/// A port that is free, and so is the one that a cluster's nodes use beside it. None is given twice.
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
