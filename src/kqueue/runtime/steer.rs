//! Acts of operators on a running runtime: each is carried out, logged with the operator's name, saved for the next
//! start if it is to last, and then answered.

use std::collections::BTreeSet;

use kqueue_control::{Act, Acted, PausedClass, PoolSize, Quarantine, QuarantinedClass, VERSION};
use kqueue_core::payload::MAX_NAME;
use kqueue_core::routing::Tier;
use kqueue_core::schedule::Event;
use kqueue_system::harmless;
use tokio::sync::oneshot;

use super::Runtime;
use super::pauses::{Said, span};
use super::service::overrides::CLASSES;
use super::status::NAME;
use crate::control::unable;

/// Maximum number of classes listed when a name is ambiguous.
const NAMED: usize = 10;

impl Runtime {
    /// Carries out an operator's act.
    pub(super) fn steer(&mut self, act: Act, owner: bool, who: &str, answer: oneshot::Sender<Vec<u8>>) {
        let act = match act {
            Act::RetryFailed(jobs) => return self.failed_jobs(true, jobs, who, answer),
            Act::ForgetFailed(jobs) => return self.failed_jobs(false, jobs, who, answer),
            Act::CancelEverywhere(asked) => return self.cancel_everywhere(asked, who, answer),
            Act::MoveEverywhere(asked) => return self.move_everywhere(asked, who, answer),
            Act::Broken(asked) => return self.broken_messages(asked, owner, who, answer),
            Act::Errand(asked) => return self.entrusted(asked, who, answer),
            act => act,
        };
        let done = match act {
            Act::Cancel(asked) => return self.cancel(&asked, who, answer),
            Act::Move(asked) => return self.move_jobs(&asked, who, answer),
            Act::Pause { queue: Some(_), class: Some(_), .. } | Act::Resume { queue: Some(_), class: Some(_) } => {
                Err("a queue or a class, not both".to_owned())
            }
            Act::Pause { class: Some(class), seconds, .. } => self.pause_class(&class, seconds, who),
            Act::Resume { class: Some(class), .. } => self.resume_class(&class),
            Act::Pause { queue, seconds, .. } => self.pause_queue(queue, seconds, who),
            Act::Resume { queue, .. } => self.resume(queue),
            Act::Lift { class } => self.lift(&class),
            Act::Pool { size, seconds } => self.size_pool(size, seconds, who),
            Act::Recycle { worker } => self.recycle(worker),
            Act::RetryFailed(_)
            | Act::ForgetFailed(_)
            | Act::CancelEverywhere(_)
            | Act::MoveEverywhere(_)
            | Act::Broken(_)
            | Act::Errand(_) => Ok(Vec::new()),
        };
        let mut said = match done {
            Ok(said) => said,
            Err(why) => return drop(answer.send(unable(&why))),
        };
        said.iter().for_each(|line| tracing::info!(kqueue_by = who, "{line}"));
        // The act is in force from now on; it is saved beside the loop.
        self.pauses_changed();
        self.settle();
        let (pauses, overrides) = (self.service.pauses.save(), self.service.overrides.save());
        let (file, history) = (self.service.history.clone(), self.schedule.history.clone());
        tokio::task::spawn_local(async move {
            file.save_last(&history).await;
            let saved = tokio::task::spawn_blocking(move || pauses().and(overrides())).await;
            if let Ok(Err(error)) = saved {
                tracing::warn!("{error}; operators' changes may be lost on restart");
                said.push(format!("may be lost on restart: {error}"));
            }
            let acted = Acted { version: VERSION, said, ..Acted::default() };
            let _ = answer.send(serde_json::to_vec(&acted).unwrap_or_default());
        });
    }

