//! One connection on the worker socket.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use kqueue_core::schedule::WorkerId;
use kqueue_core::wire::{Decoder, FromWorker, Parts, VERSION};

/// What a peer may take to say who it is.
const INTRODUCTION: Duration = Duration::from_secs(5);
/// Frames that may be on their way to one process. The protocol has at most a handful.
const OUTBOX: usize = 64;

/// Who is at the other end, as the kernel knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process id.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
}

/// The way to a process.
#[derive(Clone, Debug)]
pub struct Outbox(mpsc::Sender<Parts>);

impl Outbox {
    /// The way to a process that reads nothing.
    #[cfg(test)]
    pub fn to_nobody() -> Self {
        Self(mpsc::channel(1).0)
    }

    /// The way to a process that is played by a test, and what comes there.
    #[cfg(test)]
    pub fn pair(frames: usize) -> (Self, mpsc::Receiver<Parts>) {
        let (sender, receiver) = mpsc::channel(frames);
        (Self(sender), receiver)
    }

    /// Sends a frame; false when the process no longer takes any.
    pub fn send(&self, frame: Parts) -> bool {
        self.0.try_send(frame).is_ok()
    }
}

/// What came of a connection.
#[derive(Debug)]
pub enum Said {
    /// Somebody says it is this worker. Nothing else is read before it is answered.
    Hello {
        /// The number it gives.
        worker: WorkerId,
        /// Its first message.
        hello: FromWorker,
        /// Who it is.
        peer: Peer,
        /// The way to it. Dropping it ends the connection.
        outbox: Outbox,
    },
    /// A message.
    Message {
        /// From whom.
        worker: WorkerId,
        /// The process that sent it.
        pid: i32,
        /// What it says.
        message: FromWorker,
    },
    /// The end.
    Closed {
        /// Of whom.
        worker: WorkerId,
        /// The process whose connection it was.
        pid: i32,
        /// The process is gone, and had not read all that it was sent.
        unread: bool,
        /// How it broke the protocol, if it did.
        fault: Option<String>,
    },
    /// A process was refused that speaks another version of the protocol.
    Foreign,
}

/// Serves one connection to its end.
pub(super) async fn serve(mut stream: UnixStream, peer: Peer, said: mpsc::Sender<Said>) {
    let mut decoder = Decoder::default();
    let mut chunk = vec![0u8; 16 * 1024];
    let hello = tokio::time::timeout(INTRODUCTION, introduction(&mut stream, &mut decoder, &mut chunk)).await;
    let (worker, hello) = match hello {
        Ok(Ok(hello)) => hello,
        Ok(Err(reason)) => return refuse(peer, &reason),
        Err(_) => return refuse(peer, "said nothing for 5 s"),
    };
    if let FromWorker::Hello { version, .. } = hello
        && version != VERSION
    {
        refuse(peer, &format!("speaks version {version} of the protocol, not {VERSION}"));
        let _ = said.send(Said::Foreign).await;
        return;
    }
    let (outbox, mut frames) = mpsc::channel(OUTBOX);
    if said.send(Said::Hello { worker, hello, peer, outbox: Outbox(outbox) }).await.is_err() {
        return;
    }

    let (mut reader, mut writer) = stream.split();
    let reading = async {
        loop {
            loop {
                match decoder.message() {
                    Ok(Some(message)) => {
                        if said.send(Said::Message { worker, pid: peer.pid, message }).await.is_err() {
                            return (false, None);
                        }
                    }
                    Ok(None) => break,
                    Err(error) => return (false, Some(error.to_string())),
                }
            }
            match reader.read(&mut chunk).await {
                Ok(0) => return (false, decoder.is_partial().then(|| "half a frame".to_owned())),
                Ok(read) => decoder.feed(chunk.get(..read).unwrap_or_default()),
                // What a process had not read when it ended comes back as a reset.
                Err(error) => {
                    let fault = decoder.is_partial().then(|| "half a frame".to_owned());
                    return (error.kind() == io::ErrorKind::ConnectionReset, fault);
                }
            }
        }
    };
    let writing = async {
        // A process that cannot be written to has closed its end: the reader hears of it.
        while let Some(frame) = frames.recv().await {
            for part in frame.iter() {
                if writer.write_all(part).await.is_err() {
                    return std::future::pending().await;
                }
            }
        }
    };
    let (unread, fault) = tokio::select! {
        biased;
        ended = reading => ended,
        // The runtime has let go of it.
        () = writing => (false, None),
    };
    let _ = said.send(Said::Closed { worker, pid: peer.pid, unread, fault }).await;
}

async fn introduction(
    stream: &mut UnixStream,
    decoder: &mut Decoder,
    chunk: &mut [u8],
) -> Result<(WorkerId, FromWorker), String> {
    loop {
        if let Some(message) = decoder.message().map_err(|error| format!("sent {error}"))? {
            let FromWorker::Hello { worker, .. } = &message else {
                return Err("did not say who it is".to_owned());
            };
            let worker = worker.parse().map_err(|_| format!("says it is worker {worker:?}"))?;
            return Ok((worker, message));
        }
        match stream.read(chunk).await {
            Ok(0) => return Err("left without a word".to_owned()),
            Ok(read) => decoder.feed(chunk.get(..read).unwrap_or_default()),
            Err(error) => return Err(error.to_string()),
        }
    }
}

pub(super) fn refuse(peer: Peer, reason: &str) {
    tracing::warn!("refused process {} of user {} on the worker socket: it {reason}", peer.pid, peer.uid);
}
