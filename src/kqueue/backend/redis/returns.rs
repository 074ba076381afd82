//! Returns reserved jobs to their queues, or moves them to another one.

use super::{Keys, RedisBackend, by_queue, in_order, member};
use crate::backend::{BackendError, Reservation};

impl RedisBackend {
    /// Whether one script can access both queues.
    pub(super) fn is_beside(&self, queue: &str, other: &str) -> bool {
        self.servers.are_together(&self.keys(queue).list, &self.keys(other).list)
    }

    /// Puts reserved jobs back at the head of their queues, or at the end of another one.
    pub(super) async fn put_back(&self, jobs: &[Reservation], to: Option<&str>) -> Result<Vec<bool>, BackendError> {
        let mut held = Vec::with_capacity(jobs.len());
        for mut group in self.groups(jobs) {
            if to.is_none() {
                // Last job first, since each is pushed to the head.
                group.reverse();
            }
            let (queues, indexes) = by_queue(&group);
            let keys_of = |queue: &str| {
                let Keys { list, notify, .. } = self.keys(to.unwrap_or(queue));
                [list, self.keys(queue).reserved, notify]
            };
            let keys: Vec<String> = queues.iter().flat_map(|queue| keys_of(queue)).collect();
            let answer: Vec<i64> = self
                .servers
                .script(&self.unreserve, &keys, |cmd| {
                    cmd.arg(if to.is_none() { "LPUSH" } else { "RPUSH" });
                    for ((_, job), index) in group.iter().zip(&indexes) {
                        cmd.arg(3 * index + 1).arg(member(job)).arg(job.payload.as_ref());
                    }
                })
                .await?;
            self.forget_heavy(group.iter().map(|(_, job)| member(job).len() + job.payload.len()).sum()).await;
            held.extend(group.iter().map(|(at, _)| *at).zip(answer));
        }
        Ok(in_order(held))
    }
}
