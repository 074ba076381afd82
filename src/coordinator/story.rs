//! The log of the host, shown by `journalctl -u kqueue`: the coordinator's own actions, and lines from runtimes. Lines
//! from runtimes are sanitised first.

use std::collections::BTreeMap;

use libsystemd::logging::{Priority, connected_to_journal, journal_send};

use kqueue_core::wire::coordinator::{UnitEnd, UnitLimits};
use kqueue_system::harmless;

/// Bytes to which the line of a runtime is truncated.
const LINE: usize = 1024;
/// Bytes to which the value of a field is truncated.
const VALUE: usize = 512;
/// Maximum number of fields of a line.
const FIELDS: usize = 16;

/// Writes a line of a runtime. `app` is the identity of the caller, not a claim of the runtime.
pub(super) fn told(app: &str, priority: u8, message: &str, fields: &BTreeMap<String, String>) {
    let message = format!("{app}: {}", harmless::line(message, LINE));
    let priority = match priority {
        0..=3 => Priority::Error,
        4 => Priority::Warning,
        5 => Priority::Notice,
        _ => Priority::Info,
    };
    if connected_to_journal() {
        let own = [
            ("SYSLOG_IDENTIFIER".to_owned(), "kqueue-coordinator".to_owned()),
            ("KQUEUE_APP".to_owned(), app.to_owned()),
        ];
        let fields = permitted(fields);
        if journal_send(priority, &message, own.into_iter().chain(fields)).is_ok() {
            return;
        }
    }
    // Without the journal, the fields are dropped: tracing supports field names known at compile time only.
    match priority {
        Priority::Error => tracing::error!(kqueue_app = app, "{message}"),
        Priority::Warning => tracing::warn!(kqueue_app = app, "{message}"),
        _ => tracing::info!(kqueue_app = app, "{message}"),
    }
}

/// The fields that a runtime may set: `KQUEUE_*` except `KQUEUE_APP`, and a valid `MESSAGE_ID`.
fn permitted(fields: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let is_name = |name: &str| {
        let own = name.strip_prefix("KQUEUE_").filter(|own| *own != "APP");
        let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        own.is_some_and(|own| (1..=57).contains(&own.len()) && own.bytes().all(plain))
    };
    let is_id = |value: &str| value.len() == 32 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    fields
        .iter()
        .filter(|(name, value)| is_name(name) || (*name == "MESSAGE_ID" && is_id(value)))
        .take(FIELDS)
        .map(|(name, value)| (name.clone(), harmless::line(value, VALUE)))
        .collect()
}

/// Formats limits: `64 MB, 30 s, 128 tasks`.
pub(super) fn limits(limits: &UnitLimits) -> String {
    let words = [
        limits.memory_max.map(|bytes| format!("{} MB", bytes.div_ceil(1 << 20))),
        limits.runtime_max_usec.map(|usec| format!("{} s", usec as f64 / 1e6)),
        limits.tasks_max.map(|tasks| format!("{tasks} tasks")),
        limits.cpu_weight.map(|weight| format!("CPU weight {weight}")),
        limits.io_weight.map(|weight| format!("IO weight {weight}")),
    ];
    let words: Vec<String> = words.into_iter().flatten().collect();
    if words.is_empty() { "no limits".to_owned() } else { words.join(", ") }
}

/// Formats the end of a unit, with its memory peak and CPU time.
pub(super) fn end(end: &UnitEnd) -> String {
    let mut words = if end.result == "success" { "ended".to_owned() } else { end.to_string() };
    // Memory that a process allocated before it was moved into its scope is not charged to it, so the peak may be 0.
    let peak = end.memory_peak.filter(|bytes| *bytes > 0 && end.result != "oom-kill");
    let took = [
        peak.map(|bytes| format!("{} MB memory peak", bytes.div_ceil(1 << 20))),
        end.cpu_usec.map(|usec| format!("{:.3} s CPU time", usec as f64 / 1e6)),
    ];
    for part in took.into_iter().flatten() {
        words.push_str(", ");
        words.push_str(&part);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_ours_or_none() {
        let id = "25e2f46b928846c299d5ca9703d6d297";
        let given: BTreeMap<String, String> = [
            ("KQUEUE_JOB", "a\nb"),
            ("KQUEUE_APP", "other"),
            ("KQUEUE_", "x"),
            ("KQUEUE_a", "x"),
            ("_UID", "0"),
            ("MESSAGE", "x"),
            ("MESSAGE_ID", id),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let kept = [("KQUEUE_JOB", "a b"), ("MESSAGE_ID", id)];
        assert_eq!(permitted(&given), kept.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let many = (0..100).map(|n| (format!("KQUEUE_{n}"), String::new())).collect();
        assert_eq!(permitted(&many).len(), FIELDS);
        assert!(permitted(&[("MESSAGE_ID".to_owned(), "x".to_owned())].into()).is_empty());
    }

    #[test]
    fn ends_and_limits_in_words() {
        let killed = UnitEnd {
            result: "oom-kill".to_owned(),
            memory_max: Some(64 << 20),
            memory_peak: Some(64 << 20),
            cpu_usec: Some(1500),
            ..UnitEnd::default()
        };
        assert_eq!(end(&killed), "oom-kill at 64 MB (peak 64 MB), 0.002 s CPU time");
        let well = UnitEnd { result: "success".to_owned(), memory_peak: Some(5 << 20), ..UnitEnd::default() };
        assert_eq!(end(&well), "ended, 5 MB memory peak");
        assert_eq!(limits(&UnitLimits::default()), "no limits");
        let some = UnitLimits { memory_max: Some(1 << 20), runtime_max_usec: Some(1_500_000), ..UnitLimits::default() };
        assert_eq!(limits(&some), "1 MB, 1.5 s");
    }
}
