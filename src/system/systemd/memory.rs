//! Memory of a unit, read from its cgroup while it runs. systemd reports the peak since version 256, and an OOM kill in
//! a scope not in all versions; otherwise the cgroup must have been read before it is gone.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::{Path, PathBuf};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use kqueue_core::wire::coordinator::UnitEnd;

/// The mount point of cgroup v2.
const ROOT: &str = "/sys/fs/cgroup";

/// Makes the kernel kill all processes of a cgroup when it is out of memory, if the kernel limits its memory at all.
///
/// # Errors
/// With the path of the file.
pub(super) fn group_oom(cgroup: &str) -> io::Result<()> {
    let file = Path::new(ROOT).join(cgroup.trim_start_matches('/')).join("memory.oom.group");
    if cgroup.is_empty() || !file.exists() {
        return Ok(());
    }
    fs::write(&file, "1").map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))
}

/// Memory events and peak memory of a cgroup; see the module.
#[derive(Debug)]
pub(super) struct Observation {
    directory: PathBuf,
    peak: Option<u64>,
    oom_kills: u64,
    /// Notifies of changes of `memory.events`. The number of inotify instances is limited per user; `None` where
    /// polling has to do.
    events: Option<AsyncFd<Events>>,
}

/// An inotify instance, in the form that tokio waits for.
#[derive(Debug)]
struct Events(Inotify);

impl Events {
    #[expect(
        deprecated,
        reason = "its successor is unsafe for the sake of types that lend a descriptor they may close"
    )]
    fn registered(self) -> Option<AsyncFd<Self>> {
        // This type owns its descriptor, which is the same as long as it lives.
        AsyncFd::with_interest(self, Interest::READABLE).ok()
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Observation {
    /// Observes this cgroup. `None` if the kernel does not account its memory.
    pub(super) fn of(cgroup: &str) -> Option<Self> {
        let directory = Path::new(ROOT).join(cgroup.trim_start_matches('/'));
        let file = directory.join("memory.events");
        if cgroup.is_empty() || !file.exists() {
            return None;
        }
        let flags = InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC;
        let events = Inotify::init(flags)
            .and_then(|events| events.add_watch(&file, AddWatchFlags::IN_MODIFY).map(|_| events))
            .ok()
            .and_then(|events| Events(events).registered());
        Some(Self { directory, peak: None, oom_kills: 0, events })
    }

    /// Reads the current values. Earlier values remain when the cgroup is gone.
    pub(super) fn look(&mut self) {
        if let Ok(events) = fs::read_to_string(self.directory.join("memory.events")) {
            self.oom_kills = self.oom_kills.max(oom_kills(&events));
        }
        // `memory.peak` exists since Linux 5.19; before, the highest `memory.current` seen has to do.
        let bytes = ["memory.peak", "memory.current"]
            .iter()
            .find_map(|name| fs::read_to_string(self.directory.join(name)).ok()?.trim().parse().ok());
        self.peak = self.peak.max(bytes);
    }

    /// Returns when the kernel reports an event, or never.
    pub(super) async fn wait(&mut self) {
        let Some(events) = &self.events else { return std::future::pending().await };
        match events.readable().await {
            Ok(mut ready) => {
                let _ = ready.try_io(|events| {
                    events.get_ref().0.read_events().map_err(|error| std::io::Error::from_raw_os_error(error as i32))
                });
            }
            Err(_) => self.events = None,
        }
    }

    /// Adds the observed values to those that systemd reports.
    pub(super) fn complete(self, end: &mut UnitEnd, is_scope: bool) {
        // systemd reports this correctly for a service; for a scope without OOMPolicy it depends on which process died.
        if is_scope && self.oom_kills > 0 && end.result != "timeout" {
            "oom-kill".clone_into(&mut end.result);
        }
        end.memory_peak = end.memory_peak.max(self.peak);
        if end.result == "oom-kill" {
            // The last read may have been too early, but no process is killed below the limit.
            end.memory_peak = end.memory_peak.max(end.memory_max);
        }
    }
}

/// The number of processes that the kernel killed here because memory ran out.
fn oom_kills(events: &str) -> u64 {
    let count = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words() {
        assert_eq!(oom_kills("low 0\nhigh 0\nmax 19\noom 1\noom_kill 2\noom_group_kill 0\n"), 2);
        assert_eq!(oom_kills("low 0\n"), 0);
    }

    #[test]
    fn what_was_seen_completes_what_is_told() {
        let seen = |oom_kills, peak| Observation { directory: PathBuf::new(), peak, oom_kills, events: None };
        let told =
            || UnitEnd { result: "success".to_owned(), memory_max: Some(64), memory_peak: None, ..UnitEnd::default() };
        let mut end = told();
        seen(0, Some(40)).complete(&mut end, true);
        assert_eq!((end.result.as_str(), end.memory_peak), ("success", Some(40)));
        let mut end = told();
        seen(1, Some(40)).complete(&mut end, true);
        assert_eq!((end.result.as_str(), end.memory_peak), ("oom-kill", Some(64)));
        let mut end = told();
        seen(1, None).complete(&mut end, false);
        assert_eq!((end.result.as_str(), end.memory_peak), ("success", None));
    }
}
