//! Requests to one runtime, for a page.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use kqueue_control::{Act, Acted, AskError, Request, Snapshot, raw};
use kqueue_pages::{Answers, Moment, Need, Query, Slot, View, acts};
use serde::de::DeserializeOwned;

/// Timeout of one reply.
const PATIENCE: Duration = Duration::from_secs(4);
/// Timeout of an action.
const DEED: Duration = Duration::from_secs(8);

/// One raw reply, or why there is none.
async fn answer(socket: &Path, request: &Request) -> Result<Vec<u8>, String> {
    let answered = tokio::time::timeout(PATIENCE, raw(socket, request)).await;
    answered.unwrap_or(Err(AskError::Silent)).map_err(|error| format!("the runtime: {error}"))
}

/// Performs an action on behalf of a user. Returns the messages about its result, or why it was not done.
pub async fn act(socket: &Path, by: String, act: Act) -> Result<Acted, String> {
    let answered = tokio::time::timeout(DEED, raw(socket, &Request::OnBehalf { by, act })).await;
    let bytes = answered.unwrap_or(Err(AskError::Silent)).map_err(|error| format!("the runtime: {error}"))?;
    acts::told(Some(&bytes))
}

/// One reply, parsed; `None` if there is none.
pub async fn read<T: DeserializeOwned>(socket: &Path, request: &Request) -> Option<T> {
    serde_json::from_slice(&answer(socket, request).await.ok()?).ok()
}

/// Everything that a view needs of an app whose snapshot is known already.
pub async fn collect(view: &View, query: &Query, moment: &Moment, snapshot: Snapshot, socket: &Path) -> Answers {
    let mut answers = Answers { snapshot, ..Answers::default() };
    // Payloads are not requested here: readers of the host's pages need not have access to an app's data.
    let first = view.needs(query, moment, false).into_iter().filter(|need| need.slot != Slot::Snapshot);
    put(&mut answers, first.collect(), socket).await;
    // A payload that a runtime sends anyway is not shown.
    answers.timeline.payload = None;
    answers
}

async fn put(answers: &mut Answers, needs: Vec<Need>, socket: &Path) {
    let asked = needs.into_iter().map(|Need { slot, request }| async move { (slot, answer(socket, &request).await) });
    for (slot, answered) in join_all(asked).await {
        answers.put(slot, answered.as_deref().map_err(String::clone));
    }
}
