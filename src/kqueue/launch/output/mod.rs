//! What PHP processes print: read without loss, each line with the process that wrote it.
//!
//! Standard output and error of a process are one stream, a pipe. Whatever comes out of it is its own, also what was
//! written by a child that was gone before anybody could have asked whose it was. A pooled worker that is a unit of
//! its own has a FIFO, which it finds by its name; so has a fork of the template, if it can take another stream than
//! its template's. Where it cannot, they share a socket: the kernel says with all that is read which process wrote
//! it, and puts nothing of different processes together.
//!
//! Nothing here is read behind the runtime's back: who prints is known by what it does at that moment, so the
//! runtime reads when it has heard of all that came before, and not in a task beside it.

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

/// Bytes read of one stream before others have their turn.
const TURN: usize = 64 * 1024;
/// Bytes that a stream may hold: all that was in it at a given moment has been read after so many. A socket
/// holds some 200 KiB, a FIFO 64.
const WHOLE: usize = 256 * 1024;

/// Every stream there is.
#[derive(Debug, Default)]
pub struct Outputs {
    streams: RefCell<BTreeMap<u64, Stream>>,
    next: Cell<u64>,
    /// Counts the moments: a stream that was read to its end in this one need not be looked at again.
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

/// The stream of one worker alone. It is closed, and its file removed, with this.
#[derive(Debug)]
pub struct Own {
    outputs: Rc<Outputs>,
    id: u64,
    file: Option<PathBuf>,
}

impl Own {
    /// Leaves the file where it is, for the runtime that comes after us: the worker goes on.
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
    /// None yet.
    pub fn new() -> Rc<Self> {
        Rc::default()
    }

    /// The stream of a process that is to be started, which ends when all that write to it have.
    ///
    /// # Errors
    /// When the system has none to give.
    pub fn pipe(&self, owner: WorkerId) -> io::Result<OwnedFd> {
        let (ours, theirs) = Output::pipe()?;
        self.add(owner, ours)?;
        Ok(theirs)
    }

    /// The stream of a template (0) and of its forks, of which the writer tells whose it is.
    ///
    /// # Errors
    /// When the system has none to give.
    pub fn socket(&self, owner: WorkerId) -> io::Result<OwnedFd> {
        let (ours, theirs) = Output::socket()?;
        self.add(owner, ours)?;
        Ok(theirs)
    }

    /// The stream of a fork, if it can take one: a FIFO that it finds by its number.
    ///
    /// # Errors
    /// When there can be none; what the fork prints then comes with its template's.
    pub fn of_fork(self: &Rc<Self>, directory: &Path, worker: WorkerId) -> io::Result<Own> {
        // One that was left by a runtime which was killed.
        let _ = std::fs::remove_file(fork_file(directory, worker));
        self.of_surviving_fork(directory, worker)
    }

    /// The stream of a fork that outlived an earlier runtime, with what it has printed meanwhile.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn of_surviving_fork(self: &Rc<Self>, directory: &Path, worker: WorkerId) -> io::Result<Own> {
        let file = fork_file(directory, worker);
        let id = self.add(worker, Output::from_fd(source::fifo(&file)?)?)?;
        Ok(Own { outputs: self.clone(), id, file: Some(file) })
    }

    /// The stream of a pooled worker that is a unit of its own. `number` is the unit's. The file stays: the unit's
    /// next process prints into it before we may know of it.
    ///
    /// # Errors
    /// When it cannot be made or opened.
    pub fn of_unit(self: &Rc<Self>, directory: &Path, number: u64, worker: WorkerId) -> io::Result<Own> {
        let id = self.add(worker, Output::open_fifo(directory, number)?)?;
        Ok(Own { outputs: self.clone(), id, file: None })
    }

    fn add(&self, owner: WorkerId, output: Output) -> io::Result<u64> {
        let id = self.next.replace(self.next.get() + 1);
        // What is readable now counts as news too: the first look is our own.
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

    /// Waits until something has been printed.
    pub async fn ready(&self) {
        self.some.notified().await;
    }

    /// A new moment has come: more may have been printed.
    pub fn begin(&self) {
        self.moment.set(self.moment.get() + 1);
    }

    /// What has been printed, in part where it is much. `who` says which worker a process is, where the stream
    /// does not.
    pub fn read(&self, who: &mut dyn FnMut(i32) -> WorkerId) -> Vec<Printed> {
        self.begin();
        let mut out = Vec::new();
        self.read_if(TURN, |stream| stream.ready.get(), who, &mut out);
        out
    }

    /// All that a worker has printed up to this moment, and what may have come with its template's stream, as its
    /// job is over: a line without an end will have none.
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

    /// Reads the streams that are to be read, and forgets those that have ended.
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
                // It is looked at again without being asked for, as nothing new may come.
                Ok(Left::More) => {
                    stream.ready.set(true);
                    self.some.notify_one();
                }
                Ok(Left::End) => return false,
                Err(error) => {
                    tracing::warn!("what worker {owner} prints can no longer be read: {error}");
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

/// Takes note of it when something has come, and again once that has been read.
async fn watch(reader: Rc<Reader>, ready: Rc<Cell<bool>>, some: Rc<Notify>, again: Rc<Notify>) {
    while reader.news().await.is_ok() {
        ready.set(true);
        some.notify_one();
        again.notified().await;
    }
}
