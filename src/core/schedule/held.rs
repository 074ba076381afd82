//! Jobs held back by a limit of their class or queue while others pass them: how many are kept, and when the rest is
//! given back.
//!
//! They stay reserved, so that each starts as soon as it may. But they take room that others need. So those of one
//! queue may have only a part of it: with `n` queues, an `n + 1`th of `max_waiting` and `max_waiting_bytes`, which
//! leaves one part for jobs that wait for their tier. The excess goes back to its queue unchanged, and the queue is not
//! asked until half of its part is free again. Other queues are asked as before. Where giving a job back changes it,
//! none is given back, and a queue is not asked while one of its jobs is held back.

use super::machine::{Phase, Schedule};
use super::{Action, JobId, Now};

impl Schedule {
    /// Maximum of reserved jobs that wait: at least one per queue, and one for the tiers.
    pub(super) fn most_waiting(&self) -> usize {
        match self.config.max_waiting {
            most if most == 0 || self.gates.is_empty() => most,
            most => most.max(self.parts()),
        }
    }

    /// Number of parts into which the room is divided.
    fn parts(&self) -> usize {
        self.config.queues.len().max(1) + 1
    }

    /// Jobs of a queue that wait for a limit, and the bytes of their payloads.
    fn held_back(&self, queue: usize) -> (usize, usize) {
        let of_tiers = self.waiting.iter().map(|waiting| waiting.held_back(&self.gates, queue));
        of_tiers.fold((0, 0), |(jobs, bytes), (more, size)| (jobs + more, bytes + size))
    }

    /// Maximum of held-back jobs of a queue, and of their bytes.
    fn most_held_back(&self, queue: usize) -> (usize, usize) {
        let own = self.config.queues.get(queue).and_then(|name| self.config.queue_waiting.get(name)).copied();
        let jobs = if self.config.ahead { self.config.max_waiting / self.parts() } else { 1 };
        (jobs.min(own.unwrap_or(usize::MAX)).max(1), self.config.max_waiting_bytes / self.parts())
    }

    /// Whether a queue is not asked, as too many of its jobs are held back.
    pub(super) fn is_held_back(&self, name: &str) -> bool {
        if self.gates.is_empty() {
            return false;
        }
        let queue = self.place_of(name);
        let ((jobs, bytes), (most, most_bytes)) = (self.held_back(queue), self.most_held_back(queue));
        // A job too large for what is left is not reserved again before one of the kept jobs has gone.
        let is_kept = self.kept_back.get(&queue).is_some_and(|kept| jobs >= *kept);
        jobs > most / 2 || jobs > 0 && (bytes > most_bytes / 2 || is_kept)
    }

    /// Gives back held-back jobs in excess of their queue's part, the last in order first.
    pub(super) fn give_back_held(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.gates.is_empty() || !self.config.ahead || self.phase != Phase::Running {
            return;
        }
        for queue in 0..=self.config.queues.len() {
            let (most, most_bytes) = self.most_held_back(queue);
            let (jobs, bytes) = self.held_back(queue);
            if jobs <= most && (jobs <= 1 || bytes <= most_bytes) {
                if self.kept_back.get(&queue).is_some_and(|kept| jobs < *kept) {
                    self.kept_back.remove(&queue);
                }
                continue;
            }
            let mut held: Vec<_> =
                self.waiting.iter().flat_map(|waiting| waiting.those_held_back(&self.gates, queue)).collect();
            held.sort_unstable();
            let (mut kept, mut size) = (0, 0);
            let mut back: Vec<JobId> = Vec::new();
            for (_, id, bytes) in held {
                kept += 1;
                size += bytes;
                if kept > most || kept > 1 && size > most_bytes {
                    back.push(id);
                }
            }
            back.sort_unstable();
            for id in &back {
                self.take_back(now, *id, out);
                self.forget(*id);
            }
            if !back.is_empty() {
                self.kept_back.insert(queue, jobs.saturating_sub(back.len()));
                out.push(Action::Unreserve(back));
            }
        }
    }

    /// Position of a queue in the order of the queues; unknown queues come last.
    pub(super) fn place_of(&self, name: &str) -> usize {
        let queues = &self.config.queues;
        queues.iter().position(|queue| queue == name).unwrap_or(queues.len())
    }
}
