//! `kqueue jobs`, `job`, `stats`, `pool`, `events`, `health`, `tune` and `status --watch`, asked of a real runtime.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod app;
#[path = "app/runtime.rs"]
mod runtime;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use app::said;
use runtime::{Runtime, until};
use serde_json::Value;

/// With a job of each kind: three that end well, one that fails, one that runs, one whose time has not come.
fn busy() -> Runtime {
    let runtime = Runtime::start(&["--tries", "1", "--timeout", "1200"]);
    runtime.php(
        "foreach (range(1, 3) as $i) { dispatch(new App\\Jobs\\Plain()); } dispatch(new App\\Jobs\\Throws()); \
         dispatch((new App\\Jobs\\Plain())->delay(3600)); dispatch(new App\\Jobs\\Sleeps(900000));",
    );
    until("the jobs", || {
        let ended = runtime.json(&["jobs", "shop"])["jobs"].as_array()?.len() >= 4;
        let running = runtime.json(&["jobs", "shop", "--running"])["jobs"].as_array()?.len() == 1;
        (ended && running).then_some(())
    });
    runtime
}

fn classes(jobs: &Value) -> Vec<String> {
    let jobs = jobs["jobs"].as_array().unwrap().iter();
    let mut names: Vec<String> = jobs.map(|job| job["class"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn jobs_by_state_class_and_text() {
    let runtime = busy();
    let all = runtime.json(&["jobs", "shop"]);
    assert_eq!(classes(&all), ["App\\Jobs\\Plain", "App\\Jobs\\Plain", "App\\Jobs\\Plain", "App\\Jobs\\Throws"]);
    for (options, found) in [
        (&["--failed"][..], vec!["App\\Jobs\\Throws"]),
        (&["--running"], vec!["App\\Jobs\\Sleeps"]),
        (&["--waiting"], vec![]),
        (&["--class", "Plain", "--since", "1h"], vec!["App\\Jobs\\Plain"; 3]),
        (&["--class", "Plain", "--limit", "2"], vec!["App\\Jobs\\Plain"; 2]),
        (&["--queue", "no-such-queue"], vec![]),
        (&["--text", "thrown on purpose"], vec!["App\\Jobs\\Throws"]),
    ] {
        assert_eq!(classes(&runtime.json(&[&["jobs", "shop"], options].concat())), found, "{options:?}");
    }
    // Other programs get a line a job, with tabs.
    let output = runtime.ask(&["jobs", "shop", "--failed"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), output.status.code()), (2, Some(0)), "{text}");
    assert!(lines[0].starts_with("ENDED\tCLASS\t") && lines[1].contains("\tApp\\Jobs\\Throws\tdefault\t"), "{text}");
    assert!(lines[1].ends_with("thrown on purpose"), "{text}");

    everything_known_of_one_job(&runtime, all["jobs"].as_array().unwrap());
    figures(&runtime);
    what_is_offered_after_a_tab(&runtime);
    // What lies in the queue, and has never been here.
    assert_eq!(classes(&runtime.json(&["jobs", "shop", "--delayed"])), ["App\\Jobs\\Plain"]);
}

fn everything_known_of_one_job(runtime: &Runtime, all: &[Value]) {
    let failed = all.iter().find(|job| job["class"] == "App\\Jobs\\Throws").unwrap();
    let uuid = failed["uuid"].as_str().unwrap();
    let output = runtime.ask(&["job", "shop", &uuid[..13]]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for part in ["App\\Jobs\\Throws: failed\n", uuid, "attempt 1 failed", "thrown on purpose", "because of: "] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    let told = runtime.json(&["job", "shop", uuid, "--payload"]);
    assert_eq!(told["attempts"].as_array().unwrap().len(), 1, "{told:#}");
    let running = runtime.json(&["jobs", "shop", "--running"]);
    let running = running["jobs"][0]["uuid"].as_str().unwrap().to_owned();
    let told = runtime.json(&["job", "shop", &running, "--payload"]);
    let payload: Value = serde_json::from_str(told["payload"].as_str().unwrap_or_default()).unwrap();
    assert_eq!(payload["uuid"], running.as_str(), "{told:#}");

    let none = runtime.ask(&["job", "shop", "ffffffff-0000"]);
    assert_eq!(none.status.code(), Some(4), "{}", said(&none));
    assert!(said(&none).starts_with("kqueue: shop: no job ffffffff-0000 is known"), "{}", said(&none));
}

fn figures(runtime: &Runtime) {
    let stats = runtime.json(&["stats", "shop"]);
    assert_eq!(stats["total"]["runs"], 4, "{stats:#}");
    let of = |class: &str| {
        let classes = stats["classes"].as_array().unwrap();
        classes.iter().find(|one| one["class"] == class).unwrap_or_else(|| panic!("{class}: {stats:#}")).clone()
    };
    assert_eq!(
        (&of("App\\Jobs\\Throws")["outcomes"]["failed"], &of("App\\Jobs\\Plain")["runs"]),
        (&1.into(), &3.into())
    );
    assert!(of("App\\Jobs\\Plain")["duration_ms"]["p95"].is_u64(), "{stats:#}");
    assert!(of("App\\Jobs\\Plain")["why"].is_string(), "{stats:#}");
    assert_eq!(of("App\\Jobs\\Plain")["memory_limit"], 512 << 20, "{stats:#}");
    let one = runtime.json(&["stats", "shop", "--class", "Plain", "--since", "1h"]);
    assert_eq!((&one["total"]["runs"], one["classes"].as_array().unwrap().len()), (&3.into(), 1), "{one:#}");

    let pool = runtime.json(&["pool", "shop"]);
    let busy: u64 = pool["tiers"].as_array().unwrap().iter().map(|tier| tier["busy"].as_u64().unwrap()).sum();
    assert_eq!((busy, &pool["tiers"][1]["settings"]["pool_min_idle"]), (1, &2.into()), "{pool:#}");
    assert!(pool["tiers"][1]["started"].as_u64().unwrap() >= 1, "{pool:#}");

    let events = runtime.json(&["events", "shop", "--since", "1h"]);
    let kinds: Vec<&str> =
        events["events"].as_array().unwrap().iter().filter_map(|event| event["kind"].as_str()).collect();
    assert!(kinds.contains(&"runtime"), "{events:#}");
    let workers = runtime.json(&["events", "shop", "--kind", "worker,deploy", "--limit", "1"]);
    assert_eq!(workers["events"].as_array().unwrap().len(), 1, "{workers:#}");
    assert_eq!(workers["events"][0]["kind"], "worker", "{workers:#}");

    for (options, code, word) in [
        (&[][..], 0, "KQUEUE OK - shop: 1 running"),
        (&["--max-failures", "0"], 2, "KQUEUE CRITICAL - shop: failures in the last hour: 1 is over 0; 1 running"),
        (&["--max-failures", "0,5"], 1, "KQUEUE WARNING - "),
        (&["--max-backlog", "10"], 0, "KQUEUE OK - "),
        (&["--max-backlog", "many"], 3, "error: invalid value 'many'"),
    ] {
        let output = runtime.ask(&[&["health", "shop"], options].concat());
        let text = said(&output);
        assert_eq!(output.status.code(), Some(code), "{options:?}: {text}");
        assert!(text.starts_with(word), "{options:?}: {text}");
        assert!(code == 3 || (text.lines().count() == 1 && text.contains(" | backlog=0;")), "{text}");
    }
    let tune = runtime.json(&["tune", "shop"]);
    assert_eq!((&tune["enough"], &tune["runs"], &tune["advice"]), (&false.into(), &4.into(), &Value::Array(vec![])));
}

fn what_is_offered_after_a_tab(runtime: &Runtime) {
    let offered = |words: &[&str], at: usize| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kqueue"));
        command.arg("--").args(words).env("KQUEUE_COMPLETE", "fish").env("_CLAP_COMPLETE_INDEX", at.to_string());
        // Where apps run by hand have their sockets, by default.
        let session = runtime.world.dir.path().join("session");
        fs::create_dir_all(session.join("kqueue")).unwrap();
        let _ = std::os::unix::fs::symlink(runtime.sockets(), session.join("kqueue/shop"));
        let output = command.env("XDG_RUNTIME_DIR", session).stdin(Stdio::null()).output().unwrap();
        said(&output)
    };
    assert!(offered(&["kqueue", "jobs", "shop", "--class", ""], 4).contains("App\\Jobs\\Throws"));
    assert!(offered(&["kqueue", "stats", "shop", "--queue", ""], 4).contains("default"));
    assert!(offered(&["kqueue", "job", "shop", ""], 3).contains("Throws failed"));
    assert_eq!(offered(&["kqueue", "jobs", "no_such_app", "--class", ""], 4).trim(), "");
}

#[test]
fn status_looks_again_until_nobody_reads() {
    let runtime = Runtime::start(&[]);
    let mut child = runtime.command(&["status", "shop", "--watch", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let seen: Vec<Value> = lines.by_ref().take(2).map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert!(seen.iter().all(|told| told["app"] == "shop" && told["state"] == "running"), "{seen:?}");
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    // Without a terminal nothing is cleared.
    let mut child = runtime.command(&["status", "shop", "-w"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let heads = lines.by_ref().filter(|line| line.contains("shop: ")).take(2).collect::<Vec<_>>();
    assert!(heads.iter().all(|line| line.starts_with("shop: 0 running")), "{heads:?}");
    drop(lines);
    child.wait().unwrap();
}

#[test]
fn advice_is_written_into_the_file() {
    // One worker, for more than it can do.
    let sizes = ["pool_min_idle", "pool_size", "pool_max_size", "max_concurrent_pooled"];
    let options = sizes.map(|key| format!("--{}=1", key.replace('_', "-")));
    let runtime = Runtime::start(&options.each_ref().map(String::as_str));
    runtime.php("foreach (range(1, 120) as $i) { dispatch(new App\\Jobs\\Pooled(60)); }");
    until("the jobs", || (runtime.json(&["stats", "shop"])["total"]["runs"] == 120).then_some(()));
    // Where nobody else may write.
    let etc = tempfile::tempdir().unwrap();
    let file = etc.path().join("shop.toml");
    let lines: String = sizes.iter().map(|key| format!("{key} = 1\n")).collect();
    let text = format!("# Ours.\npath = {:?} # here\n{lines}", runtime.world.app());
    fs::write(&file, &text).unwrap();
    let args = ["tune", "--config", file.to_str().unwrap()];
    let tune = runtime.json(&args);
    assert_eq!((&tune["enough"], &tune["runs"]), (&true.into(), &120.into()), "{tune:#}");
    let advised: Vec<&str> = tune["advice"].as_array().unwrap().iter().filter_map(|one| one["line"].as_str()).collect();
    assert_eq!(advised, ["pool_max_size = 2", "max_concurrent_pooled = 2"], "{tune:#}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text, "it changes nothing by itself");
    let output = runtime.ask(&[&args[..], &["--write", "--yes"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let written =
        text.replace("max_size = 1", "max_size = 2").replace("concurrent_pooled = 1", "concurrent_pooled = 2");
    assert_eq!(fs::read_to_string(&file).unwrap(), written);
    assert_eq!(fs::read_to_string(etc.path().join("shop.toml~")).unwrap(), text);
    assert!(said(&output).contains(&format!("in        {}\n", file.display())), "{}", said(&output));
}
