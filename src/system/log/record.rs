//! The outcome of one job, as a log record with the journal's fields.

use std::collections::BTreeMap;
use std::time::Duration;

use kqueue_core::schedule::{Cause, Outcome, Reason};

/// Target of job records, for filters: `KQUEUE_LOG=info,kqueue::job=warn` hides those of jobs that went well.
pub const JOB_TARGET: &str = "kqueue::job";

/// `MESSAGE_ID`s of the journal, one for each kind of failure; the catalog, `units/kqueue.catalog`, explains
/// them to operators.
pub mod message_id {
    /// A job failed: it threw, and Laravel released or failed it by the app's rules.
    pub const FAILED: &str = "26b29c190c804cab9204ec4c7f1aee6c";
    /// A job ran past its timeout and was stopped.
    pub const TIMEOUT: &str = "314510061d7b46afa77b44867c5d1a15";
    /// The PHP process died under a job.
    pub const CRASHED: &str = "25e2f46b928846c299d5ca9703d6d297";
    /// A job was left reserved, until `retry_after` makes it due again.
    pub const LEFT: &str = "a81d2a8e00f144d6aae3252c7c19310d";
    /// The kernel killed a job's processes at their memory limit.
    pub const OOM_KILLED: &str = "b5a94a26571642c9be1882888100e874";
    /// systemd ended a unit whose watchdog had run out.
    pub const HUNG: &str = "05ce294aaf9c4c90ad0c23dedb76234c";
    /// The coordinator refused a request.
    pub const REFUSED: &str = "22b6463407bd47e29a314a07e1f54688";
    /// An alert has begun.
    pub const ALERT: &str = "3f1d0c5a86d24ad3a3f7f2b9f2f0c6e1";
    /// An alert is over.
    pub const ALERT_OVER: &str = "b0c9a2e44c5f4b7c9d0b6a3a6f1f5d78";
    /// The unit generator cannot use an app's settings.
    pub const SETTINGS: &str = "e29700fa918f4b2ea139370a14c29e75";
}

/// How a job's PHP process ended, if that determined the job's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It was ended because the job ran past its timeout.
    Timeout,
    /// It died.
    Crash,
}

/// One run of one job. The app's name is on every record already.
#[derive(Clone, Copy, Debug)]
pub struct JobRecord<'a> {
    /// The job's uuid.
    pub job: &'a str,
    /// The job's class.
    pub class: &'a str,
    /// The queue it came from.
    pub queue: &'a str,
    /// The tier it ran in.
    pub tier: &'a str,
    /// The attempt, from 1.
    pub attempt: u32,
    /// How long it ran.
    pub took: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// The fault of its process, if that determined the outcome.
    pub fault: Option<Fault>,
    /// The reason for an unsuccessful outcome.
    pub cause: Option<&'a Reason>,
    /// Peak memory of its unit in bytes, if it had a unit of its own.
    pub memory_peak: Option<u64>,
    /// Processor time of its unit in microseconds.
    pub cpu_usec: Option<u64>,
}

