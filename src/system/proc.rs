//! Reads `/proc` files of one process.

use std::fs;
use std::path::Path;

/// Fields of `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The parent's process id.
    pub parent: i32,
    /// Whether it is alive, not a zombie.
    pub lives: bool,
    /// Whether it has a controlling terminal.
    pub has_terminal: bool,
}

/// The state of a process; `None` when it is gone.
pub fn stat(pid: i32) -> Option<Stat> {
    stat_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn stat_in(line: &str) -> Option<Stat> {
    // The name in parentheses may contain anything; the fields after the last parenthesis do not contain any.
    let mut fields = line.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    // The process group and the session come before it.
    let terminal = fields.nth(2)?;
    Some(Stat { parent, lives: !matches!(state, "Z" | "X"), has_terminal: terminal != "0" })
}

/// Processor time in microseconds of a process and of its children that have been reaped.
pub fn cpu_usec(pid: i32) -> Option<u64> {
    cpu_usec_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn cpu_usec_in(line: &str) -> Option<u64> {
    // `utime`, `stime`, `cutime` and `cstime`, which Linux counts in hundredths of a second.
    let fields = line.rsplit_once(") ")?.1.split(' ').skip(11).take(4);
    fields.map(|ticks| ticks.parse::<u64>().ok()).sum::<Option<u64>>().map(|ticks| ticks * 10_000)
}

/// `/proc/PID/status`, a line for each field.
#[derive(Debug)]
pub struct Status(String);

impl Status {
    /// Reads that of a process; `None` when it is gone.
    pub fn of(pid: i32) -> Option<Self> {
        Self::below(Path::new("/proc"), pid)
    }

    /// As [`Status::of`], with `/proc` at another path.
    pub fn below(proc: &Path, pid: i32) -> Option<Self> {
        fs::read_to_string(proc.join(pid.to_string()).join("status")).ok().map(Self)
    }

    /// The numbers of a field, such as `Uid`, up to the first word that is not a number.
    pub fn numbers(&self, field: &str) -> Option<Vec<u64>> {
        let named = |line: &str| line.strip_prefix(field)?.strip_prefix(':').map(str::to_owned);
        let words = self.0.lines().find_map(named)?;
        Some(words.split_whitespace().map_while(|word| word.parse().ok()).collect())
    }
}

/// Whether the kernel limits the memory of cgroups: whether version 2 has its controller.
pub fn limits_memory() -> bool {
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    controllers.split_whitespace().any(|name| name == "memory")
}

/// The cgroup of a process in systemd's hierarchy, from its root.
pub fn cgroup(pid: i32) -> Option<String> {
    cgroup_in(&fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?)
}

/// On a host with cgroup v1 beside v2, systemd's hierarchy is the one called `name=systemd`.
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

/// Whether a process has this variable in its initial environment: `NAME=value`.
pub fn has_variable(pid: i32, variable: &str) -> bool {
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|found| found == variable.as_bytes()))
}

/// The children of all threads of a process, zombies included.
pub fn children(parent: i32) -> Vec<i32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{parent}/task")) else { return Vec::new() };
    let lists = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// The ids of all processes.
pub fn all() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = |line| stat_in(line).map(|stat| (stat.parent, stat.lives, stat.has_terminal));
        assert_eq!(stat("42 (a) S 1) R 7 42 42 34816 42"), Some((7, true, true)));
        assert_eq!(stat("42 (php) Z 1 42 42 0 -1"), Some((1, false, false)));
        assert_eq!(stat("42 (php"), None);
        let line = "42 (a) b) S 1 42 42 0 -1 4194560 100 0 1 0 12 3 40 5 20 0 1 0";
        assert_eq!((cpu_usec_in(line), cpu_usec_in("42 (php")), (Some(600_000), None));
        let own = super::stat(std::process::id() as i32);
        assert!(own.is_some_and(|own| own.lives && own.parent > 0));
    }

    #[test]
    fn fields_of_a_status() {
        let status = Status("Name:\tUid: 3\nUid:\t1001\t1002\nGroups:\t4 77 \nRssAnon:\t  5120 kB\n".to_owned());
        assert_eq!(status.numbers("Uid"), Some(vec![1001, 1002]));
        assert_eq!(status.numbers("Groups"), Some(vec![4, 77]));
        assert_eq!(status.numbers("RssAnon"), Some(vec![5120]));
        assert_eq!(status.numbers("RssShmem"), None);
    }

    #[test]
    fn cgroups_of_both_kinds() {
        let hybrid = "12:pids:/x\n1:name=systemd:/kqueue.slice/kqueue-shop-a.scope\n0::/other\n";
        assert_eq!(cgroup_in(hybrid).as_deref(), Some("/kqueue.slice/kqueue-shop-a.scope"));
        assert_eq!(cgroup_in("0::/a:b.service\n").as_deref(), Some("/a:b.service"));
        assert_eq!(cgroup_in(""), None);
    }
}
