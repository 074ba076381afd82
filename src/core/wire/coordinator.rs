//! The messages between a runtime and the coordinator. Pure: bytes in, messages out.
#![doc = include_str!("coordinator.md")]

use std::fmt;

use super::frames::{Cutter, TooLong};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Bytes that a request may have.
pub const MAX_REQUEST: usize = 16 << 10;
/// Bytes that an answer or a notice may have.
pub const MAX_ANSWER: usize = 1 << 20;
/// Units in one request to watch.
pub const MAX_WATCH: usize = 200;

/// A unit of the caller's app.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// The pooled worker of this number: `kqueue-worker@APP:N.service`.
    Worker(u32),
    /// The scope of one isolated job: `kqueue-APP-NAME.scope`. The name is of `[a-z0-9-]`, 40 characters at the most.
    Scope(String),
}

impl Unit {
    /// Its name as a unit of `app`.
    pub fn name(&self, app: &str) -> String {
        match self {
            Unit::Worker(number) => format!("kqueue-worker@{app}:{number}.service"),
            Unit::Scope(name) => format!("kqueue-{app}-{name}.scope"),
        }
    }

    /// The unit of `app` that has this name, if it is one.
    pub fn of(app: &str, name: &str) -> Option<Self> {
        Self::parse(name).filter(|(owner, _)| *owner == app).map(|(_, unit)| unit)
    }

    /// The app and the unit that have this name, if it is one of ours.
    pub fn parse(name: &str) -> Option<(&str, Self)> {
        let (app, unit) = if let Some(rest) = name.strip_prefix("kqueue-worker@") {
            let (app, number) = rest.strip_suffix(".service")?.split_once(':')?;
            (app, Unit::Worker(number.parse().ok()?))
        } else {
            let (app, own) = name.strip_prefix("kqueue-")?.strip_suffix(".scope")?.split_once('-')?;
            (app, Unit::Scope(is_scope_name(own).then(|| own.to_owned())?))
        };
        // One name, one unit: "+1" and "01" are numbers to Rust, but no names of ours.
        (is_app_name(app) && unit.name(app) == name).then_some((app, unit))
    }
}

/// Whether this may be the name of an app.
pub fn is_app_name(name: &str) -> bool {
    let own = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=32).contains(&name.len())
        && name.bytes().next().is_some_and(own)
        && name.bytes().all(|byte| own(byte) || byte == b'_')
}

/// Whether this may be the own part of a scope's name.
pub fn is_scope_name(name: &str) -> bool {
    (1..=40).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// What a unit may use. What is absent stays as root's settings have it.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct UnitLimits {
    /// Bytes of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_max: Option<u64>,
    /// Microseconds that it may run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_max_usec: Option<u64>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks_max: Option<u64>,
    /// Share of the processors, 1 to 10000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_weight: Option<u64>,
    /// Share of the disks, 1 to 10000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_weight: Option<u64>,
}

/// What is asked of the coordinator.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub enum Verb {
    /// Start a pooled worker. Answered when it is ready, or has failed to be.
    Start {
        /// Its number.
        worker: u32,
    },
    /// Kill every process of a unit.
    Kill {
        /// Which.
        unit: Unit,
    },
    /// Put a process of the caller's own unit, or of a worker of its app, into a new scope. Answered when it is known to be in it.
    Scope {
        /// The scope's own part of its name, never used before.
        scope: String,
        /// The process.
        pid: i32,
        /// What it may use.
        limits: UnitLimits,
    },
    /// Tell how these units end, [`MAX_WATCH`] at the most. One that is not there is told as ended at once. A unit
    /// that the caller started or scoped on this connection is watched without being asked.
    Watch {
        /// Which.
        units: Vec<Unit>,
    },
    /// Every unit of the app that is there.
    List,
    /// What the service manager is about to do with the caller's own unit.
    Purpose,
    /// Something for the coordinator's own log: one line about one job.
    Tell {
        /// The line.
        message: String,
        /// A syslog priority: 3 (error) to 6 (info).
        priority: u8,
        /// Names and values for the journal; of the names that begin with `KQUEUE_`, and `MESSAGE_ID`.
        #[serde(default)]
        fields: std::collections::BTreeMap<String, String>,
    },
}

/// A verb and the number under which it is answered.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct Request {
    /// The caller's number for it.
    pub id: u64,
    /// What is asked.
    #[serde(flatten)]
    pub verb: Verb,
}

