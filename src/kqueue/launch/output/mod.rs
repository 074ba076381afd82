//! Output of PHP processes: read without loss, each line with the process that wrote it.
//!
//! Standard output and error of a process are one stream, a pipe. All data from it belongs to that process, including
//! output of children that exited before they could be identified. A pooled worker that is a unit of its own has a
//! FIFO, which it finds by name; so has a fork of the template, if it can redirect its output away from the template's
//! stream. If not, forks and template share a socket: the kernel reports the writer with each read, and does not merge
//! writes of different processes.
//!
//! Nothing is read in a background task: which job printed a line depends on what its process was doing at that moment,
//! so the runtime reads once it has handled all earlier events.

mod lines;
mod source;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tokio::sync::Notify;

use kqueue_core::schedule::WorkerId;

pub use lines::Printed;
use source::Reader;

pub use source::{Left, Output, redirect_to_fifo};

/// Bytes read from one stream per turn.
const TURN: usize = 64 * 1024;
/// Upper bound of the bytes a stream can hold: after reading this many, everything it held at the start has been read.
/// A socket holds some 200 KiB, a FIFO 64.
const WHOLE: usize = 256 * 1024;

/// All open streams.
#[derive(Debug, Default)]
pub struct Outputs {
    streams: RefCell<BTreeMap<u64, Stream>>,
    next: Cell<u64>,
    /// Counter of moments: a stream that was emptied in the current one need not be read again.
    moment: Cell<u64>,
    some: Rc<Notify>,
}

#[derive(Debug)]
struct Stream {
    owner: WorkerId,
    output: Output,
    ready: Rc<Cell<bool>>,
    again: Rc<Notify>,
    emptied: u64,
    watch: tokio::task::AbortHandle,
}

/// The stream of one worker. Dropping this closes it and removes its file.
#[derive(Debug)]
pub struct Own {
    outputs: Rc<Outputs>,
    id: u64,
    file: Option<PathBuf>,
}

