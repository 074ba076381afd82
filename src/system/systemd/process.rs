//! Processes, as `/proc` shows them: whose they are, and in which unit's cgroup.

use std::fs;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// Holds on to a process, so that its number cannot come to mean another one. None when it is gone.
pub fn hold(pid: i32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}

/// Whether the process held has not ended.
pub fn is_alive(pidfd: &OwnedFd) -> bool {
    // It can be read from once the process has ended.
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&now)) == Ok(0)
}

/// The user of a process: none when it is gone, or when its real, effective and saved users are not the same.
pub fn user(pid: i32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let mut users = line.split_whitespace().map(str::parse::<u32>);
    let first = users.next()?.ok()?;
    users.all(|user| user == Ok(first)).then_some(first)
}

/// The cgroup that systemd has a process in, from the root of its hierarchy.
pub fn cgroup(pid: i32) -> Option<String> {
    cgroup_in(&fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?)
}

/// On a host with cgroup v1 beside v2, systemd's own tree is the one called `name=systemd`.
fn cgroup_in(lines: &str) -> Option<String> {
    let of = |kind: &str| {
        lines.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (name, path) = rest.split_once(':')?;
            (name == kind).then(|| path.to_owned())
        })
    };
    of("name=systemd").or_else(|| of(""))
}

/// Whether a process is in the cgroup of this unit. What is above it may bear any name, where it is a user's own.
pub fn is_in(pid: i32, unit: &str) -> bool {
    cgroup(pid).is_some_and(|path| path.rsplit('/').next() == Some(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_of_both_kinds() {
        let hybrid = "12:pids:/x\n1:name=systemd:/kqueue.slice/kqueue-shop-a.scope\n0::/other\n";
        assert_eq!(cgroup_in(hybrid).as_deref(), Some("/kqueue.slice/kqueue-shop-a.scope"));
        assert_eq!(cgroup_in("0::/a:b.service\n").as_deref(), Some("/a:b.service"));
        assert_eq!(cgroup_in(""), None);
    }

    #[test]
    fn this_process_is_ours() {
        let pid = std::process::id() as i32;
        assert_eq!(user(pid), Some(nix::unistd::geteuid().as_raw()));
        assert!(is_alive(&hold(pid).unwrap()));
        assert_eq!((user(-1), user(i32::MAX), hold(0).is_none()), (None, None, true));
    }

    #[test]
    fn a_process_that_ended_is_known_to_have() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let held = hold(child.id() as i32).unwrap();
        child.wait().unwrap();
        assert!(!is_alive(&held));
    }
}
