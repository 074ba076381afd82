//! One output stream of PHP: a pipe of one worker, or a socket, on which the kernel identifies the writer.

use std::fs::OpenOptions;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, setsockopt, socketpair, sockopt,
};
use nix::sys::stat::Mode;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

use super::lines::{Lines, Printed};
use kqueue_core::schedule::WorkerId;

/// Bytes per read.
const CHUNK: usize = 16 * 1024;

/// The reading end of a stream.
#[derive(Debug)]
pub struct Output {
    reader: Rc<Reader>,
    lines: Lines,
    chunk: Vec<u8>,
    control: Vec<u8>,
}

/// The descriptor to read, registered with the event loop.
#[derive(Debug)]
pub(super) enum Reader {
    Socket(UnixStream),
    Pipe(pipe::Receiver),
}

impl Reader {
    /// Waits until new data arrives. Readiness from before the last call does not count.
    pub async fn news(&self) -> io::Result<()> {
        let seen = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let told = match self {
            Self::Socket(socket) => {
                socket.readable().await?;
                socket.try_io(Interest::READABLE, seen)
            }
            Self::Pipe(pipe) => {
                pipe.readable().await?;
                pipe.try_io(seen)
            }
        };
        debug_assert!(told.is_err());
        Ok(())
    }
}

impl AsFd for Reader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Socket(socket) => socket.as_fd(),
            Self::Pipe(pipe) => pipe.as_fd(),
        }
    }
}

/// What is left after a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing, for now.
    Nothing,
    /// Possibly more: the limit was reached.
    More,
    /// End of stream: all writers have closed it.
    End,
}

impl Output {
    /// A new pipe for a process to be started: our end, and its end for stdout and stderr. The stream ends when all its
    /// writers have closed it; they survive the end of our side.
    ///
    /// # Errors
    /// When the system cannot create one.
    pub fn pipe() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = io::pipe()?;
        // Their end is open for reading too, so that there is always a reader: a process that prints while no runtime
        // is there may block, but gets no SIGPIPE.
        let path = format!("/proc/self/fd/{}", theirs.as_raw_fd());
        let theirs = OpenOptions::new().read(true).write(true).open(path)?;
        Ok((Self::from_fd(ours.into())?, theirs.into()))
    }

    /// The same as a socket, on which the writer of each chunk is known. PHP treats it as a socket: a `fwrite(STDERR)`
    /// to a full one gives up after `default_socket_timeout`, and `/dev/stderr` cannot be opened.
    ///
    /// # Errors
    /// When the system cannot create one.
    pub fn socket() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
        // They write, we read. Their reads from it return end of file at once.
        nix::sys::socket::shutdown(ours.as_raw_fd(), nix::sys::socket::Shutdown::Write)?;
        Ok((Self::from_fd(ours)?, theirs))
    }

    /// Opens the FIFO to which the pooled worker of this number prints; creates it if missing. See
    /// [`redirect_to_fifo`].
    ///
    /// # Errors
    /// When it cannot be made or opened, or is something else.
    pub fn open_fifo(directory: &Path, number: u64) -> io::Result<Self> {
        Self::from_fd(fifo(&unit_fifo(directory, number))?)
    }

    /// An existing stream: our end of a socket, a pipe or a FIFO, as its `as_fd` gave it.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let reader = match setsockopt(&fd, sockopt::PassCred, &true) {
            Ok(()) => {
                let socket = std::os::unix::net::UnixStream::from(fd);
                socket.set_nonblocking(true)?;
                Reader::Socket(UnixStream::from_std(socket)?)
            }
            Err(Errno::ENOTSOCK) => Reader::Pipe(pipe::Receiver::from_owned_fd(fd)?),
            Err(error) => return Err(error.into()),
        };
        let control = nix::cmsg_space!(nix::sys::socket::UnixCredentials);
        Ok(Self { reader: Rc::new(reader), lines: Lines::default(), chunk: vec![0; CHUNK], control })
    }

    /// Reads what is available without waiting, about `most` bytes at most. `who` maps a process id to its worker.
    ///
    /// # Errors
    /// When the stream is broken.
    pub fn read(
        &mut self,
        most: usize,
        who: &mut dyn FnMut(i32) -> WorkerId,
        out: &mut Vec<Printed>,
    ) -> io::Result<Left> {
        let mut total = 0;
        while total < most {
            match self.read_once() {
                Ok((0, _)) => {
                    self.lines.flush_all(out);
                    return Ok(Left::End);
                }
                Ok((read, pid)) => {
                    total += read;
                    let worker = who(pid);
                    self.lines.feed(pid, worker, self.chunk.get(..read).unwrap_or_default(), out);
                }
                Err(Errno::EAGAIN) => return Ok(Left::Nothing),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Left::More)
    }

    /// Reads one chunk; returns its length and the writer's process id (0 if unknown). The kernel does not merge writes
    /// of different processes.
    fn read_once(&mut self) -> nix::Result<(usize, i32)> {
        if !self.is_socket() {
            return Ok((nix::unistd::read(&*self.reader, &mut self.chunk)?, 0));
        }
        let mut into = [IoSliceMut::new(&mut self.chunk)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(self.reader.as_fd().as_raw_fd(), &mut into, Some(&mut self.control), flags)?;
        // Descriptors sent along did not fit and are dropped.
        let writer = message.cmsgs().ok().and_then(|mut messages| {
            messages.find_map(|message| match message {
                ControlMessageOwned::ScmCredentials(credentials) => Some(credentials.pid()),
                _ => None,
            })
        });
        Ok((message.bytes, writer.unwrap_or(0)))
    }

    /// Whether it is a socket, which identifies writers.
    pub fn is_socket(&self) -> bool {
        matches!(*self.reader, Reader::Socket(_))
    }

    /// The same descriptor, to wait for data.
    pub(super) fn reader(&self) -> Rc<Reader> {
        self.reader.clone()
    }

    /// Emits the unterminated lines of a worker.
    pub fn flush(&mut self, worker: WorkerId, out: &mut Vec<Printed>) {
        self.lines.flush(worker, out);
    }

    /// Emits all unterminated lines.
    pub fn flush_all(&mut self, out: &mut Vec<Printed>) {
        self.lines.flush_all(out);
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

/// Makes the FIFO of the pooled worker of this number our stdout and stderr, for the program that we are about to
/// execute.
///
/// It is open for reading too, here and in all that inherits it, as in [`Output::pipe`].
///
/// # Errors
/// When it cannot be made or opened, or is something else.
pub fn redirect_to_fifo(directory: &Path, number: u64) -> io::Result<()> {
    let fd = fifo(&unit_fifo(directory, number))?;
    // PHP does not handle non-blocking descriptors. The runtime's flag is unaffected: it opens the file on its own.
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
    fcntl(&fd, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK))?;
    nix::unistd::dup2_stdout(&fd)?;
    nix::unistd::dup2_stderr(&fd)?;
    Ok(())
}

fn unit_fifo(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("worker-{number}.out"))
}

/// Opens a FIFO with access for our user alone; creates it if missing. It is opened for writing too: without a writer,
/// reads would return end of file again and again.
pub(super) fn fifo(path: &Path) -> io::Result<OwnedFd> {
    match nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags.bits()).open(path)?;
    if !file.metadata()?.file_type().is_fifo() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{}: not a FIFO", path.display())));
    }
    Ok(file.into())
}
