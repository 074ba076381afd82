//! Horizon's plan, as the app has reported it. Pure.

use std::path::Path;

use serde_json::Value;

use super::plan::{App, At, Set, why_not};
use crate::survey::{Horizon, Supervisor};

/// Options that need no note: handled elsewhere, or internal to Horizon.
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

/// The set of a supervisor of the app in `path`; `None` if it has no process.
pub(super) fn set(supervisor: &Supervisor, path: &Path, notes: &mut Vec<String>) -> Option<Set> {
    let options = &supervisor.options;
    let text = |name: &str| options.get(name).map(as_text).filter(|text| !text.is_empty());
    let count = |name: &str| text(name).and_then(|text| text.parse::<u32>().ok());
    let source = format!("supervisor {}", supervisor.name);
    let mut set = Set { name: supervisor.name.clone(), source, path: path.to_owned(), ..Set::default() };
    set.at = At { file: "config/horizon.php".into(), line: None };
    set.connection = text("connection");
    set.queues = text("queue").map(|names| names.split(',').map(|name| name.trim().to_owned()).collect());
    set.processes = count("maxProcesses").unwrap_or(1);
    if set.processes == 0 {
        notes.push(format!("{} is left out: with maxProcesses = 0 Horizon starts no process for it", set.called()));
        return None;
    }
    // Horizon's default is unlimited, that of `queue:work` is 1.
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
    set.least = match text("balance").as_deref() {
        // Each queue keeps this minimum.
        Some("auto") => {
            let queues = set.queues.as_ref().map_or(1, Vec::len);
            count("minProcesses").map(|least| least.saturating_mul(u32::try_from(queues).unwrap_or(u32::MAX)))
        }
        // All processes run all the time.
        Some("simple") => None,
        // One pool for all queues.
        _ => count("minProcesses"),
    };
    for (name, value) in options {
        let shown = as_text(value);
        let why = match name.as_str() {
            "balance" if shown == "simple" || shown == "auto" => {
                "workers are not bound to a queue: the pool grows with the waiting jobs, and takes queues in strict \
                 order"
            }
            "balanceMaxShift" | "balanceCooldown" | "autoScalingStrategy" => {
                "the pool grows at once with the waiting jobs, and shrinks when idle"
            }
            "nice" if shown != "0" => {
                "set Nice= in a drop-in: systemctl edit kqueue@{app}, systemctl edit kqueue-worker@"
            }
            "rest" if shown != "0" => why_not("rest"),
            "balance" | "nice" | "rest" | "force" | "maxTries" | "timeout" | "memory" | "backoff" | "maxJobs"
            | "maxTime" => continue,
            own if SILENT.contains(&own) => continue,
            other => why_not(other),
        };
        set.drop(&format!("{name} = {shown}"), why);
    }
    Some(set)
}

/// Turns Horizon's alerts for long waits into those of the apps that work the queues. Returns notes.
pub(super) fn waits(horizon: &Horizon, apps: &mut [App]) -> Vec<String> {
    let mut notes = Vec::new();
    let mut taken = false;
    for (wait, seconds) in &horizon.waits {
        let (connection, queue) = wait.split_once(':').unwrap_or(("redis", wait));
        let seconds = as_text(seconds);
        if seconds == "0" {
            continue;
        }
        let works = |app: &&mut App| {
            let queues = app.draft.get("queues").unwrap_or("default");
            app.draft.get("connection").unwrap_or("redis") == connection && queues.split(',').any(|name| name == queue)
        };
        match apps.iter_mut().find(works).map(|app| app.draft.say("queue", queue, "alert_wait", &seconds)) {
            Some(Ok(())) => taken = true,
            Some(Err(error)) => notes.push(format!("waits of config/horizon.php: {wait}: {error}; left out")),
            None => notes.push(format!("waits of config/horizon.php: {wait} is not a queue of these apps; left out")),
        }
    }
    let told = "waits of config/horizon.php became alert_wait of their queues: alerts go to the journal, and to the \
                command, webhook or mail that [alerts] in the config file sets; test these with `kqueue alert APP test`";
    notes.extend(taken.then(|| told.to_owned()));
    notes
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
        let mut notes = Vec::new();
        let sets = [
            (
                &supervisor(
                    "supervisor-1",
                    json!({"connection": "redis", "queue": "default,mail", "balance": "auto", "maxProcesses": 10, "minProcesses": 2,
                           "maxTime": 0, "maxJobs": 0, "memory": 256, "maxTries": 1, "timeout": 60, "nice": 5, "balanceCooldown": 3}),
                ),
                Path::new("/srv/shop"),
            ),
            (
                &supervisor("long", json!({"connection": "redis", "queue": "video", "timeout": 3600})),
                Path::new("/srv/shop"),
            ),
        ];
        let sets = sets.iter().filter_map(|(supervisor, path)| set(supervisor, path, &mut notes)).collect();
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

    #[test]
    fn processes_as_horizon_would_have_them() {
        for (options, expected) in [
            (json!({"balance": "auto", "queue": "a,b", "maxProcesses": 9, "minProcesses": 2}), Some((9, Some(4)))),
            (json!({"balance": false, "queue": "a,b", "maxProcesses": 9, "minProcesses": 2}), Some((9, Some(2)))),
            (json!({"balance": "off", "queue": "a,b", "maxProcesses": 9, "minProcesses": 2}), Some((9, Some(2)))),
            (json!({"balance": "simple", "queue": "a,b", "maxProcesses": 9, "minProcesses": 2}), Some((9, None))),
            (json!({"queue": "a"}), Some((1, None))),
            (json!({"maxProcesses": 0}), None),
        ] {
            let supervisor = Supervisor { name: "x".into(), options: options.as_object().unwrap().clone() };
            let mut notes = Vec::new();
            let made = set(&supervisor, Path::new("/srv/shop"), &mut notes);
            assert_eq!(made.map(|set| (set.processes, set.least)), expected, "{options}");
            assert_eq!(notes.is_empty(), expected.is_some(), "{notes:?}");
        }
    }

    #[test]
    fn waits_become_alerts() {
        let options = json!({"connection": "redis", "queue": "default,mail"}).as_object().unwrap().clone();
        let supervisor = Supervisor { name: "x".into(), options };
        let mut notes = Vec::new();
        let sets = set(&supervisor, Path::new("/srv/shop"), &mut notes).into_iter().collect();
        let mut apps = plan::apps(sets, None, &mut notes).unwrap();
        let waits = [("redis:mail", json!(90)), ("redis:default", json!(0)), ("redis:gone", json!(60))];
        let waits = waits.map(|(queue, seconds)| (queue.to_owned(), seconds));
        let horizon = Horizon { waits: waits.into(), ..Horizon::default() };
        let said = super::waits(&horizon, &mut apps).join("\n");
        assert!(apps[0].draft.text().ends_with("\n\n[queue.mail]\nalert_wait = 90\n"), "{}", apps[0].draft.text());
        assert!(said.contains("redis:gone is not a queue") && said.contains("kqueue alert APP test"), "{said}");
        assert!(super::waits(&Horizon::default(), &mut apps).is_empty());
    }
}
