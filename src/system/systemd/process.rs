//! Processes: references to them that do not follow a reused id, their users, and their unit's cgroup.

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::proc;

/// Opens a pidfd, which keeps referring to this process when its id is reused. `None` when the process is gone.
pub fn hold(pid: i32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid.max(0))?, PidfdFlags::empty()).ok()
}

/// Whether the process has not ended.
pub fn is_alive(pidfd: &OwnedFd) -> bool {
    // A pidfd is readable once the process has ended.
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&now)) == Ok(0)
}

/// The user of a process: `None` when it is gone, or when its real, effective and saved users differ.
pub fn user(pid: i32) -> Option<u32> {
    let users = proc::Status::of(pid)?.numbers("Uid")?;
    let first = *users.first()?;
    users.iter().all(|user| *user == first).then(|| u32::try_from(first).ok()).flatten()
}

/// Whether a process is in the cgroup of this unit. Only the last component counts: a user's own cgroups above it can
/// have any name.
pub fn is_in(pid: i32, unit: &str) -> bool {
    proc::cgroup(pid).is_some_and(|path| path.rsplit('/').next() == Some(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_ours() {
        let pid = std::process::id() as i32;
        assert_eq!(user(pid), Some(nix::unistd::geteuid().as_raw()));
        assert!(is_alive(&hold(pid).unwrap()));
        assert_eq!((user(-1), user(i32::MAX), hold(0).is_none() && hold(-1).is_none()), (None, None, true));
    }

    #[test]
    fn a_process_that_ended_is_known_to_have() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let held = hold(child.id() as i32).unwrap();
        child.wait().unwrap();
        assert!(!is_alive(&held));
    }
}
