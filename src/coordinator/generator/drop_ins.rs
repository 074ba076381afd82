//! The text of the drop-ins. Pure.

use std::path::Path;
use std::time::Duration;

use super::quote::{literal, quoted};
use kqueue_config::RootSettings;
use kqueue_system::harmless;

/// Name of the drop-in file. An operator's own, such as `60-mine.conf`, sorts after it and overrides it.
pub const NAME: &str = "50-kqueue.conf";

/// Margin of a runtime's start timeout beyond the boot of its app, and of its stop timeout beyond the end of its jobs.
/// The runtime extends both itself if necessary.
const MARGIN: Duration = Duration::from_secs(15);

/// Default memory limit of a runtime with its template and lanes, of the machine's memory: the rest is enough to log
/// in.
const RUNTIME_MEMORY: &str = "75%";

/// Directories that `ProtectSystem=full` makes read-only.
const PROTECTED: [&str; 4] = ["/usr", "/etc", "/boot", "/efi"];

/// Lifts the settings that prevent a job from running setuid programs: capabilities, and on systemd 252 all settings
/// implemented by a system call filter, which imply NoNewPrivileges= for a unit with a user.
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

/// An app with valid settings.
#[derive(Debug)]
pub struct App {
    /// The user that it runs as: a name or a number.
    pub user: String,
    /// Its settings.
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

/// For `kqueue-worker@APP:N.service`, the same for every N.
pub fn worker(app: &App) -> String {
    let settings = &app.settings;
    let mut text = head(&settings.file);
    text += &format!("RequiresMountsFor={}\n", quoted(&settings.path.to_string_lossy()));
    text += &format!("\n[Service]\n{}", identity(app));
    text += &format!("Slice=kqueue-{}.slice\n", settings.app);
    text += &format!("MemoryMax={}M\nMemorySwapMax=0\n", settings.worker_memory_max_mb);
    text += &format!("TimeoutStartSec={}\n", time(settings.boot_timeout));
    // To systemd, 0 means no timeout.
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

/// For `kqueue@APP.service` of an app that must not run; `line` is the reason. Sets no `StateDirectory=`, because the
/// directory could belong to another user.
pub fn refusal(etc: &Path, app: &str, line: &str) -> String {
    let mut text = head(&etc.join(format!("{app}.toml")));
    text += "\n[Service]\nExecStart=\n";
    // The pause limits the rate of starts by connections to its socket, which would otherwise exceed the start limit
    // and
    // fail permanently. 78 is kqueue's exit status for invalid settings, and is not retried.
    text + &format!(
        "ExecStart=/bin/sh -c 'printf \"%%s\\\\n\" \"$$1\" >&2; sleep 1; exit 78' kqueue {}\n",
        argument(line)
    )
}

/// The head of a drop-in. With SourcePath=, systemd itself warns when the file has changed and needs a daemon-reload.
fn head(file: &Path) -> String {
    let file = file.to_string_lossy();
    format!("# Made by kqueue-generator from {file}.\n\n[Unit]\nSourcePath={}\n", literal(&file))
}

fn identity(app: &App) -> String {
    let group = app.settings.group.as_ref().map(|group| format!("Group={}\n", literal(group)));
    format!("User={}\n{}", literal(&app.user), group.unwrap_or_default())
}

/// systemd changes the owner of these directories, with their contents, to the unit's user: they must never be set
/// without `User=`. The runtime directory is preserved because it contains the doorbell and the pipes, which pooled and
/// isolated jobs use while no runtime runs.
fn directories(app: &str) -> String {
    format!(
        "StateDirectory=kqueue/{app}\nStateDirectoryMode=0750\nRuntimeDirectory=kqueue/{app}\nRuntimeDirectoryPreserve=yes\n"
    )
}

/// Exceptions from the units' sandbox that the app needs.
fn sandbox(settings: &RootSettings) -> String {
    let mut text = String::new();
    if PROTECTED.iter().any(|directory| settings.path.starts_with(directory)) {
        // Only if necessary: it creates a separate mount, across which no file can be renamed.
        text += &format!("ReadWritePaths=-{}\n", quoted(&settings.path.to_string_lossy()));
    }
    if settings.setuid {
        text += RELAXED;
    }
    text
}

/// A duration in systemd's syntax, rounded up to milliseconds.
fn time(duration: Duration) -> String {
    match duration.subsec_nanos() {
        0 => format!("{}s", duration.as_secs()),
        _ => format!("{}ms", duration.as_nanos().div_ceil(1_000_000)),
    }
}

/// A quoted argument of a command line, with `$` escaped too.
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

    /// The sandbox lines of a unit file.
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
        // These do not prevent setuid programs, and do not imply NoNewPrivileges=; see systemd.exec(5).
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
