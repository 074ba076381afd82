//! Moves held jobs that wait, on behalf of an operator. Those that are still in their queues are moved by the app's own
//! PHP before: `kqueue move`.

use kqueue_control::{MoveJobs, Moved, VERSION};
use kqueue_core::schedule::{Event, Place};
use kqueue_system::harmless;
use tokio::sync::oneshot;

use super::Runtime;
use super::status::NAME;
use crate::control::unable;

impl Runtime {
    /// Moves the chosen jobs, and replies with their UUIDs.
    pub(super) fn move_jobs(&mut self, asked: &MoveJobs, who: &str, answer: oneshot::Sender<Vec<u8>>) {
        let told = self.moved(asked, who);
        let _ = answer.send(told.map_or_else(|why| unable(&why), |told| serde_json::to_vec(&told).unwrap_or_default()));
    }

    fn moved(&mut self, asked: &MoveJobs, who: &str) -> Result<Moved, String> {
        let MoveJobs { chosen, front, coming, to, dry, .. } = asked;
        if self.queue.is_native() {
            let why = "its workers take jobs off the queue by themselves, so no job waits here";
            return Err(format!("connection {}: {why}", self.app.connection));
        }
        let place = match to {
            Some(_) if *front => return Err("to the front, or to another queue, not both".to_owned()),
            Some(to) => {
                self.queue.can_move(&self.app.queues, to)?;
                Some(Place::Away)
            }
            None if *front && !dry => Some(Place::Front(self.service.fronts.next())),
            None => None,
        };
        let running = self.running_jobs();
        let mut told = Moved { version: VERSION, ..Moved::default() };
        for id in self.meant(chosen) {
            // A job being given back is found in its queue.
            let Some(record) = self.held.get_mut(id).filter(|record| !record.returning) else { continue };
            let runs = running.contains_key(&id);
            let is_there = !front && to.as_ref().is_none_or(|to| *to == record.reservation.queue);
            let list = match (runs, is_there) {
                (true, _) => &mut told.running,
                (false, true) => &mut told.there,
                (false, false) => &mut told.waiting,
            };
            list.push(record.uuid.clone());
            let Some(place) = place.filter(|_| !runs && !is_there && !dry) else { continue };
            let where_to = match place {
                Place::Front(front) => {
                    record.front = front;
                    "the front of its queue".to_owned()
                }
                Place::Away => {
                    record.to.clone_from(to);
                    format!("queue {}", harmless::line(to.as_deref().unwrap_or_default(), NAME))
                }
            };
            tracing::info!(kqueue_by = who, "moved {} ({}) to {where_to}", record.class, record.uuid);
            self.tell(Event::Requeue { job: id, place });
        }
        if !dry {
            if *front && *coming {
                let here = |uuid: &&String| told.waiting.contains(uuid) || told.running.contains(uuid);
                let coming = chosen.uuids.iter().filter(|uuid| !here(uuid));
                let unfit = coming.filter(|uuid| !self.service.fronts.add(uuid)).count();
                if unfit > 0 {
                    tracing::warn!(
                        "{unfit} jobs will run after those that wait here: \
                         too many jobs moved to the front are not reserved yet"
                    );
                }
            }
            // Has the next call see jobs that were moved, or made due, in the queue itself.
            self.queue.forget();
        }
        Ok(told)
    }
}