impl Own {
    /// Closes the stream but keeps the file for the next runtime: the worker lives on.
    pub fn leave(mut self) {
        self.file = None;
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.outputs.remove(self.id);
        if let Some(file) = &self.file {
            let _ = std::fs::remove_file(file);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl Outputs {
    /// No streams.
    pub fn new() -> Rc<Self> {
        Rc::default()
    }

    /// A stream for a process to be started; it ends when all its writers have closed it.
    ///
    /// # Errors
    /// When the system cannot create one.
    pub fn pipe(&self, owner: WorkerId) -> io::Result<OwnedFd> {
        let (ours, theirs) = Output::pipe()?;
        self.add(owner, ours)?;
        Ok(theirs)
    }

    /// A stream for a template (0) and its forks, told apart by the writer's process id.
    ///
    /// # Errors
    /// When the system cannot create one.
    pub fn socket(&self, owner: WorkerId) -> io::Result<OwnedFd> {
        let (ours, theirs) = Output::socket()?;
        self.add(owner, ours)?;
        Ok(theirs)
    }

    /// A stream for a fork that can redirect its output: a FIFO that it finds by its number.
    ///
    /// # Errors
    /// When it cannot be made; the fork's output then arrives on the template's stream.
    pub fn of_fork(self: &Rc<Self>, directory: &Path, worker: WorkerId) -> io::Result<Own> {
        // A killed runtime may have left one.
        let _ = std::fs::remove_file(fork_file(directory, worker));
        self.of_surviving_fork(directory, worker)
    }

    /// The stream of a fork that outlived an earlier runtime, including what it has printed meanwhile.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn of_surviving_fork(self: &Rc<Self>, directory: &Path, worker: WorkerId) -> io::Result<Own> {
        let file = fork_file(directory, worker);
        let id = self.add(worker, Output::from_fd(source::fifo(&file)?)?)?;
        Ok(Own { outputs: self.clone(), id, file: Some(file) })
    }

    /// The stream of a pooled worker that is a unit of its own, the unit of this `number`. The file is kept: the unit's
    /// next process may print to it before we know of that process.
    ///
    /// # Errors
    /// When it cannot be made or opened.
    pub fn of_unit(self: &Rc<Self>, directory: &Path, number: u64, worker: WorkerId) -> io::Result<Own> {
        let id = self.add(worker, Output::open_fifo(directory, number)?)?;
        Ok(Own { outputs: self.clone(), id, file: None })
    }

    fn add(&self, owner: WorkerId, output: Output) -> io::Result<u64> {
        let id = self.next.replace(self.next.get() + 1);
        // What is readable already gives no notification, so the first read is requested here.
        let ready = Rc::new(Cell::new(true));
        self.some.notify_one();
        let again = Rc::new(Notify::new());
        let watch = watch(output.reader(), ready.clone(), self.some.clone(), again.clone());
        let watch = tokio::task::spawn_local(watch).abort_handle();
        self.streams.borrow_mut().insert(id, Stream { owner, output, ready, again, emptied: 0, watch });
        Ok(id)
    }

    fn remove(&self, id: u64) {
        self.streams.borrow_mut().remove(&id);
    }

    /// Waits until there is output to read.
    pub async fn ready(&self) {
        self.some.notified().await;
    }

    /// Starts a new moment: more may have been printed.
    pub fn begin(&self) {
        self.moment.set(self.moment.get() + 1);
    }

    /// Reads what has been printed, up to a limit per stream. `who` maps a process id to its worker, for shared
    /// streams.
    pub fn read(&self, who: &mut dyn FnMut(i32) -> WorkerId) -> Vec<Printed> {
        self.begin();
        let mut out = Vec::new();
        self.read_if(TURN, |stream| stream.ready.get(), who, &mut out);
        out
    }

    /// Reads all that a worker has printed up to this moment, on its own stream and, if `forked`, on the template's
    /// socket. Its job is over, so its unterminated lines are emitted too.
    pub fn read_all_of(&self, worker: WorkerId, forked: bool, who: &mut dyn FnMut(i32) -> WorkerId) -> Vec<Printed> {
        let mut out = Vec::new();
        let concerns =
            |stream: &Stream| stream.owner == worker || forked && stream.owner == 0 && stream.output.is_socket();
        let moment = self.moment.get();
        self.read_if(WHOLE, |stream| concerns(stream) && stream.emptied != moment, who, &mut out);
        for stream in self.streams.borrow_mut().values_mut().filter(|stream| concerns(stream)) {
            stream.output.flush(worker, &mut out);
        }
        out
    }

    /// Reads the streams selected by `which`, and removes those that have ended.
    fn read_if(
        &self,
        most: usize,
        mut which: impl FnMut(&Stream) -> bool,
        who: &mut dyn FnMut(i32) -> WorkerId,
        out: &mut Vec<Printed>,
    ) {
        let moment = self.moment.get();
        self.streams.borrow_mut().retain(|_, stream| {
            if !which(stream) {
                return true;
            }
            let owner = stream.owner;
            let mut known = |pid| if owner == 0 { who(pid) } else { owner };
            match stream.output.read(most, &mut known, out) {
                Ok(Left::Nothing) => {
                    stream.emptied = moment;
                    stream.ready.set(false);
                    stream.again.notify_one();
                }
                // Reads again without a notification, as no new data may come.
                Ok(Left::More) => {
                    stream.ready.set(true);
                    self.some.notify_one();
                }
                Ok(Left::End) => return false,
                Err(error) => {
                    tracing::warn!("cannot read the output of worker {owner} any more: {error}");
                    stream.output.flush_all(out);
                    return false;
                }
            }
            true
        });
    }
}

fn fork_file(directory: &Path, worker: WorkerId) -> PathBuf {
    directory.join(format!("fork-{worker}.out"))
}

/// Marks the stream as ready when data arrives, and again each time it has been emptied.
async fn watch(reader: Rc<Reader>, ready: Rc<Cell<bool>>, some: Rc<Notify>, again: Rc<Notify>) {
    while reader.news().await.is_ok() {
        ready.set(true);
        some.notify_one();
        again.notified().await;
    }
}