/// Why a request was not carried out.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Policy forbids it.
    Refused,
    /// The service manager tried and failed.
    Failed,
    /// The service manager does not answer.
    Timeout,
    /// Too much is under way already.
    Busy,
    /// There is no such unit or process.
    Absent,
}

/// What the service manager is about to do with a unit.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Nothing.
    #[default]
    None,
    /// To stop it for good.
    Stop,
    /// To stop it and start it again.
    Restart,
}

/// A unit that is there.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct Listed {
    /// Which.
    pub unit: Unit,
    /// systemd's ActiveState: `active`, `activating`, `deactivating`, `failed`…
    pub state: String,
    /// Its main process, or the one process of a scope that was placed there first; 0 when there is none.
    pub pid: i32,
    /// Bytes of memory it has now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
}

/// How a unit ended.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default)]
pub struct UnitEnd {
    /// systemd's Result: `success`, `exit-code`, `signal`, `oom-kill`, `timeout`, `watchdog`…; empty when nobody knows.
    pub result: String,
    /// Exit code of its main process. Services only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal that ended its main process. Services only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Bytes of memory at its peak.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_peak: Option<u64>,
    /// Bytes it was allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_max: Option<u64>,
    /// Microseconds of processor time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_usec: Option<u64>,
}

/// The answer to a request.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
pub struct Answer {
    /// The request's number.
    pub id: u64,
    /// Why it was not carried out; none when it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<(Refusal, String)>,
    /// The main process of a worker that was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// The units asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<Vec<Listed>>,
    /// What is about to happen to the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
}

/// What the coordinator says unasked.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(tag = "notice", rename_all = "snake_case")]
pub enum Notice {
    /// A watched unit has ended.
    Ended {
        /// Which.
        unit: Unit,
        /// How.
        end: UnitEnd,
    },
}

/// Either of the coordinator's messages.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(untagged)]
pub enum FromCoordinator {
    /// Unasked.
    Notice(Notice),
    /// Asked.
    Answer(Answer),
}

/// What is wrong with a frame; nothing after it can be trusted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
    /// It is longer than it may be.
    #[error("a frame of {length} bytes, {max} at the most")]
    TooLong {
        /// Bytes promised.
        length: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// It is not a message.
    #[error("no message: {0}")]
    Malformed(String),
}

/// Lays out one message.
pub fn frame(message: &impl Serialize) -> Vec<u8> {
    // These types have string keys only, so they can always be written.
    let body = serde_json::to_vec(message).unwrap_or_default();
    let mut frame = Vec::with_capacity(4 + body.len());
    frame.extend_from_slice(&(body.len() as u32).to_be_bytes());
    frame.extend_from_slice(&body);
    frame
}

/// Cuts a stream of bytes into messages of at most so many bytes.
#[derive(Debug)]
pub struct Frames(Cutter);

impl Frames {
    /// For messages up to `max` bytes.
    pub fn new(max: usize) -> Self {
        Self(Cutter::new(max))
    }

    /// Takes in bytes as they came.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.0.feed(bytes);
    }

    /// The next whole message, if there is one.
    ///
    /// # Errors
    /// See [`FrameError`].
    pub fn message<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let frame = self.0.next().map_err(|TooLong { length, max }| FrameError::TooLong { length, max })?;
        let read = |frame| serde_json::from_slice(frame).map_err(|error| FrameError::Malformed(error.to_string()));
        frame.map(read).transpose()
    }
}

