//! Access control by the peer credentials of the kernel.

use std::path::Path;

use kqueue_system::proc::Status;

/// Peer credentials, as of the time of connecting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// Which peers are allowed besides root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// This user.
    pub uid: u32,
    /// Members of this group.
    pub gid: Option<u32>,
}

impl Rule {
    /// Whether this peer is allowed.
    pub fn allows(self, peer: Peer) -> bool {
        let member = |gid: u32| peer.gid == gid || groups_of(Path::new("/proc"), peer).contains(&gid);
        peer.uid == 0 || peer.uid == self.uid || self.gid.is_some_and(member)
    }
}

/// The supplementary groups of a peer's process; none if it has exited. The kernel has already checked them if the
/// file's mode let the peer in: this is a second check.
fn groups_of(proc: &Path, peer: Peer) -> Vec<u32> {
    let Some(status) = Status::below(proc, peer.pid) else { return Vec::new() };
    let field = |name: &str| -> Option<Vec<u32>> {
        status.numbers(name)?.into_iter().map(|number| u32::try_from(number).ok()).collect()
    };
    // If the user differs, the process id has been reused.
    let same = field("Uid").is_some_and(|uids| uids.get(1) == Some(&peer.uid));
    if same { field("Groups").unwrap_or_default() } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn who_may() {
        // No such process: it has no supplementary groups.
        let peer = |uid, gid| Peer { pid: i32::MAX, uid, gid };
        let rule = Rule { uid: 1000, gid: Some(77) };
        assert!(rule.allows(peer(0, 0)));
        assert!(rule.allows(peer(1000, 1000)));
        assert!(rule.allows(peer(1001, 77)));
        assert!(!rule.allows(peer(1001, 1001)));
        assert!(!Rule { gid: None, ..rule }.allows(peer(1001, 77)));
        assert!(Rule { gid: None, ..rule }.allows(peer(0, 77)));
    }

    #[test]
    fn other_groups_count_while_the_process_is_still_the_same_users() {
        let proc = tempfile::tempdir().unwrap();
        let dir = proc.path().join("42");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("status"), "Name:\tx\nUid:\t1001\t1002\t1001\t1001\nGroups:\t4 77 1001 \n").unwrap();
        let peer = Peer { pid: 42, uid: 1002, gid: 1002 };
        assert_eq!(groups_of(proc.path(), peer), [4, 77, 1001]);
        assert!(groups_of(proc.path(), Peer { uid: 1001, ..peer }).is_empty());
        assert!(groups_of(proc.path(), Peer { pid: 43, ..peer }).is_empty());
    }
}
