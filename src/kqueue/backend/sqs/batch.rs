//! Calls that change or remove up to ten messages of one queue. Each of them may fail alone.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
};

use super::error::{Call, Fault, is_lost};
use super::{SqsBackend, address};

/// What is to become of messages.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// They are gone.
    Delete,
    /// They are hidden for another visibility timeout.
    Renew,
    /// They are hidden for so long, or visible at once.
    Hide(Duration),
}

impl Change {
    /// Whether they are not ours any more once it is done.
    pub(super) fn settles(self) -> bool {
        !matches!(self, Self::Renew)
    }

    pub(super) fn call(self) -> Call {
        match self {
            Self::Delete => Call::Delete,
            Self::Renew | Self::Hide(_) => Call::Hide,
        }
    }
}

/// A message in a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    /// Which job it is of.
    pub index: usize,
    pub handle: &'a str,
    /// Seconds for which it is to be hidden.
    pub hidden: i32,
}

/// The jobs for which it was done; for the others there is nothing left to do it to.
pub(super) async fn send(
    backend: &SqsBackend,
    client: &Client,
    url: &str,
    change: Change,
    entries: &[Entry<'_>],
) -> Result<Vec<usize>, Fault> {
    let call = change.call();
    let (done, failed): (Vec<String>, Vec<BatchResultErrorEntry>) = match change {
        Change::Delete => {
            let entries = entries.iter().filter_map(|entry| {
                let entry = DeleteMessageBatchRequestEntry::builder().id(id(entry)).receipt_handle(entry.handle);
                entry.build().ok()
            });
            let answer = client.delete_message_batch().queue_url(url).set_entries(Some(entries.collect())).send().await;
            let answer = backend.answer(call, url, answer).await?;
            (answer.successful.into_iter().map(|entry| entry.id).collect(), answer.failed)
        }
        Change::Renew | Change::Hide(_) => {
            let entries = entries.iter().filter_map(|entry| {
                let hidden = ChangeMessageVisibilityBatchRequestEntry::builder().visibility_timeout(entry.hidden);
                hidden.id(id(entry)).receipt_handle(entry.handle).build().ok()
            });
            let call_of = client.change_message_visibility_batch().queue_url(url);
            let answer = call_of.set_entries(Some(entries.collect())).send().await;
            let answer = backend.answer(call, url, answer).await?;
            (answer.successful.into_iter().map(|entry| entry.id).collect(), answer.failed)
        }
    };
    if let Some(entry) = failed.iter().find(|entry| !is_lost(entry.code(), entry.sender_fault())) {
        // What was done already may be done again.
        let reason = format!("{} on {url}, in part: {}", call.name(), says(entry));
        return Err(Fault::unavailable(address::server(&backend.settings, url), reason));
    }
    for entry in failed {
        tracing::debug!("{} on {url}: {}", call.name(), says(&entry));
    }
    Ok(done.iter().filter_map(|id| id.parse().ok()).collect())
}

fn id(entry: &Entry<'_>) -> String {
    entry.index.to_string()
}

fn says(entry: &BatchResultErrorEntry) -> String {
    match entry.message() {
        Some(message) if !message.is_empty() => format!("{}: {message}", entry.code()),
        _ => entry.code().to_owned(),
    }
}
