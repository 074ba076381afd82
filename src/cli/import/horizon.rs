//! A plan of Horizon's, as the app has told it. Pure.

use std::path::Path;

use serde_json::Value;

use super::plan::{Set, why_not};
use crate::survey::Supervisor;

/// Options that are Horizon's own business.
const SILENT: &[&str] = &[
    "connection",
    "queue",
    "name",
    "parentId",
    "workersName",
    "directory",
    "maxProcesses",
    "minProcesses",
    "autoScale",
];

/// What a supervisor comes to, of the app in `path`.
pub(super) fn set(supervisor: &Supervisor, path: &Path) -> Set {
    let options = &supervisor.options;
    let text = |name: &str| options.get(name).map(as_text).filter(|text| !text.is_empty());
    let count = |name: &str| text(name).and_then(|text| text.parse::<u32>().ok());
    let source = format!("supervisor {}", supervisor.name);
    let mut set = Set { name: supervisor.name.clone(), source, path: path.to_owned(), ..Set::default() };
    set.connection = text("connection");
    set.queues = text("queue").map(|names| names.split(',').map(|name| name.trim().to_owned()).collect());
    set.processes = count("maxProcesses").unwrap_or(1).max(1);
    // Horizon's default is without limit, that of queue:work is one.
    set.key("tries", &text("maxTries").unwrap_or_else(|| "0".into()), "tries");
    let limited = |name: &str| text(name).filter(|text| text != "0");
    for (name, key) in [("timeout", "timeout"), ("memory", "worker_memory"), ("backoff", "backoff")] {
        if let Some(text) = text(name) {
            set.key(key, &text, name);
        }
    }
    for (name, key) in [("maxJobs", "worker_max_jobs"), ("maxTime", "worker_max_time")] {
        if let Some(text) = limited(name) {
            set.key(key, &text, name);
        }
    }
    if text("force").is_some_and(|text| text == "true" || text == "1") {
        set.key("force", "true", "force");
    }
    let simple = text("balance").as_deref() == Some("simple");
    if !simple {
        let queues = set.queues.as_ref().map_or(1, Vec::len) as u32;
        set.least = count("minProcesses").map(|least| least.saturating_mul(queues));
    }
    for (name, value) in options {
        let shown = as_text(value);
        let why = match name.as_str() {
            "balance" if shown == "simple" || shown == "auto" => {
                "no process belongs to a queue: the pool grows by what waits, and takes queues in strict order"
            }
            "balanceMaxShift" | "balanceCooldown" | "autoScalingStrategy" => {
                "the pool grows at once by what waits, and shrinks as it idles"
            }
            "nice" if shown != "0" => {
                "Nice= in a drop-in says it: systemctl edit kqueue@APP, systemctl edit kqueue-worker@"
            }
            "rest" if shown != "0" => why_not("rest"),
            "balance" | "nice" | "rest" | "force" | "maxTries" | "timeout" | "memory" | "backoff" | "maxJobs"
            | "maxTime" => continue,
            own if SILENT.contains(&own) => continue,
            other => why_not(other),
        };
        set.drop(&format!("{name} = {shown}"), why);
    }
    set
}

fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::plan;
    use super::*;

    #[test]
    fn a_plan_becomes_keys() {
        let supervisor = |name: &str, options: Value| Supervisor {
            name: name.into(),
            options: options.as_object().unwrap().clone(),
        };
        let sets = vec![
            set(
                &supervisor(
                    "supervisor-1",
                    json!({"connection": "redis", "queue": "default,mail", "balance": "auto", "maxProcesses": 10, "minProcesses": 2,
                           "maxTime": 0, "maxJobs": 0, "memory": 256, "maxTries": 1, "timeout": 60, "nice": 5, "balanceCooldown": 3}),
                ),
                Path::new("/srv/shop"),
            ),
            set(
                &supervisor("long", json!({"connection": "redis", "queue": "video", "timeout": 3600})),
                Path::new("/srv/shop"),
            ),
        ];
        let mut notes = Vec::new();
        let apps = plan::apps(sets, Some("shop"), &mut notes).unwrap();
        let keys = |at: usize| {
            let text = apps[at].draft.text();
            text.lines()
                .filter(|line| !line.starts_with('#') && !line.is_empty())
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let head = ["path = \"/srv/shop\"", "connection = \"redis\""];
        let first = [
            "queues = \"default,mail\"",
            "pool_min_idle = 4",
            "pool_size = 10",
            "pool_max_size = 10",
            "worker_memory = 256",
        ];
        assert_eq!(keys(0), [&head[..], &first].concat());
        let second = ["queues = \"video\"", "pool_size = 1", "pool_max_size = 1", "tries = 0", "timeout = 3600"];
        assert_eq!(keys(1), [&head[..], &second].concat());
        assert_eq!(apps[1].name, "shop_long");
        let all = notes.join("\n");
        for what in ["balance = auto", "nice = 5", "balanceCooldown", "shop_long"] {
            assert!(all.contains(what), "{what} is told: {all}");
        }
    }
}
