//! Code that the compiler cannot check: the only unsafe code of all programs.
#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

use libsystemd::activation::FileDescriptor;

/// A descriptor passed by systemd, as one that is closed on drop.
pub(crate) fn owned(received: FileDescriptor) -> OwnedFd {
    // SAFETY: it is open (libsystemd has just checked it and set its close-on-exec flag), and nothing else owns it:
    // systemd opened it for this process (`LISTEN_PID`), and `activation` receives once.
    unsafe { OwnedFd::from_raw_fd(received.into_raw_fd()) }
}

/// Returns free memory of the heap to the system, wherever it is in the heap: the C library itself does so only at the
/// heap's end. Takes about a millisecond per 10 MB. Does nothing with a C library other than glibc.
pub fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it may be called at any time, from any thread, and takes no pointer.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

/// Unmaps the program's code; pages that are still executed are read from the file again. Otherwise code that ran only
/// at the start counts as memory of the process: megabytes for a large program.
pub fn unmap_code() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    if let Some((start, length)) = code(&maps, unmap_code as fn() as usize) {
        // SAFETY: the mapping is of the program's own file, which stays mapped here as long as the process lives. It is
        // private and not writable, and the program is linked without relocations in its code: no page of it differs
        // from the file.
        unsafe {
            nix::libc::madvise(start as *mut _, length, nix::libc::MADV_DONTNEED);
        }
    }
}

/// Start and length of the file mapping that contains this address and is readable and executable, but not writable.
fn code(maps: &str, address: usize) -> Option<(usize, usize)> {
    maps.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        let permissions = fields.next()?;
        let inode = fields.nth(2)?;
        ((start..end).contains(&address) && permissions == "r-xp" && inode != "0").then_some((start, end - start))
    })
}

#[cfg(test)]
#[cfg(target_env = "gnu")]
mod tests {
    use super::*;

    /// KiB of private anonymous memory of this process.
    fn resident() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim_end_matches("kB").trim().parse().unwrap()
    }

    #[test]
    fn what_lies_between_things_in_use_is_given_back() {
        let all: Vec<Vec<u8>> = (0..40_000).map(|_| vec![7; 1_000]).collect();
        // Every hundredth stays, so the end of the heap does not move.
        let kept: Vec<Vec<u8>> = all.into_iter().step_by(100).collect();
        let before = resident();
        give_memory_back();
        let after = resident();
        assert!(after + 30_000 < before, "{before} KiB, then {after} KiB");
        assert_eq!(kept.len(), 400);
    }

    /// KiB of the mapping at `start` that are in this process's page tables.
    fn mapped(start: usize) -> u64 {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let (_, mapping) = smaps.split_once(&format!("{start:x}-")).unwrap();
        let line = mapping.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
        line.trim_end_matches("kB").trim().parse().unwrap()
    }

    #[test]
    fn code_is_unmapped_and_runs_on() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let (start, length) = code(&maps, mapped as fn(usize) -> u64 as usize).unwrap();
        // SAFETY: as above; it reads all pages of the mapping.
        let all = unsafe { nix::libc::madvise(start as *mut _, length, nix::libc::MADV_POPULATE_READ) };
        assert_eq!(all, 0);
        let before = mapped(start);
        unmap_code();
        let after = mapped(start);
        assert!(after < before, "{before} KiB, then {after} KiB");
    }

    #[test]
    fn only_a_mapping_of_a_file_that_nobody_writes_to_is_code() {
        let maps = "1000-2000 r-xp 00000000 fe:00 12 /bin/x\n2000-3000 rwxp 00000000 fe:00 12 /bin/x\n\
                    3000-4000 r-xp 00000000 00:00 0 [vdso]\n4000-5000 r--p 00000000 fe:00 12 /bin/x y\nodd\n";
        assert_eq!(code(maps, 0x1800), Some((0x1000, 0x1000)));
        for address in [0x800, 0x2800, 0x3800, 0x4800, 0x5000] {
            assert_eq!(code(maps, address), None, "{address:x}");
        }
    }
}
