//! The text of the drop-ins. Pure.

use std::path::Path;
use std::time::Duration;

use super::quote::{literal, quoted};
use kqueue_config::RootSettings;
use kqueue_system::harmless;

/// The file in each unit's directory. An operator's own comes after it: 60-mine.conf.
pub const NAME: &str = "50-kqueue.conf";

/// What a runtime may take beyond its app's boot, and beyond its jobs' end. It extends both itself where
/// that is not enough.
const MARGIN: Duration = Duration::from_secs(15);

/// Of the machine's memory, what a runtime may have with its template and lanes: the rest is enough to log in.
const RUNTIME_MEMORY: &str = "75%";

/// Directories that `ProtectSystem=full` makes read-only.
const PROTECTED: [&str; 4] = ["/usr", "/etc", "/boot", "/efi"];

/// What stands between a job and a setuid program: capabilities, and on systemd 252 everything that is a
/// filter of system calls, since that brings NoNewPrivileges= with it for a unit that has a user.
const RELAXED: &str = "\
# setuid = true
NoNewPrivileges=no
CapabilityBoundingSet=~
LockPersonality=no
ProtectHostname=no
ProtectKernelLogs=no
ProtectKernelModules=no
ProtectKernelTunables=no
RestrictAddressFamilies=
RestrictNamespaces=no
RestrictRealtime=no
SystemCallArchitectures=
SystemCallFilter=
";

/// An app whose units can be made.
#[derive(Debug)]
pub struct App {
    /// The user that it runs as: a name or a number.
    pub user: String,
    /// The rest.
    pub settings: RootSettings,
}

/// For `kqueue@APP.service`.
pub fn runtime(app: &App) -> String {
    let settings = &app.settings;
    let mut text = head(&settings.file);
    text += &format!("RequiresMountsFor={}\n", quoted(&settings.path.to_string_lossy()));
    text += &format!("\n[Service]\n{}", identity(app));
    text += &directories(&settings.app);
    text += &format!("TimeoutStartSec={}\n", time(settings.boot_timeout + MARGIN));
    text += &format!("TimeoutStopSec={}\n", time(settings.stop_timeout + MARGIN));
    let memory_max = settings.runtime_memory_max_mb.map_or(RUNTIME_MEMORY.to_owned(), |mb| format!("{mb}M"));
    text += &format!("MemoryMax={memory_max}\n");
    text + &sandbox(settings)
}

/// For `kqueue@APP.socket` and `kqueue-control@APP.socket`.
pub fn socket(app: &App) -> String {
    head(&app.settings.file) + &format!("\n[Socket]\nSocketUser={}\n", literal(&app.user))
}

/// For `kqueue-worker@APP:N.service`, whatever N.
pub fn worker(app: &App) -> String {
    let settings = &app.settings;
    let mut text = head(&settings.file);
    text += &format!("RequiresMountsFor={}\n", quoted(&settings.path.to_string_lossy()));
    text += &format!("\n[Service]\n{}", identity(app));
    text += &format!("Slice=kqueue-{}.slice\n", settings.app);
    text += &format!("MemoryMax={}M\nMemorySwapMax=0\n", settings.worker_memory_max_mb);
    text += &format!("TimeoutStartSec={}\n", time(settings.boot_timeout));
    // To systemd, none at all is for ever.
    text += &format!("TimeoutStopSec={}\n", time(settings.stop_timeout.max(Duration::from_secs(1))));
    text += &format!("LogExtraFields=KQUEUE_APP={}\n", settings.app);
    text + &sandbox(settings)
}

/// For `kqueue-schedule@APP.service` and `kqueue-alert@APP.service`.
pub fn schedule(app: &App) -> String {
    let settings = &app.settings;
    let mut text = head(&settings.file);
    text += &format!("RequiresMountsFor={}\n", quoted(&settings.path.to_string_lossy()));
    text += &format!("\n[Service]\n{}", identity(app));
    text += &format!("LogExtraFields=KQUEUE_APP={}\n", settings.app);
    text + &sandbox(settings)
}

/// For `kqueue@APP.service` of an app that must not run, because of `line`. It has no directory: that could be another
/// user's.
pub fn refusal(etc: &Path, app: &str, line: &str) -> String {
    let mut text = head(&etc.join(format!("{app}.toml")));
    text += "\n[Service]\nExecStart=\n";
    // The pause keeps a socket that somebody connects to from starting it too often, after which it would fail for good.
    // 78 is what kqueue itself says of settings that cannot work, and is not tried again.
    text + &format!(
        "ExecStart=/bin/sh -c 'printf \"%%s\\\\n\" \"$$1\" >&2; sleep 1; exit 78' kqueue {}\n",
        argument(line)
    )
}

