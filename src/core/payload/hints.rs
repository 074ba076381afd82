//! Placement hints that a job declares.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::value::RawValue;

use super::php::{self, Scalar};
use super::scalar;

/// The kqueue properties that a job may declare, in the order of the arguments and results of [`php::properties`].
const NAMES: [&str; 7] =
    ["isolated", "maxMemory", "estimatedDuration", "priority", "maxTasks", "cpuWeight", "ioWeight"];

/// Placement hints of a job. Each is optional, and none changes what the job does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// `isolated`: true requests the isolated tier, false the inline tier.
    pub isolated: Option<bool>,
    /// `maxMemory`: MB that the job needs; never 0.
    pub max_memory_mb: Option<u32>,
    /// `estimatedDuration`: expected duration of a run.
    pub estimated_duration: Option<Duration>,
    /// `priority`: order of waiting jobs of one tier; higher runs first.
    pub priority: Option<i32>,
    /// `maxTasks`: number of processes and threads that an isolated job needs; never 0.
    pub max_tasks: Option<u32>,
    /// `cpuWeight`: systemd's CPU weight of an isolated job, 1 to 10000.
    pub cpu_weight: Option<u32>,
    /// `ioWeight`: systemd's IO weight of an isolated job, 1 to 10000.
    pub io_weight: Option<u32>,
    /// Bit set of properties that the class uses for another purpose; see [`Hints::without`].
    pub foreign: u8,
}

impl Hints {
    /// True when nothing is declared.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Merges the hints of one job (`self`) with those of its class; the job's take precedence.
    #[must_use]
    pub fn merge(self, class: &Self) -> Self {
        let [isolated, memory, duration, priority, tasks, cpu, io] = class.kept();
        Self {
            isolated: self.isolated.filter(|_| isolated).or(class.isolated),
            max_memory_mb: self.max_memory_mb.filter(|_| memory).or(class.max_memory_mb),
            estimated_duration: self.estimated_duration.filter(|_| duration).or(class.estimated_duration),
            priority: self.priority.filter(|_| priority).or(class.priority),
            max_tasks: self.max_tasks.filter(|_| tasks).or(class.max_tasks),
            cpu_weight: self.cpu_weight.filter(|_| cpu).or(class.cpu_weight),
            io_weight: self.io_weight.filter(|_| io).or(class.io_weight),
            foreign: class.foreign,
        }
    }

    /// Marks properties that the class uses for another purpose: their values in its jobs are ignored too.
    #[must_use]
    pub fn without<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        for at in names.into_iter().filter_map(|name| NAMES.iter().position(|known| *known == name)) {
            self.foreign |= 1 << at;
        }
        self
    }

    /// For each of [`NAMES`], whether it is meant for kqueue.
    fn kept(&self) -> [bool; NAMES.len()] {
        std::array::from_fn(|at| self.foreign & (1 << at) == 0)
    }

    /// Reads a JSON object with the PHP property names (`{"isolated":true,"maxMemory":512}`): the `kqueue` key of a
    /// payload, or PHP's report about a class. Anything else yields no hints.
    pub fn from_json(json: &str) -> Self {
        // An object of scalars. Redis' Lua turns an empty one into `[]`.
        let Ok(object) = serde_json::from_str::<HashMap<String, &RawValue>>(json) else {
            return Self::default();
        };
        let value = |name: &str| object.get(name).copied();
        Self {
            isolated: scalar::boolean(value("isolated")),
            max_memory_mb: scalar::unsigned(value("maxMemory")).and_then(megabytes),
            estimated_duration: scalar::seconds(value("estimatedDuration")),
            priority: scalar::integer(value("priority")).map(clamp),
            max_tasks: scalar::unsigned(value("maxTasks")).filter(|tasks| *tasks > 0),
            cpu_weight: scalar::unsigned(value("cpuWeight")).and_then(weight),
            io_weight: scalar::unsigned(value("ioWeight")).and_then(weight),
            foreign: 0,
        }
    }

    /// Reads the serialised command of a payload, given as its raw JSON string. A command that is encrypted, or that
    /// contains none of the property names, costs only a substring search and is not unescaped.
    pub(super) fn from_command(json: &str) -> Self {
        if !json.starts_with("\"O:") || !NAMES.iter().any(|name| json.contains(name)) {
            return Self::default();
        }
        let Ok(command) = serde_json::from_str::<String>(json) else {
            return Self::default();
        };
        Self::from_serialized(command.as_bytes())
    }

    /// Reads the output of PHP's `serialize()` for an object: its own properties, not those of nested objects.
    pub fn from_serialized(command: &[u8]) -> Self {
        let Some([isolated, memory, duration, priority, tasks, cpu, io]) = php::properties(command, NAMES) else {
            return Self::default();
        };
        let count = |value: &Option<Scalar>| {
            value.as_ref().and_then(Scalar::integer).and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0)
        };
        Self {
            isolated: isolated.as_ref().and_then(Scalar::boolean),
            max_memory_mb: count(&memory).and_then(megabytes),
            estimated_duration: duration.as_ref().and_then(Scalar::float).and_then(scalar::duration),
            priority: priority.as_ref().and_then(Scalar::integer).map(clamp),
            max_tasks: count(&tasks),
            cpu_weight: count(&cpu).and_then(weight),
            io_weight: count(&io).and_then(weight),
            foreign: 0,
        }
    }
}

