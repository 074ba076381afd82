//! Process trees, as `/proc` shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::LazyLock;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::proc;

/// Maximum number of ancestors that are followed.
const GENERATIONS: usize = 32;
/// Maximum number of passes over a tree that forks while it is being stopped.
const ROUNDS: usize = 8;

/// The parent of each process that exists now. Zombies are left out. Reads all of `/proc`.
pub fn snapshot() -> BTreeMap<i32, i32> {
    proc::all().filter_map(|pid| Some((pid, living_parent(pid)?))).collect()
}

/// The live processes with this variable in their initial environment: `NAME=value`.
pub fn with_variable(variable: &str) -> Vec<i32> {
    proc::all().filter(|pid| is_alive(*pid) && proc::has_variable(*pid, variable)).collect()
}

/// The parent of a live process; `None` for a zombie.
fn living_parent(pid: i32) -> Option<i32> {
    proc::stat(pid).filter(|stat| stat.lives).map(|stat| stat.parent)
}

/// The result of `which` for the nearest of `pid` and its ancestors that it knows.
pub fn ancestor_among<T>(pid: i32, which: impl Fn(i32) -> Option<T>) -> Option<T> {
    let mut at = pid;
    for _ in 0..GENERATIONS {
        if at <= 1 {
            return None;
        }
        if let Some(found) = which(at) {
            return Some(found);
        }
        at = proc::stat(at)?.parent;
    }
    None
}

/// Whether a process exists and is no zombie.
pub fn is_alive(pid: i32) -> bool {
    living_parent(pid).is_some()
}

/// Whether a process exists, if only as a zombie.
pub fn is_there(pid: i32) -> bool {
    proc::stat(pid).is_some()
}

/// Whether `pid` is `ancestor` or was started by it, directly or not.
pub fn descends_from(pid: i32, ancestor: i32) -> bool {
    let mut at = pid;
    for _ in 0..GENERATIONS {
        if at == ancestor {
            return true;
        }
        match living_parent(at) {
            Some(parent) if parent > 0 => at = parent,
            _ => return false,
        }
    }
    false
}

/// Finds the children of processes: of one process at a time where the kernel lists them (`CONFIG_PROC_CHILDREN`), else
/// from a snapshot of all processes.
#[derive(Debug)]
pub struct Family {
    parents: Option<BTreeMap<i32, i32>>,
}

impl Family {
    /// The current state.
    pub fn now() -> Self {
        static CAN_TELL: LazyLock<bool> =
            LazyLock::new(|| fs::metadata("/proc/thread-self/children").is_ok_and(|file| file.is_file()));
        Self { parents: (!*CAN_TELL).then(snapshot) }
    }

    fn children(&self, parent: i32) -> Vec<i32> {
        match &self.parents {
            Some(parents) => parents.iter().filter(|(_, of)| **of == parent).map(|(pid, _)| *pid).collect(),
            None => proc::children(parent),
        }
    }

    /// `root` and its descendants.
    pub fn tree(&self, root: i32) -> Vec<i32> {
        let mut found = vec![root];
        let mut seen = BTreeSet::from([root]);
        let mut at = 0;
        while let Some(parent) = found.get(at).copied() {
            // A process that gets another parent meanwhile may be found twice.
            found.extend(self.children(parent).into_iter().filter(|pid| seen.insert(*pid)));
            at += 1;
        }
        found
    }
}

/// Kills a process and its descendants. All of them are stopped first, so that none forks.
pub fn kill_tree(root: i32) {
    let mut stopped = BTreeSet::new();
    for _ in 0..ROUNDS {
        let new: Vec<i32> = Family::now().tree(root).into_iter().filter(|pid| stopped.insert(*pid)).collect();
        if new.is_empty() {
            break;
        }
        for pid in new {
            let _ = kill(Pid::from_raw(pid), Signal::SIGSTOP);
        }
    }
    for pid in stopped {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// Memory of a process tree in KiB: anonymous and shared memory, without mapped files. Pages that a fork shares with
/// its parent count for both: telling them apart is expensive.
pub fn memory_kb(root: i32, family: &Family) -> u64 {
    family.tree(root).into_iter().filter_map(own_memory_kb).sum()
}

fn own_memory_kb(pid: i32) -> Option<u64> {
    let status = proc::Status::of(pid)?;
    let field = |name: &str| status.numbers(name)?.first().copied();
    Some(field("RssAnon")? + field("RssShmem").unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_tree_is_found_and_killed_whole() {
        // A shell that starts a shell that starts a `sleep`, so that `sleep` is not a child of the first one.
        let mut child = Command::new("sh").args(["-c", "sh -c 'sleep 1000 & wait' & wait"]).spawn().unwrap();
        let root = child.id() as i32;
        let below = loop {
            let below = Family::now().tree(root);
            if below.len() == 3 {
                break below;
            }
        };
        // Both ways give the same tree.
        let mut looked = Family { parents: Some(snapshot()) }.tree(root);
        looked.sort_unstable();
        let mut told = below.clone();
        told.sort_unstable();
        assert_eq!(looked, told);
        assert!(below.iter().all(|pid| descends_from(*pid, root)));
        assert!(descends_from(root, std::process::id() as i32));
        assert!(!descends_from(std::process::id() as i32, root));
        let known = |pid| (pid == root).then_some("root");
        assert_eq!(ancestor_among(below[2], known), Some("root"));
        assert_eq!(ancestor_among(std::process::id() as i32, known), None);
        assert!(memory_kb(root, &Family::now()) > 0);
        kill_tree(root);
        child.wait().unwrap();
        // The kernel needs some time to remove killed processes.
        while below.iter().any(|pid| is_alive(*pid)) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_forks_all_the_time_is_killed_whole() {
        let mark = format!("KQUEUE_TEST_TREE={}", std::process::id());
        let marked = || with_variable(&mark).len();
        let forks = "f() { sleep 1000 & [ $1 -lt 60 ] && f $(($1 + 1)) & wait; }; f 0";
        let (name, value) = mark.split_once('=').unwrap();
        let mut child = Command::new("sh").args(["-c", forks]).env(name, value).spawn().unwrap();
        let root = child.id() as i32;
        while Family::now().tree(root).len() < 20 {}
        kill_tree(root);
        child.wait().unwrap();
        let began = std::time::Instant::now();
        while marked() > 0 {
            assert!(began.elapsed().as_secs() < 10, "{} got away", marked());
        }
    }
}