/// With SourcePath=, systemd itself says when the file has changed and a daemon-reload is due.
fn head(file: &Path) -> String {
    let file = file.to_string_lossy();
    format!("# Made by kqueue-generator from {file}.\n\n[Unit]\nSourcePath={}\n", literal(&file))
}

fn identity(app: &App) -> String {
    let group = app.settings.group.as_ref().map(|group| format!("Group={}\n", literal(group)));
    format!("User={}\n{}", literal(&app.user), group.unwrap_or_default())
}

/// systemd gives these to the unit's user, with all that is in them: never without the `User=` whose they are. Doorbell and
/// pipes are in the second one, which pooled and isolated jobs use while no runtime is.
fn directories(app: &str) -> String {
    format!(
        "StateDirectory=kqueue/{app}\nStateDirectoryMode=0750\nRuntimeDirectory=kqueue/{app}\nRuntimeDirectoryPreserve=yes\n"
    )
}

/// What the app needs beyond its units' sandbox.
fn sandbox(settings: &RootSettings) -> String {
    let mut text = String::new();
    if PROTECTED.iter().any(|directory| settings.path.starts_with(directory)) {
        // Not for all apps: it is a mount of its own, across which no file can be renamed.
        text += &format!("ReadWritePaths=-{}\n", quoted(&settings.path.to_string_lossy()));
    }
    if settings.setuid {
        text += RELAXED;
    }
    text
}

/// A time with no rounding down.
fn time(duration: Duration) -> String {
    match duration.subsec_nanos() {
        0 => format!("{}s", duration.as_secs()),
        _ => format!("{}ms", duration.as_nanos().div_ceil(1_000_000)),
    }
}

/// A word of a command line, where `$` means something too.
fn argument(line: &str) -> String {
    quoted(&harmless::whole_line(line)).replace('$', "$$")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(time(Duration::from_secs(75)), "75s");
        assert_eq!(time(Duration::from_micros(1_500_001)), "1501ms");
        assert_eq!(time(Duration::ZERO), "0s");
    }

    #[test]
    fn no_directory_without_the_user_whose_it_is() {
        let refusal = refusal(Path::new("/etc/kqueue"), "shop", "broken");
        for text in [RUNTIME, WORKER, SCHEDULE, ALERT, &refusal] {
            let directory = text.lines().find(|line| line.starts_with("StateDir") || line.starts_with("RuntimeDir"));
            assert_eq!(directory, None);
        }
    }

    const RUNTIME: &str = include_str!("../../../units/kqueue@.service");
    const WORKER: &str = include_str!("../../../units/kqueue-worker@.service");
    const SCHEDULE: &str = include_str!("../../../units/kqueue-schedule@.service");

    const ALERT: &str = include_str!("../../../units/kqueue-alert@.service");

    /// The lines that make up the sandbox of a unit.
    fn sandboxed(unit: &str) -> Vec<&str> {
        unit.lines()
            .skip_while(|line| !line.starts_with("ProtectSystem="))
            .take_while(|line| !line.is_empty())
            .collect()
    }

    #[test]
    fn a_job_finds_the_same_world_in_every_tier() {
        assert!(sandboxed(RUNTIME).len() > 10);
        assert_eq!(sandboxed(RUNTIME), sandboxed(WORKER));
        assert_eq!(sandboxed(RUNTIME), sandboxed(SCHEDULE));
        assert_eq!(sandboxed(RUNTIME), sandboxed(ALERT));
    }

    #[test]
    fn what_is_relaxed_is_all_that_matters() {
        // These do not stop a setuid program, and bring no NoNewPrivileges=; systemd.exec(5).
        let harmless = ["ProtectSystem", "ProtectControlGroups", "SystemCallErrorNumber"];
        let name = |line: &&'static str| line.split('=').next().unwrap_or_default();
        let mut strict: Vec<_> = sandboxed(RUNTIME).iter().map(name).filter(|name| !harmless.contains(name)).collect();
        let relaxed: Vec<&str> = RELAXED.lines().skip(1).collect();
        let mut relaxed: Vec<_> = relaxed.iter().map(name).collect();
        strict.sort_unstable();
        relaxed.sort_unstable();
        assert_eq!(strict, relaxed);
    }

    #[test]
    fn an_error_stays_one_word() {
        assert_eq!(argument("a \"b\"\n100% $HOME \\"), r#""a \"b\" 100%% $$HOME \\""#);
    }
}
