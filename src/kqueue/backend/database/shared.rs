//! State of limits that hosts share: one row for each, in a separate table.

use super::DatabaseBackend;
use super::dialect::limits_of;
use crate::backend::BackendError;
use crate::backend::trouble::limits_table;

impl DatabaseBackend {
    /// The table of shared limits, quoted.
    fn limits(&self) -> String {
        limits_of(&self.link.settings().table)
    }

    /// See [`QueueBackend::kept`](crate::backend::QueueBackend::kept).
    pub(super) async fn kept_of(&self, name: &str) -> Result<(Option<String>, u64), BackendError> {
        let kept = self.link.with(async |ready| ready.session.run(ready.dialect.kept(name)).await).await;
        let kept = kept.map_err(|trouble| limits_table(trouble.into(), &self.limits()))?;
        let row = kept.into_iter().flat_map(|answer| answer.rows).next().unwrap_or_default();
        let text = |at: usize| row.get(at).cloned().flatten().map(|text| String::from_utf8_lossy(&text).into_owned());
        let now = text(1).and_then(|now| now.parse().ok());
        // Without the server's time, limits would let every job start.
        let lacks = || BackendError::Settings("the database did not return its current time".to_owned());
        Ok((text(0), now.ok_or_else(lacks)?))
    }

    /// See [`QueueBackend::keep`](crate::backend::QueueBackend::keep).
    pub(super) async fn keep_of(&self, name: &str, seen: Option<&str>, text: &str) -> Result<bool, BackendError> {
        let kept = self.link.with(async |ready| ready.session.run(ready.dialect.keep(name, seen, text)).await).await;
        let kept = kept.map_err(|trouble| limits_table(trouble.into(), &self.limits()))?;
        Ok(kept.iter().map(|answer| answer.hits).sum::<u64>() == 1)
    }
}
