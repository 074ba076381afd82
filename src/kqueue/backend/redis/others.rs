//! Takes jobs of other owners out of order: see `backend::others`.

use bytes::Bytes;

use super::{HEAVY, RedisBackend};
use crate::backend::{BackendError, LOOK, Others, Reserved};

/// Jobs at the end of a list that each scan reads, too.
const LAST: usize = 200;
/// A position beyond the end of every list, exact as a Lua number.
const END: u64 = 1 << 50;

impl RedisBackend {
    /// See [`QueueBackend::next_of_others`](crate::backend::QueueBackend::next_of_others).
    pub(super) async fn take_of_others(
        &self,
        queue: &str,
        mut others: Others,
    ) -> Result<(Reserved, Others), BackendError> {
        let list = [self.keys(queue).list];
        let (all, seen): (u64, Vec<Bytes>) = self
            .servers
            .script(&self.behind, &list, |cmd| {
                cmd.arg(others.at).arg(LOOK).arg(LAST).arg(HEAVY);
            })
            .await?;
        let end = others.at.saturating_add(LOOK as u64);
        others.is_through = end >= all;
        // Jobs leave at the head meanwhile, so positions shift and scans overlap. After the whole list, only its end is
        // scanned.
        others.at = if others.is_through { END } else { end - LOOK as u64 / 4 };
        let picked = others.pick(seen, |job| job);
        let mut found = Reserved::default();
        if !picked.is_empty() {
            let moved: usize = self
                .servers
                .script(&self.forward, &list, |cmd| {
                    for job in picked.iter().rev() {
                        cmd.arg(job.as_ref());
                    }
                })
                .await?;
            if moved > 0 {
                self.take(queue, moved, &mut found).await?;
            }
        }
        Ok((found, others))
    }
}