/// MB, from 1 to below 2^20. Larger numbers are ignored: an app that had a property of this name before means bytes.
fn megabytes(mb: u32) -> Option<u32> {
    (1..1 << 20).contains(&mb).then_some(mb)
}

/// A systemd weight: 0 is ignored, more than 10000 is clamped.
fn weight(share: u32) -> Option<u32> {
    (share > 0).then_some(share.min(10_000))
}

/// Clamps a priority to the range of `i32`.
fn clamp(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(if number < 0 { i32::MIN } else { i32::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_with_a_meaning_of_its_own() {
        let job = Hints { max_memory_mb: Some(64), priority: Some(3), ..Hints::default() };
        let class = Hints { isolated: Some(true), ..Hints::default() }.without(["maxMemory", "tenant"]);
        let merged = job.merge(&class);
        assert_eq!((merged.isolated, merged.max_memory_mb, merged.priority), (Some(true), None, Some(3)));
        assert_eq!(job.merge(&Hints::default()).max_memory_mb, Some(64));
    }

    #[test]
    fn json_hints_are_read_leniently() {
        let full = Hints {
            isolated: Some(true),
            max_memory_mb: Some(512),
            estimated_duration: Some(Duration::from_millis(12_500)),
            priority: Some(-3),
            ..Hints::default()
        };
        for json in [
            r#"{"isolated":true,"maxMemory":512,"estimatedDuration":12.5,"priority":-3}"#,
            r#"{"isolated":1,"maxMemory":"512","estimatedDuration":"12.5","priority":-3.0}"#,
            r#"{"later":{"x":[1]},"isolated":true,"maxMemory":512.0,"estimatedDuration":12.5,"priority":"-3"}"#,
        ] {
            assert_eq!(Hints::from_json(json), full, "{json}");
        }
        for json in [
            "{}",
            "[]",
            "null",
            "7",
            "\"isolated\"",
            "nonsense",
            r#"{"isolated":null,"maxMemory":0,"estimatedDuration":-1,"priority":[]}"#,
            r#"{"isolated":"yes","maxMemory":-5,"estimatedDuration":"x","priority":"high"}"#,
        ] {
            assert!(Hints::from_json(json).is_empty(), "{json}");
        }
        let far = Hints::from_json(r#"{"priority":99999999999}"#);
        assert_eq!(far.priority, Some(i32::MAX));
    }

    #[test]
    fn what_an_instance_says_beats_its_class() {
        let class = Hints { isolated: Some(true), max_memory_mb: Some(512), ..Hints::default() };
        let instance = Hints { isolated: Some(false), priority: Some(1), ..Hints::default() };
        assert_eq!(
            instance.merge(&class),
            Hints {
                isolated: Some(false),
                max_memory_mb: Some(512),
                estimated_duration: None,
                priority: Some(1),
                ..Hints::default()
            }
        );
    }

    #[test]
    fn an_escaped_command_is_unescaped() {
        let command =
            "O:1:\"T\":3:{s:1:\"x\";s:3:\"é\n\";s:11:\"\0*\0isolated\";b:1;s:20:\"\0T\0estimatedDuration\";d:0.5;}";
        let json = serde_json::to_string(command).unwrap();
        let hints = Hints::from_command(&json);
        assert_eq!(hints.isolated, Some(true));
        assert_eq!(hints.estimated_duration, Some(Duration::from_millis(500)));
        // Encrypted, empty, or null.
        assert!(Hints::from_command("\"eyJpdiI6\"").is_empty());
        assert!(Hints::from_command("\"\"").is_empty());
        assert!(Hints::from_command("null").is_empty());
    }
}
