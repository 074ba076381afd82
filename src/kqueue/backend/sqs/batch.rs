//! Calls that change or delete up to ten messages of one queue. Each message may fail separately.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
};

use super::error::{Call, Fault, is_lost};
use super::{SqsBackend, address};

/// A change of messages.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// Deletes them.
    Delete,
    /// Hides them for another visibility timeout.
    Renew,
    /// Hides them for this long; zero makes them visible at once.
    Hide(Duration),
}

impl Change {
    /// Whether the messages are no longer ours afterwards.
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
    /// Index of its job.
    pub index: usize,
    pub handle: &'a str,
    /// Seconds for which it is to be hidden.
    pub hidden: i32,
}

/// Sends one batch. Returns the indexes of the jobs for which it succeeded; the others' messages are no longer ours.
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
        // The whole batch is tried again: entries that succeeded can be repeated.
        let reason = format!("{} on {url} failed in part: {}", call.name(), says(entry));
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
