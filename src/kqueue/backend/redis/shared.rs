//! State of limits that hosts share: one key for each.

use std::time::Duration;

use super::RedisBackend;
use crate::backend::BackendError;

impl RedisBackend {
    /// The key of a shared limit.
    fn shared(&self, name: &str) -> String {
        format!("{}kqueue:limits:{name}", self.prefix)
    }

    /// See [`QueueBackend::kept`](crate::backend::QueueBackend::kept).
    pub(super) async fn kept_of(&self, name: &str) -> Result<(Option<String>, u64), BackendError> {
        let (text, now): (String, u64) = self.servers.script(&self.share, &[self.shared(name)], |_| ()).await?;
        Ok(((!text.is_empty()).then_some(text), now))
    }

    /// See [`QueueBackend::keep`](crate::backend::QueueBackend::keep).
    pub(super) async fn keep_of(
        &self,
        name: &str,
        seen: Option<&str>,
        text: &str,
        time: Duration,
    ) -> Result<bool, BackendError> {
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let put: i64 = self
            .servers
            .script(&self.share, &[self.shared(name)], |cmd| {
                cmd.arg(seen.unwrap_or_default()).arg(text).arg(time);
            })
            .await?;
        Ok(put == 1)
    }
}
