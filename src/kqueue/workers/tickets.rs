//! The pipe from which a lane claims jobs sent ahead to it, and from which the runtime takes them back.
//!
//! A ticket is a number of eight bytes. Reads and writes of so few bytes are atomic, so each ticket is read exactly
//! once, by either side.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;

use kqueue_core::schedule::{JobId, WorkerId};

/// The runtime's end of one lane's pipe. Dropping it removes the file.
#[derive(Debug)]
pub struct Tickets {
    pipe: File,
    path: PathBuf,
}

impl Tickets {
    /// Creates the pipe of a lane, in the directory of the worker socket.
    ///
    /// # Errors
    /// When it cannot be created; the lane works without.
    pub fn create(directory: &Path, lane: WorkerId) -> io::Result<Self> {
        let path = directory.join(format!("lane-{lane}.tickets"));
        // A killed runtime may have left one.
        let _ = std::fs::remove_file(&path);
        nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
        let pipe = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path)?;
        Ok(Self { pipe, path })
    }

    /// Offers a job; false if the pipe does not take it.
    pub fn offer(&mut self, job: JobId) -> bool {
        self.pipe.write(&job.to_be_bytes()).is_ok_and(|written| written == 8)
    }

    /// Takes back all unclaimed jobs.
    pub fn take_back(&mut self) -> Vec<JobId> {
        let mut jobs = Vec::new();
        let mut ticket = [0; 8];
        while self.pipe.read(&mut ticket).is_ok_and(|read| read == 8) {
            jobs.push(JobId::from_be_bytes(ticket));
        }
        jobs
    }
}

impl Drop for Tickets {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_read_once_by_the_one_or_by_the_other() {
        let directory = tempfile::tempdir().unwrap();
        let mut ours = Tickets::create(directory.path(), 7).unwrap();
        let path = directory.path().join("lane-7.tickets");
        let mut lane =
            OpenOptions::new().read(true).custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits()).open(&path).unwrap();
        assert!((1..=4).all(|job| ours.offer(job)));
        let mut ticket = [0; 8];
        lane.read_exact(&mut ticket).unwrap();
        assert_eq!(u64::from_be_bytes(ticket), 1);
        assert_eq!(ours.take_back(), [2, 3, 4]);
        assert_eq!(lane.read(&mut ticket).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(ours);
        assert!(!path.exists());
    }
}