impl JobRecord<'_> {
    /// Logs the record: info for a job that succeeded or was released, warning for one that was left or lost, else
    /// error.
    pub fn emit(&self) {
        let Self { job, class, queue, tier, attempt, memory_peak, cpu_usec, .. } = *self;
        let outcome = self.outcome.as_str();
        let ms = self.ms();
        let why = self.why();
        // tracing wants its level constant. Fields that are None are not recorded.
        macro_rules! event {
            ($level:ident) => {
                tracing::$level!(
                    target: JOB_TARGET,
                    kqueue_job = job,
                    kqueue_class = class,
                    kqueue_queue = queue,
                    kqueue_tier = tier,
                    kqueue_attempt = attempt,
                    kqueue_ms = ms,
                    kqueue_outcome = outcome,
                    kqueue_cause = why.as_deref(),
                    kqueue_memory_peak = memory_peak,
                    kqueue_cpu_usec = cpu_usec,
                    message_id = self.message_id(),
                    "{}",
                    self.line(),
                )
            };
        }
        match self.outcome {
            Outcome::Done | Outcome::Released => event!(info),
            Outcome::Left | Outcome::Lost => event!(warn),
            Outcome::Failed => event!(error),
        }
    }

    /// The record as a one-line message.
    pub fn line(&self) -> String {
        let Self { class, tier, attempt, .. } = self;
        let mut line =
            format!("{class} {} after {:.0} ms ({tier}, attempt {attempt}", self.outcome.as_str(), self.ms());
        if let Some(bytes) = self.memory_peak {
            line += &format!(", {} MB", bytes.div_ceil(1 << 20));
        }
        if let Some(usec) = self.cpu_usec {
            line += &format!(", {} ms cpu", usec / 1000);
        }
        line.push(')');
        if let Some(why) = self.why() {
            line += ": ";
            line += &why;
        }
        line
    }

    /// The reason for an unsuccessful outcome, as text.
    pub fn why(&self) -> Option<String> {
        const LOST: &str = "its reservation had expired, so another worker may have run it too";
        match (self.outcome, self.cause) {
            (Outcome::Lost, None) => Some(LOST.to_owned()),
            (Outcome::Lost, Some(cause)) => Some(format!("{cause}; {LOST}")),
            (_, cause) => cause.map(Reason::to_string),
        }
    }

    /// The syslog priority for the host's journal; `None` for a job that ended well and is not recorded there.
    pub fn notable(&self) -> Option<u8> {
        match (self.outcome, self.fault) {
            (Outcome::Failed, _) => Some(3),
            (Outcome::Left | Outcome::Lost, _) | (_, Some(_)) => Some(4),
            (Outcome::Done | Outcome::Released, None) => None,
        }
    }

    /// The fields of the journal, by name.
    pub fn fields(&self) -> BTreeMap<String, String> {
        let own = [
            ("KQUEUE_JOB", self.job.to_owned()),
            ("KQUEUE_CLASS", self.class.to_owned()),
            ("KQUEUE_QUEUE", self.queue.to_owned()),
            ("KQUEUE_TIER", self.tier.to_owned()),
            ("KQUEUE_ATTEMPT", self.attempt.to_string()),
            ("KQUEUE_MS", format!("{:.3}", self.ms())),
            ("KQUEUE_OUTCOME", self.outcome.as_str().to_owned()),
        ];
        let some = [
            ("KQUEUE_CAUSE", self.why()),
            ("KQUEUE_MEMORY_PEAK", self.memory_peak.map(|bytes| bytes.to_string())),
            ("KQUEUE_CPU_USEC", self.cpu_usec.map(|usec| usec.to_string())),
            ("MESSAGE_ID", self.message_id().map(str::to_owned)),
        ];
        let some = some.into_iter().filter_map(|(name, value)| Some((name, value?)));
        own.into_iter().chain(some).map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Milliseconds, to the microsecond: clocks of different processes do not agree more closely.
    fn ms(&self) -> f64 {
        self.took.as_micros() as f64 / 1000.0
    }

    fn message_id(&self) -> Option<&'static str> {
        match (self.fault, self.outcome) {
            (Some(Fault::Timeout), _) => Some(message_id::TIMEOUT),
            (Some(Fault::Crash), _) if matches!(self.cause, Some(Reason::Process(Cause::OutOfMemory { .. }))) => {
                Some(message_id::OOM_KILLED)
            }
            (Some(Fault::Crash), _) => Some(message_id::CRASHED),
            (None, Outcome::Failed) => Some(message_id::FAILED),
            (None, Outcome::Left | Outcome::Lost) => Some(message_id::LEFT),
            (None, Outcome::Done | Outcome::Released) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const CATALOG: &str = include_str!("../../../units/kqueue.catalog");

    /// The parts of `text` that follow each `start`, up to `end`.
    fn after<'a>(text: &'a str, start: &str, end: char) -> Vec<&'a str> {
        text.split(start).skip(1).filter_map(|rest| rest.split(end).next()).collect()
    }

    #[test]
    fn the_catalog_explains_every_id() {
        let module = after(include_str!("record.rs"), "pub mod message_id {", '}');
        let ids: BTreeSet<&str> = after(module[0], ": &str = \"", '"').into_iter().collect();
        assert!(ids.contains(message_id::LEFT) && ids.contains(message_id::SETTINGS));
        let explained = after(CATALOG, "\n-- ", '\n');
        assert_eq!(explained.iter().copied().collect::<BTreeSet<_>>(), ids);
        assert_eq!(explained.len(), ids.len(), "one is explained twice");
    }

    #[test]
    fn the_catalog_is_one() {
        let known = [
            "APP",
            "ALERT",
            "JOB",
            "CLASS",
            "QUEUE",
            "TIER",
            "ATTEMPT",
            "MS",
            "CAUSE",
            "OUTCOME",
            "MEMORY_PEAK",
            "CPU_USEC",
        ]
        .map(|name| format!("KQUEUE_{name}"));
        for entry in CATALOG.split("\n-- ").skip(1) {
            let (head, body) = entry.split_once("\n\n").expect(entry);
            let mut lines = head.lines();
            let id = lines.next().unwrap();
            assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
            for field in ["Subject: ", "Defined-By: kqueue", "Documentation: "] {
                assert!(head.lines().any(|line| line.starts_with(field)), "{id}: {field}");
            }
            // As journalctl finds variables: capitals between two `@`.
            for (start, _) in entry.match_indices('@') {
                let rest = &entry[start + 1..];
                let name = &rest[..rest.find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap_or(rest.len())];
                if !name.is_empty() && rest[name.len()..].starts_with('@') {
                    assert!(known.iter().any(|known| known == name) || name == "MESSAGE", "{id}: {name}");
                }
            }
            assert!(!body.trim().is_empty(), "{id}");
        }
    }

    #[test]
    fn memory_is_told_from_other_deaths() {
        fn record(cause: Option<&Reason>) -> JobRecord<'_> {
            JobRecord {
                job: "",
                class: "",
                queue: "",
                tier: "",
                attempt: 1,
                took: Duration::ZERO,
                outcome: Outcome::Failed,
                fault: Some(Fault::Crash),
                cause,
                memory_peak: None,
                cpu_usec: None,
            }
        }
        let killed = Reason::Process(Cause::OutOfMemory { limit: 64, peak: Some(63) });
        assert_eq!(record(Some(&killed)).message_id(), Some(message_id::OOM_KILLED));
        assert_eq!(record(Some(&killed)).fields()["KQUEUE_CAUSE"], "oom-kill at 64 MB (peak 63 MB)");
        // The message of a job's exception is no evidence of how its process ended.
        let quoted = Reason::Laravel("oom-kill at 64 MB (peak 63 MB)".to_owned());
        assert_eq!(record(Some(&quoted)).message_id(), Some(message_id::CRASHED));
        assert_eq!(record(Some(&Cause::Signal(11).into())).message_id(), Some(message_id::CRASHED));
        assert_eq!(record(None).message_id(), Some(message_id::CRASHED));
    }
}
