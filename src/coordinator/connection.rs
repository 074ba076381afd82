//! One connection: decodes requests, sends answers, and closes the connection on a violation of the protocol.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::time::{sleep, timeout};

use super::server::Caller;
use super::state::{Coordinator, Link};
use super::verbs;
use kqueue_core::wire::coordinator::{Answer, Frames, MAX_REQUEST, Refusal, Request, frame};
use kqueue_system::systemd::process;

/// Timeout of the peer to read one answer or notice.
const WRITE: Duration = Duration::from_secs(10);

/// Serves a connection until it ends.
pub(super) async fn serve(coordinator: &Rc<Coordinator>, stream: UnixStream, caller: Caller) {
    let link = Link::new(&caller.app);
    let Some(number) = coordinator.connect(link.clone()) else {
        coordinator.turned_away(&caller.app, &caller.unit, "too many connections from this app");
        return;
    };
    let (mut read, write) = stream.into_split();
    let why = tokio::select! {
        why = hear(coordinator, &mut read, &caller, &link, number) => why,
        () = send(write, &link) => Some("sending failed or timed out".to_owned()),
        () = link.cut.notified() => Some("too many unread messages, or the unit was stopped".to_owned()),
    };
    coordinator.disconnect(number);
    if let Some(why) = why {
        coordinator.turned_away(&caller.app, &caller.unit, &why);
    }
}

/// Reads requests until the connection ends. Returns the reason if the coordinator closes it.
async fn hear(
    coordinator: &Rc<Coordinator>,
    read: &mut (impl tokio::io::AsyncRead + Unpin),
    caller: &Caller,
    link: &Link,
    number: u64,
) -> Option<String> {
    let app = &caller.app;
    let mut frames = Frames::new(MAX_REQUEST);
    let mut chunk = [0u8; 4096];
    loop {
        match read.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => frames.feed(chunk.get(..read).unwrap_or_default()),
        }
        loop {
            let request = match frames.message::<Request>() {
                Ok(Some(request)) => request,
                Ok(None) => break,
                Err(error) => return Some(error.to_string()),
            };
            // The descriptor may have been passed to another process, which has no right to make requests.
            if !process::is_alive(&caller.pidfd) {
                return Some("the process that connected has ended".to_owned());
            }
            let pause = app.pay(&request.verb);
            match Arc::clone(&app.turns).try_acquire_owned() {
                Ok(turn) => {
                    let (coordinator, caller, link) = (Rc::clone(coordinator), caller.clone(), link.clone());
                    tokio::task::spawn_local(async move {
                        let work = verbs::carry_out(&coordinator, &caller, number, request.verb);
                        let answer = match caller.app.share.of(work).await {
                            Ok(answer) => Answer { id: request.id, ..answer },
                            Err(refusal) => refused(request.id, refusal),
                        };
                        link.send(frame(&answer));
                        drop(turn);
                    });
                }
                Err(_) => {
                    link.send(frame(&refused(request.id, (Refusal::Busy, "too many requests at once".to_owned()))));
                }
            }
            // A peer above its share is not read meanwhile: further requests stay in its socket buffer.
            if !pause.is_zero() {
                sleep(pause).await;
            }
        }
        // A socket that is always readable must not starve the other tasks.
        tokio::task::yield_now().await;
    }
}

fn refused(id: u64, error: (Refusal, String)) -> Answer {
    Answer { id, error: Some(error), ..Answer::default() }
}

/// Sends the queued frames in order. Returns when a write fails or times out.
async fn send(mut write: OwnedWriteHalf, link: &Link) {
    loop {
        let next = link.outbox.next().await;
        if !matches!(timeout(WRITE, write.write_all(&next.frame)).await, Ok(Ok(()))) {
            return;
        }
    }
}
