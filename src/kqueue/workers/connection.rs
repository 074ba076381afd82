//! One connection on the worker socket.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use kqueue_core::schedule::WorkerId;
use kqueue_core::wire::{Decoder, FromWorker, Parts, VERSION};

/// Timeout for a peer's hello.
const INTRODUCTION: Duration = Duration::from_secs(5);
/// Capacity of a process's queue of frames. The protocol has a handful in flight at most.
const OUTBOX: usize = 64;

/// Peer credentials, from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process id.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
}

/// Sends frames to a process.
#[derive(Clone, Debug)]
pub struct Outbox(mpsc::Sender<Parts>);

impl Outbox {
    /// An outbox whose process reads nothing.
    #[cfg(test)]
    pub fn to_nobody() -> Self {
        Self(mpsc::channel(1).0)
    }

    /// An outbox of a process that a test plays, and the frames sent to it.
    #[cfg(test)]
    pub fn pair(frames: usize) -> (Self, mpsc::Receiver<Parts>) {
        let (sender, receiver) = mpsc::channel(frames);
        (Self(sender), receiver)
    }

    /// Sends a frame; false if the process no longer takes any.
    pub fn send(&self, frame: Parts) -> bool {
        self.0.try_send(frame).is_ok()
    }
}

/// Events of a connection.
#[derive(Debug)]
pub enum Said {
    /// A process claims to be this worker. Nothing else is read before that is answered.
    Hello {
        /// The number it claims.
        worker: WorkerId,
        /// Its first message.
        hello: FromWorker,
        /// Its credentials.
        peer: Peer,
        /// Sends to it. Dropping this ends the connection.
        outbox: Outbox,
    },
    /// A message.
    Message {
        /// The worker that sent it.
        worker: WorkerId,
        /// The process that sent it.
        pid: i32,
        /// The message.
        message: FromWorker,
    },
    /// The connection has ended.
    Closed {
        /// Its worker.
        worker: WorkerId,
        /// Its process.
        pid: i32,
        /// The process closed it without having read all frames.
        unread: bool,
        /// How it broke the protocol, if it did.
        fault: Option<String>,
    },
    /// A process with another protocol version was refused.
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
        Err(_) => return refuse(peer, "sent no hello within 5 s"),
    };
    if let FromWorker::Hello { version, .. } = hello
        && version != VERSION
    {
        refuse(peer, &format!("uses protocol version {version}, not {VERSION}"));
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
                Ok(0) => return (false, decoder.is_partial().then(|| "incomplete frame".to_owned())),
                Ok(read) => decoder.feed(chunk.get(..read).unwrap_or_default()),
                // Unread data at the end of a process shows as a reset.
                Err(error) => {
                    let fault = decoder.is_partial().then(|| "incomplete frame".to_owned());
                    return (error.kind() == io::ErrorKind::ConnectionReset, fault);
                }
            }
        }
    };
    let writing = async {
        // A failed write means that the process has closed its end; the reader sees that too.
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
        // The runtime has dropped the outbox.
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
                return Err("sent another message before its hello".to_owned());
            };
            let worker = worker.parse().map_err(|_| format!("claims the invalid worker number {worker:?}"))?;
            return Ok((worker, message));
        }
        match stream.read(chunk).await {
            Ok(0) => return Err("closed the connection before its hello".to_owned()),
            Ok(read) => decoder.feed(chunk.get(..read).unwrap_or_default()),
            Err(error) => return Err(error.to_string()),
        }
    }
}

pub(super) fn refuse(peer: Peer, reason: &str) {
    tracing::warn!("refused process {} of user {} on the worker socket: it {reason}", peer.pid, peer.uid);
}
