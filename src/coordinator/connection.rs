//! One connection: bytes to requests, answers to bytes, and an end to it when it is not what it should be.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::timeout;

use super::server::Caller;
use super::state::{Coordinator, Link};
use super::verbs;
use crate::wire::coordinator::{Answer, Frames, MAX_REQUEST, Refusal, Request, frame};

/// Requests of one connection that may be under way.
pub(super) const IN_FLIGHT: usize = 64;
/// Answers and notices that may wait to be read.
pub(super) const OUTBOX: usize = 1024;
/// How long the other side may take to read one.
const WRITE: Duration = Duration::from_secs(10);

/// Serves a connection until it ends.
pub(super) async fn serve(coordinator: &Rc<Coordinator>, stream: UnixStream, caller: Caller) {
    let (outbox, frames) = mpsc::channel(OUTBOX);
    let link = Link { app: caller.app.clone(), outbox, cut: Rc::new(Notify::new()) };
    let Some(number) = coordinator.connect(link.clone()) else {
        coordinator.turned_away(&caller.unit, "too many connections of one app");
        return;
    };
    let (mut read, write) = stream.into_split();
    let writer = tokio::task::spawn_local(send(write, frames, Rc::clone(&link.cut)));
    let why = tokio::select! {
        why = hear(coordinator, &mut read, &caller, &link, number) => why,
        () = link.cut.notified() => Some("does not read what it is told".to_owned()),
    };
    coordinator.disconnect(number);
    if let Some(why) = why {
        coordinator.turned_away(&caller.unit, &why);
        // What it still has coming is of no use to it.
        writer.abort();
    }
}

/// Hears requests until the connection ends, and says why if it had to be ended.
async fn hear(
    coordinator: &Rc<Coordinator>,
    read: &mut (impl tokio::io::AsyncRead + Unpin),
    caller: &Caller,
    link: &Link,
    number: u64,
) -> Option<String> {
    let turns = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut frames = Frames::new(MAX_REQUEST);
    let mut chunk = [0u8; 4096];
    loop {
        match read.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => frames.feed(&chunk[..read]),
        }
        loop {
            let request = match frames.message::<Request>() {
                Ok(Some(request)) => request,
                Ok(None) => break,
                Err(error) => return Some(error.to_string()),
            };
            let Ok(turn) = Arc::clone(&turns).try_acquire_owned() else {
                link.send(frame(&refused(request.id, (Refusal::Busy, "too many requests at once".to_owned()))));
                continue;
            };
            let (coordinator, caller, link) = (Rc::clone(coordinator), caller.clone(), link.clone());
            tokio::task::spawn_local(async move {
                let answer = verbs::carry_out(&coordinator, &caller, number, request.verb).await;
                let answer = match answer {
                    Ok(answer) => Answer { id: request.id, ..answer },
                    Err(refusal) => refused(request.id, refusal),
                };
                link.send(frame(&answer));
                drop(turn);
            });
        }
        // A flood that is always readable must not keep the others waiting.
        tokio::task::yield_now().await;
    }
}

fn refused(id: u64, error: (Refusal, String)) -> Answer {
    Answer { id, error: Some(error), ..Answer::default() }
}

/// Sends what there is to send, in order.
async fn send(mut write: OwnedWriteHalf, mut frames: mpsc::Receiver<Vec<u8>>, cut: Rc<Notify>) {
    while let Some(frame) = frames.recv().await {
        if !matches!(timeout(WRITE, write.write_all(&frame)).await, Ok(Ok(()))) {
            cut.notify_one();
            return;
        }
    }
}