impl fmt::Display for UnitEnd {
    /// As in "oom-kill at 64M (peak 63M)".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mega = |bytes: u64| bytes.div_ceil(1 << 20);
        match (self.result.as_str(), self.signal, self.code) {
            ("oom-kill", ..) => {
                f.write_str("oom-kill")?;
                if let Some(max) = self.memory_max {
                    write!(f, " at {} MB", mega(max))?;
                }
                if let Some(peak) = self.memory_peak {
                    write!(f, " (peak {} MB)", mega(peak))?;
                }
                Ok(())
            }
            ("", ..) => f.write_str("ended unseen"),
            (_, Some(signal), _) if self.result == "signal" => write!(f, "signal {signal}"),
            (_, _, Some(code)) if self.result == "exit-code" => write!(f, "exit code {code}"),
            (result, ..) => f.write_str(result),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzz_frames_of_the_coordinator() {
        let frame = |json: &str| [&(json.len() as u32).to_be_bytes()[..], json.as_bytes()].concat();
        let seeds = [
            frame(r#"{"id":1,"verb":"start","worker":3}"#),
            frame(
                r#"{"id":2,"verb":"scope","scope":"0f8fad5b-7","pid":42,"limits":{"memory_max":1048576,"tasks_max":5}}"#,
            ),
            frame(r#"{"id":3,"verb":"watch","units":[{"worker":3},{"scope":"x-1"}]}"#),
            frame(r#"{"id":4,"verb":"tell","message":"m","priority":3,"fields":{"KQUEUE_APP":"shop"}}"#),
            frame(
                r#"{"id":5,"error":["busy","too many"],"units":[{"unit":{"worker":1},"state":"active","pid":1,"memory":5}]}"#,
            ),
            frame(r#"{"notice":"ended","unit":{"worker":3},"end":{"result":"oom-kill","signal":9,"memory_peak":5}}"#),
        ];
        kqueue_fuzz::fuzz("coordinator-frames", &seeds.each_ref().map(Vec::as_slice), |input| {
            let mut requests = Frames::new(MAX_REQUEST);
            let mut answers = Frames::new(MAX_ANSWER);
            for part in input.chunks(9) {
                requests.feed(part);
                while let Ok(Some(_)) = requests.message::<Request>() {}
                answers.feed(part);
                while let Ok(Some(_)) = answers.message::<FromCoordinator>() {}
            }
        });
    }

    #[test]
    fn units_have_one_name_and_one_owner() {
        for unit in [Unit::Worker(3), Unit::Scope("0f8fad5b-7".to_owned())] {
            let name = unit.name("shop");
            assert_eq!(Unit::of("shop", &name), Some(unit.clone()), "{name}");
            assert_eq!(Unit::of("sho", &name), None, "{name}");
            assert_eq!(Unit::of("shop2", &name), None, "{name}");
        }
        for name in [
            "kqueue-shop.slice",
            "kqueue@shop.service",
            "kqueue-worker@shop:x.service",
            "kqueue-worker@shop:01.service",
            "kqueue-worker@shop:+1.service",
            "kqueue-shop-.scope",
            "kqueue-shop-A.scope",
            "ssh.service",
            "",
        ] {
            assert_eq!(Unit::of("shop", name), None, "{name}");
        }
    }

    #[test]
    fn messages_survive_the_way() {
        let request = Request {
            id: 7,
            verb: Verb::Scope {
                scope: "a-1".to_owned(),
                pid: 42,
                limits: UnitLimits { memory_max: Some(64 << 20), ..UnitLimits::default() },
            },
        };
        let notice = FromCoordinator::Notice(Notice::Ended {
            unit: Unit::Worker(2),
            end: UnitEnd { result: "watchdog".to_owned(), signal: Some(9), ..UnitEnd::default() },
        });
        let answer = FromCoordinator::Answer(Answer {
            id: 7,
            error: Some((Refusal::Busy, "later".to_owned())),
            ..Answer::default()
        });
        let mut frames = Frames::new(MAX_REQUEST);
        for byte in frame(&request).iter().chain(&frame(&notice)).chain(&frame(&answer)) {
            frames.feed(&[*byte]);
        }
        assert_eq!(frames.message::<Request>(), Ok(Some(request)));
        assert_eq!(frames.message::<FromCoordinator>(), Ok(Some(notice)));
        assert_eq!(frames.message::<FromCoordinator>(), Ok(Some(answer)));
        assert_eq!(frames.message::<Request>(), Ok(None));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let mut frames = Frames::new(MAX_REQUEST);
        frames.feed(b"GET / HTTP/1.1\r\n");
        assert!(matches!(frames.message::<Request>(), Err(FrameError::TooLong { .. })));
        for body in ["{}", "[]", r#"{"id":1,"verb":"reboot"}"#, r#"{"id":1,"verb":"kill","unit":"*"}"#] {
            let mut frames = Frames::new(MAX_REQUEST);
            frames.feed(&(body.len() as u32).to_be_bytes());
            frames.feed(body.as_bytes());
            assert!(matches!(frames.message::<Request>(), Err(FrameError::Malformed(_))), "{body}");
        }
    }
}