    /// Applies changed overrides of operators.
    pub(super) fn steered(&mut self) {
        let held: BTreeSet<String> = self.service.overrides.classes().map(|(class, _)| key(class)).collect();
        let before: Vec<String> = self.open_events(&key("")).collect();
        for name in before.iter().filter(|name| !held.contains(*name)) {
            self.over(name);
        }
        let texts: Vec<_> = self.service.overrides.classes().map(|(class, _)| class.to_owned()).collect();
        for class in texts {
            self.began(&key(&class), "pause", format!("class {class} is paused"));
        }
        self.configure_schedule();
        self.note_ends();
    }

    /// Pauses a class: none of its jobs is started.
    fn pause_class(&mut self, class: &str, seconds: Option<u64>, who: &str) -> Said {
        if self.queue.is_native() {
            let why = "its workers take jobs off the queue by themselves, of any class; pause a queue instead";
            return Err(format!("connection {}: {why}", self.app.connection));
        }
        let class = self.class_meant(class)?;
        let until = self.until(seconds);
        if !self.service.overrides.hold(&class, who, until) {
            return Err(format!("{CLASSES} classes are paused already, which is the maximum"));
        }
        self.steered();
        let mut said = vec![format!("paused class {}{}", harmless::line(&class, NAME), span(seconds))];
        if !self.queue.capabilities().unreserve {
            said.push(
                "this queue counts an attempt for a job given back: while one is held, its queue is not read".into(),
            );
        }
        Ok(said)
    }

    fn resume_class(&mut self, class: &str) -> Said {
        let held: Vec<String> = self.service.overrides.classes().map(|(class, _)| class.to_owned()).collect();
        let class = one_of(class, held.into_iter().collect())?.unwrap_or_else(|| class.to_owned());
        let was_held = self.service.overrides.let_go(&class);
        let class = harmless::line(&class, NAME);
        if !was_held {
            return Ok(vec![format!("class {class}: not paused by an operator")]);
        }
        self.steered();
        Ok(vec![format!("resumed class {class}")])
    }

    /// Resumes a queue; without a name, every queue and class that operators have paused.
    fn resume(&mut self, queue: Option<String>) -> Said {
        let every = queue.is_none();
        let mut said = self.resume_queue(queue)?;
        let held: Vec<String> = self.service.overrides.classes().map(|(class, _)| class.to_owned()).collect();
        if every && !held.is_empty() {
            for class in held {
                self.service.overrides.let_go(&class);
                said.push(format!("resumed class {}", harmless::line(&class, NAME)));
            }
            self.steered();
        }
        Ok(said)
    }

    /// Ends the quarantine of a class.
    fn lift(&mut self, class: &str) -> Said {
        let all = self.schedule.history.quarantined().into_iter().map(|(class, _)| class.to_owned()).collect();
        let Some(class) = one_of(class, all)? else {
            return Ok(vec![format!("class {}: not quarantined", harmless::line(class, NAME))]);
        };
        let said = format!("class {}: its quarantine is lifted", harmless::line(&class, NAME));
        self.happened("quarantine", said.clone());
        self.tell(Event::Lift(class));
        Ok(vec![said])
    }

    /// Classes in quarantine.
    pub(super) fn quarantine(&self) -> Quarantine {
        let history = &self.schedule.history;
        let classes = history.quarantined().into_iter().map(|(class, crashes)| QuarantinedClass {
            class: harmless::line(class, NAME),
            crashes,
            last_crash: history.get(class).and_then(|class| class.last_crash()),
            runs: history.summary(class).map_or(0, |summary| summary.runs),
        });
        Quarantine { version: VERSION, classes: classes.collect() }
    }

    /// Sets the size of the pool, or resets it to that of the settings.
    fn size_pool(&mut self, size: Option<usize>, seconds: Option<u64>, who: &str) -> Said {
        let (usual, most) = (self.settings.pool_size, self.settings.pool_max_size);
        let said = match size {
            None => format!("the pool has {usual} workers, as configured, and {most} under pressure"),
            Some(size) if (1..=most).contains(&size) => {
                format!("the pool has at most {size} workers{}; configured: {usual}", span(seconds))
            }
            Some(size) => {
                return Err(format!("pool size {size}: must be from 1 to pool_max_size ({most})"));
            }
        };
        let until = self.until(seconds);
        self.service.overrides.size_pool(size.map(|size| PoolSize { size, user: who.to_owned(), until }));
        self.steered();
        Ok(vec![said])
    }

