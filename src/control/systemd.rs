//! The state of an app's units. Runs `systemctl`, which can reach systemd from anywhere.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

const PATIENCE: Duration = Duration::from_secs(5);

/// The conclusion from the state of an app's units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The app runs, or is starting or stopping: a request to it starts nothing.
    pub runs: bool,
    /// systemd listens on its socket: a request would start it.
    pub listens: bool,
    /// The unit is loaded, or has failed.
    pub known: bool,
    /// It has failed, or waits for its restart after a failure.
    pub failed: bool,
    /// Its state as text, if it does not run.
    pub words: String,
}

/// Properties that are read of each unit.
const PROPERTIES: &str = "Id,LoadState,ActiveState,SubState,Result,StatusText";
/// Maximum number of apps per call.
const AT_ONCE: usize = 200;

/// Reads the state of an app's units. The name must have been checked.
///
/// # Errors
/// Why `systemctl` gave no result.
pub(crate) async fn ask(app: &str) -> Result<Verdict, String> {
    Ok(verdict(&show(PROPERTIES, &units_of(app)).await?))
}

/// Reads the state of many apps' units, with as few calls as possible. Apps without a result are left out.
pub(crate) async fn ask_all(apps: &[&str]) -> BTreeMap<String, Verdict> {
    let mut all = BTreeMap::new();
    for apps in apps.chunks(AT_ONCE) {
        let units: Vec<String> = apps.iter().flat_map(|app| units_of(app)).collect();
        let Ok(shown) = show(PROPERTIES, &units).await else { continue };
        // In the order of the arguments: a service and a socket for each app.
        let blocks: Vec<&str> = shown.split("\n\n").collect();
        for (app, pair) in apps.iter().zip(blocks.chunks(2)) {
            let told = pair.join("\n\n");
            if units_of(app).iter().all(|unit| told.contains(&format!("Id={unit}"))) {
                all.insert((*app).to_owned(), verdict(&told));
            }
        }
    }
    all
}

fn units_of(app: &str) -> [String; 2] {
    [format!("kqueue@{app}.service"), format!("kqueue@{app}.socket")]
}

/// Properties of units, as printed by `systemctl show`.
///
/// # Errors
/// Why `systemctl` gave no result.
pub async fn show(properties: &str, units: &[String]) -> Result<String, String> {
    let mut command = Command::new("systemctl");
    command.args(["show", "--no-pager", &format!("--property={properties}")]).args(units);
    command.env("LC_ALL", "C").stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(output) => output.map_err(|error| format!("systemctl: {error}"))?,
        Err(_) => return Err(format!("systemctl did not reply within {} s", PATIENCE.as_secs())),
    };
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        return Err(format!("systemctl: {}", error.lines().next().unwrap_or("failed")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Splits the output of [`show`] into the properties of each unit.
pub fn blocks(shown: &str) -> Vec<BTreeMap<&str, &str>> {
    shown.split("\n\n").map(|block| block.lines().filter_map(|line| line.split_once('=')).collect()).collect()
}

fn verdict(shown: &str) -> Verdict {
    let blocks = blocks(shown);
    let find = |kind: &str| blocks.iter().find(|unit| unit.get("Id").is_some_and(|id| id.ends_with(kind)));
    let value = |unit: Option<&BTreeMap<&str, &str>>, name: &str| {
        unit.and_then(|unit| unit.get(name)).copied().unwrap_or_default().to_owned()
    };
    let (service, socket) = (find(".service"), find(".socket"));
    let active = value(service, "ActiveState");
    // It has failed, and systemd restarts it after a pause: there is no process to answer meanwhile.
    let again = value(service, "SubState").starts_with("auto-restart");
    let failed = again || active == "failed";
    let mut words = match failed {
        true if again => format!("failed ({}), restart pending", value(service, "Result")),
        true => format!("failed ({})", value(service, "Result")),
        false if active.is_empty() => "stopped".to_owned(),
        false => format!("stopped ({active})"),
    };
    let told = value(service, "StatusText");
    // That of one that was stopped says what it did before.
    if failed && !told.is_empty() {
        words.push_str(&format!(": {told}"));
    }
    Verdict {
        runs: !again && ["active", "reloading", "refreshing", "activating", "deactivating"].contains(&active.as_str()),
        // Any state but that of a socket that is certainly closed.
        listens: !matches!(value(socket, "ActiveState").as_str(), "" | "inactive" | "failed"),
        known: failed || value(service, "LoadState") == "loaded",
        failed,
        words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(service: &str, socket: &str) -> Verdict {
        verdict(&format!("Id=kqueue@shop.service\n{service}\n\nId=kqueue@shop.socket\n{socket}\n"))
    }

    #[test]
    fn an_app_that_runs_is_asked() {
        for state in ["active", "activating", "deactivating", "reloading"] {
            let text = format!("LoadState=loaded\nActiveState={state}\nSubState=running\nResult=success\nStatusText=");
            assert!(units(&text, "LoadState=loaded\nActiveState=active\nSubState=running").runs);
        }
    }

    #[test]
    fn one_that_does_not_is_not_where_that_would_start_it() {
        let service = "LoadState=loaded\nActiveState=inactive\nSubState=dead\nResult=success\nStatusText=";
        let stopped = units(service, "LoadState=loaded\nActiveState=active\nSubState=listening");
        assert!(!stopped.runs && stopped.listens && stopped.known && !stopped.failed);
        assert_eq!(stopped.words, "stopped (inactive)");
        assert!(!units(service, "LoadState=loaded\nActiveState=inactive").listens);
        let absent = units("LoadState=not-found\nActiveState=inactive", "LoadState=not-found\nActiveState=inactive");
        assert!(!absent.known && !absent.listens && !absent.runs);
    }

    #[test]
    fn a_failure_is_told() {
        let service = "LoadState=loaded\nActiveState=failed\nResult=exit-code\nStatusText=shop: redis = is gone";
        let failed = units(service, "LoadState=loaded\nActiveState=active");
        assert!(failed.failed && failed.listens);
        assert_eq!(failed.words, "failed (exit-code): shop: redis = is gone");
    }

    #[test]
    fn one_that_does_not_start_is_not_taken_for_one_that_runs() {
        let service = "LoadState=loaded\nActiveState=activating\nSubState=auto-restart\nResult=exit-code\nStatusText=";
        let looping = units(service, "LoadState=loaded\nActiveState=active\nSubState=listening");
        assert!(!looping.runs && looping.failed && looping.listens);
        assert_eq!(looping.words, "failed (exit-code), restart pending");
    }

    #[test]
    fn nonsense_is_no_licence() {
        assert_eq!(verdict(""), Verdict { words: "stopped".to_owned(), ..Verdict::default() });
    }
}
