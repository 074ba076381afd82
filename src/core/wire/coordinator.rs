//! The messages between a runtime and the coordinator. Pure: bytes in, messages out.
#![doc = include_str!("coordinator.md")]

use std::fmt;

use super::frames::{Cutter, TooLong};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Maximum size of a request, bytes.
pub const MAX_REQUEST: usize = 16 << 10;
/// Maximum size of an answer or a notice, bytes.
pub const MAX_ANSWER: usize = 1 << 20;
/// Maximum number of units in one [`Verb::Watch`].
pub const MAX_WATCH: usize = 200;

/// A unit of the caller's app.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// The pooled worker with this number: `kqueue-worker@APP:N.service`.
    Worker(u32),
    /// The scope of one isolated job: `kqueue-APP-NAME.scope`. The name is 1 to 40 characters of `[a-z0-9-]`.
    Scope(String),
}

impl Unit {
    /// The systemd name of this unit of `app`.
    pub fn name(&self, app: &str) -> String {
        match self {
            Unit::Worker(number) => format!("kqueue-worker@{app}:{number}.service"),
            Unit::Scope(name) => format!("kqueue-{app}-{name}.scope"),
        }
    }

    /// Parses a systemd name as a unit of `app`.
    pub fn of(app: &str, name: &str) -> Option<Self> {
        Self::parse(name).filter(|(owner, _)| *owner == app).map(|(_, unit)| unit)
    }

    /// Parses a systemd name into app and unit; `None` if it is not a kqueue worker or scope.
    pub fn parse(name: &str) -> Option<(&str, Self)> {
        let (app, unit) = if let Some(rest) = name.strip_prefix("kqueue-worker@") {
            let (app, number) = rest.strip_suffix(".service")?.split_once(':')?;
            (app, Unit::Worker(number.parse().ok()?))
        } else {
            let (app, own) = name.strip_prefix("kqueue-")?.strip_suffix(".scope")?.split_once('-')?;
            (app, Unit::Scope(is_scope_name(own).then(|| own.to_owned())?))
        };
        // Accept only the canonical name: Rust also parses "+1" and "01" as numbers.
        (is_app_name(app) && unit.name(app) == name).then_some((app, unit))
    }
}

/// Whether this is a valid app name: 1 to 32 characters of `[a-z0-9_]`, not beginning with `_`.
pub fn is_app_name(name: &str) -> bool {
    let own = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=32).contains(&name.len())
        && name.bytes().next().is_some_and(own)
        && name.bytes().all(|byte| own(byte) || byte == b'_')
}

/// Whether this is a valid NAME of a scope: 1 to 40 characters of `[a-z0-9-]`.
pub fn is_scope_name(name: &str) -> bool {
    (1..=40).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Resource limits of a unit. Absent ones are taken from root's settings.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct UnitLimits {
    /// Memory, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_max: Option<u64>,
    /// Run time, microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_max_usec: Option<u64>,
    /// Number of processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks_max: Option<u64>,
    /// systemd's `CPUWeight=`, 1 to 10000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_weight: Option<u64>,
    /// systemd's `IOWeight=`, 1 to 10000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_weight: Option<u64>,
}

/// An operation requested from the coordinator.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub enum Verb {
    /// Start a pooled worker. Answered when it is active or has failed.
    Start {
        /// Its number.
        worker: u32,
    },
    /// Kill every process of a unit.
    Kill {
        /// The unit.
        unit: Unit,
    },
    /// Move a process of the caller's own unit, or of a worker of its app, into a new scope. Answered when the process
    /// is
    /// known to be in it.
    Scope {
        /// NAME of the scope, never used before.
        scope: String,
        /// The process id.
        pid: i32,
        /// Limits of the scope.
        limits: UnitLimits,
    },
    /// Send a notice when one of these units ends. A unit that does not exist is reported as ended at once. Units that
    /// were started or scoped on this connection are watched without this request.
    Watch {
        /// The units, at most [`MAX_WATCH`].
        units: Vec<Unit>,
    },
    /// List every existing worker and scope of the app.
    List,
    /// Report what the service manager is about to do with the caller's own unit.
    Purpose,
    /// Write one line about one job to the coordinator's journal.
    Tell {
        /// The line.
        message: String,
        /// A syslog priority: 3 (error) to 6 (info).
        priority: u8,
        /// Journal fields, names and values. Names begin with `KQUEUE_`, or are `MESSAGE_ID`.
        #[serde(default)]
        fields: std::collections::BTreeMap<String, String>,
    },
}

