//! What the compiler cannot check: the only unsafe code of all programs.
#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

use libsystemd::activation::FileDescriptor;

/// A descriptor that systemd has handed over, as one that closes itself.
pub(crate) fn owned(received: FileDescriptor) -> OwnedFd {
    // SAFETY: it is open (libsystemd has just looked at it and set its close-on-exec flag), and it is ours alone: systemd opened
    // it for this process, `LISTEN_PID` says so, and `activation` receives once.
    unsafe { OwnedFd::from_raw_fd(received.into_raw_fd()) }
}

/// Gives free memory of the heap back to the system, wherever in it that is: what the C library does by itself concerns its end
/// alone. Takes about a millisecond for each 10 MB. Does nothing with a C library other than glibc.
pub fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it may be called at any time, by any thread, and takes no pointer.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

#[cfg(test)]
#[cfg(target_env = "gnu")]
mod tests {
    use super::*;

    /// KiB of this process that are nobody else's.
    fn resident() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim_end_matches("kB").trim().parse().unwrap()
    }

    #[test]
    fn what_lies_between_things_in_use_is_given_back() {
        let all: Vec<Vec<u8>> = (0..40_000).map(|_| vec![7; 1_000]).collect();
        // Every hundredth stays, so the end of the heap stays where it is.
        let kept: Vec<Vec<u8>> = all.into_iter().step_by(100).collect();
        let before = resident();
        give_memory_back();
        let after = resident();
        assert!(after + 30_000 < before, "{before} KiB, then {after} KiB");
        assert_eq!(kept.len(), 400);
    }
}
