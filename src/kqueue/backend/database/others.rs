//! Takes jobs of other owners out of order: see `backend::others`.

use super::dialect::Free;
use super::{DatabaseBackend, numbers};
use crate::backend::trouble::Trouble;
use crate::backend::{BackendError, LOOK, Others, Reserved};

impl DatabaseBackend {
    /// See [`QueueBackend::next_of_others`](crate::backend::QueueBackend::next_of_others).
    pub(super) async fn take_of_others(
        &self,
        queue: &str,
        mut others: Others,
    ) -> Result<(Reserved, Others), BackendError> {
        let name = self.name(queue);
        let free = self.free(&name, i64::try_from(others.at).unwrap_or(i64::MAX));
        let mut found = Reserved::default();
        let looked = self.link.with(async |ready| {
            let answers = ready.session.run(ready.dialect.behind(&free, LOOK)).await?;
            let mut seen = Vec::new();
            for mut row in answers.into_iter().flat_map(|answer| answer.rows) {
                let [id] = numbers(&row)?;
                seen.push((id, row.get_mut(1).and_then(Option::take).unwrap_or_default()));
            }
            others.went_by(seen.iter().map(|(id, _)| *id));
            let ids: Vec<i64> = others.pick(seen, |(_, payload)| payload).into_iter().map(|(id, _)| id).collect();
            if !ids.is_empty() {
                self.take(ready, queue, Free { only: &ids, ..free }, ids.len(), &mut found).await?;
            }
            Ok(())
        });
        match looked.await {
            // Jobs that are already reserved must not be lost with the error.
            Err(Trouble::Busy(_)) => {}
            Err(trouble) if found.is_empty() => return Err(trouble.into()),
            Ok(()) | Err(_) => {}
        }
        Ok((found, others))
    }
}