/// A verb and its request number.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct Request {
    /// A number chosen by the caller; the answer repeats it.
    pub id: u64,
    /// The operation.
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
    /// Too many requests or units are under way, or the unit is in transition.
    Busy,
    /// The unit or process does not exist.
    Absent,
}

/// What the service manager is about to do with a unit.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Nothing.
    #[default]
    None,
    /// Stop it without starting it again.
    Stop,
    /// Stop it and start it again.
    Restart,
}

/// An existing unit.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct Listed {
    /// The unit.
    pub unit: Unit,
    /// systemd's ActiveState: `active`, `activating`, `deactivating`, `failed`…
    pub state: String,
    /// Process id: the main process of a service, the lowest id in a scope; 0 for none.
    pub pid: i32,
    /// Current memory use, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
}

/// How a unit ended.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default)]
pub struct UnitEnd {
    /// systemd's Result: `success`, `exit-code`, `signal`, `oom-kill`, `timeout`, `watchdog`…; empty when unknown.
    pub result: String,
    /// Exit code of its main process. Services only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal that killed its main process. Services only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Peak memory use, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_peak: Option<u64>,
    /// Memory limit, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_max: Option<u64>,
    /// CPU time, microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_usec: Option<u64>,
}

/// The answer to a request.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
pub struct Answer {
    /// The request's number.
    pub id: u64,
    /// Why the request was not carried out; `None` on success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<(Refusal, String)>,
    /// After [`Verb::Start`]: process id of the worker's main process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// After [`Verb::List`]: the units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<Vec<Listed>>,
    /// After [`Verb::Purpose`]: what is about to happen to the caller's unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
}

/// An unsolicited message from the coordinator.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(tag = "notice", rename_all = "snake_case")]
pub enum Notice {
    /// A watched unit has ended.
    Ended {
        /// The unit.
        unit: Unit,
        /// How it ended.
        end: UnitEnd,
    },
}

/// A message from the coordinator.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(untagged)]
pub enum FromCoordinator {
    /// An unsolicited notice.
    Notice(Notice),
    /// The answer to a request.
    Answer(Answer),
}

/// A malformed frame; the stream cannot be read further.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
    /// The frame is longer than the maximum.
    #[error("a frame of {length} bytes, above the maximum of {max}")]
    TooLong {
        /// Length field, bytes.
        length: usize,
        /// Maximum, bytes.
        max: usize,
    },
    /// The body is not a valid message; the parser's error.
    #[error("a malformed message: {0}")]
    Malformed(String),
}

/// Encodes one message as a frame.
pub fn frame(message: &impl Serialize) -> Vec<u8> {
    // These types have string keys only, so serialisation cannot fail.
    let body = serde_json::to_vec(message).unwrap_or_default();
    let mut frame = Vec::with_capacity(4 + body.len());
    frame.extend_from_slice(&(body.len() as u32).to_be_bytes());
    frame.extend_from_slice(&body);
    frame
}

/// Splits a byte stream into messages of bounded size.
#[derive(Debug)]
pub struct Frames(Cutter);

impl Frames {
    /// For messages of up to `max` bytes.
    pub fn new(max: usize) -> Self {
        Self(Cutter::new(max))
    }

    /// Appends received bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.0.feed(bytes);
    }

    /// The next complete message, if there is one.
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
    /// As in "oom-kill at 64 MB (peak 63 MB)", "signal 9", "exit code 1"; "ended with unknown result" for an empty
    /// result.
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
            ("", ..) => f.write_str("ended with unknown result"),
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