    /// Replaces a process after its job, or every process.
    fn recycle(&mut self, worker: Option<u64>) -> Said {
        let Some(id) = worker else {
            self.tell(Event::Reload);
            return Ok(vec!["every process is replaced after its current job, pooled workers one by one".to_owned()]);
        };
        let view = self.schedule.workers().find(|view| view.id == id);
        let said = match view.map(|view| (view.tier, view.state)) {
            None => return Err(format!("no process {id}; kqueue pool {} lists them", self.settings.app)),
            Some((Tier::Isolated, _)) => return Err(format!("process {id} runs a single job and exits after it")),
            Some((_, "starting" | "leaving")) => format!("process {id} is starting or exiting: nothing to do"),
            Some((_, "idle")) => format!("process {id} exits; another one replaces it when needed"),
            Some(_) => format!("process {id} exits after its job; another one replaces it"),
        };
        self.tell(Event::Recycle(id));
        Ok(vec![said])
    }

    /// Paused classes.
    pub(super) fn paused_classes(&self) -> Vec<PausedClass> {
        let paused = self.service.overrides.classes().map(|(class, paused_by)| PausedClass {
            class: harmless::line(class, NAME),
            paused_by,
            waiting: self.schedule.waiting_of(class),
        });
        paused.collect()
    }

    /// Resolves the name of a class: its full name, or the last part of a known one.
    pub(super) fn class_meant(&self, name: &str) -> Result<String, String> {
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(format!("the name of a class must have 1 to {MAX_NAME} bytes"));
        }
        let known = self.schedule.history.summaries().map(|(class, _)| class).chain(self.schedule.classes());
        let known: BTreeSet<String> =
            known.chain(self.settings.tables.class.keys().map(String::as_str)).map(str::to_owned).collect();
        match one_of(name, known)? {
            Some(class) => Ok(class),
            None if name.contains('\\') => Ok(name.trim_start_matches('\\').to_owned()),
            None => {
                let name = harmless::line(name, NAME);
                Err(format!("no known class ends in `{name}`: give its full name, as listed by kqueue stats"))
            }
        }
    }
}

/// The key of the event that a class is paused.
fn key(class: &str) -> String {
    format!("paused class {class}")
}

/// The one of these classes with this name, or with this last part.
fn one_of(name: &str, classes: BTreeSet<String>) -> Result<Option<String>, String> {
    let name = name.trim_start_matches('\\');
    if classes.contains(name) {
        return Ok(Some(name.to_owned()));
    }
    let last = |class: &&String| class.rsplit('\\').next() == Some(name);
    let found: Vec<&String> = classes.iter().filter(last).collect();
    match found.as_slice() {
        [] => Ok(None),
        [class] => Ok(Some((*class).clone())),
        several => {
            let names: Vec<&str> = several.iter().take(NAMED).map(|class| class.as_str()).collect();
            Err(harmless::line(&format!("several classes end in `{name}`: {}", names.join(", ")), 4 * NAME))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_meant_by_its_name_or_by_its_last_part() {
        let all: BTreeSet<String> = ["App\\A", "App\\B", "Shop\\B", "B"].map(str::to_owned).into();
        let of = |name: &str| one_of(name, all.clone());
        assert_eq!(of("A"), Ok(Some("App\\A".to_owned())));
        assert_eq!(of("\\App\\B"), Ok(Some("App\\B".to_owned())));
        // A class without a namespace.
        assert_eq!(of("B"), Ok(Some("B".to_owned())));
        assert_eq!(of("C"), Ok(None));
        let two: BTreeSet<String> = ["App\\B", "Shop\\B"].map(str::to_owned).into();
        assert_eq!(one_of("B", two), Err("several classes end in `B`: App\\B, Shop\\B".to_owned()));
    }
}
