//! Settings that root's own programs (coordinator, unit generator) read from an app's file: its identity and its
//! resource limits.
//!
//! Reads the file and its metadata, and nothing else: the app's directory may not be mounted yet, and root must not
//! depend on its contents.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{At, Error};
use super::keys::{Merged, unset};
use super::raw::{Given, Origin};
use super::resolve::{no_path, work_out};
use super::surroundings::Surroundings;
use super::written::Unread;
use super::{app, paths, written};

/// Upper limits of isolated jobs, whatever a job asks for. Under systemd, root's file is the one that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsolatedCaps {
    /// `isolated_memory_cap`, in MB; `None` is the machine's memory.
    pub memory_mb: Option<u32>,
    /// `isolated_time_cap`; `None` is without limit.
    pub time: Option<Duration>,
    /// `isolated_tasks_max`: processes and threads. Like the next two it is also the default of a job that asks for
    /// nothing.
    pub tasks_max: u32,
    /// `isolated_cpu_weight`: share of the processors, 1 to 10000.
    pub cpu_weight: u32,
    /// `isolated_io_weight`: share of the disks, 1 to 10000.
    pub io_weight: u32,
}

/// The settings of an app that root's programs use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootSettings {
    /// The app's name.
    pub app: String,
    /// The config file.
    pub file: PathBuf,
    /// `user`; `None` is the owner of `path`.
    pub user: Option<String>,
    /// `group`; `None` is the user's own.
    pub group: Option<String>,
    /// `setuid`: whether jobs may run setuid programs.
    pub setuid: bool,
    /// `path`: absolute, without control characters; it may not exist.
    pub path: PathBuf,
    /// Where `path` is written, for errors.
    pub path_at: At,
    /// `pool_max_size`: maximum number of pooled workers.
    pub pool_max_size: usize,
    /// `runtime_memory_max`: memory limit of the runtime's unit in MB, including all processes forked in it.
    pub runtime_memory_max_mb: Option<u32>,
    /// `worker_memory_max`: memory limit of a pooled worker in MB.
    pub worker_memory_max_mb: u32,
    /// `max_concurrent_isolated`: maximum number of concurrent isolated jobs.
    pub max_concurrent_isolated: usize,
    /// `boot_timeout`: start timeout of a pooled worker.
    pub boot_timeout: Duration,
    /// `stop_timeout`: grace period of running jobs before they are killed.
    pub stop_timeout: Duration,
    /// Upper limits of isolated jobs.
    pub caps: IsolatedCaps,
}

/// Reads `APP.toml` in `here.etc`.
///
/// # Errors
/// The first error, in one line: those that `kqueue run APP` would report for the file alone, and a file that users
/// other than root may write to.
pub fn root(app: &str, here: &Surroundings) -> Result<RootSettings, Error> {
    let app = app::check(app)?;
    let file = here.etc.join(format!("{app}.toml"));
    let mut merged = Merged::defaults()?;
    // Whoever can write the file controls the user of commands and the limits that root enforces.
    match written::read_judged(&file, &exposed) {
        Ok(written) => written.merge_into(&mut merged)?,
        Err(Unread::Absent) => {
            let fix = format!("`kqueue init {app} --path DIR` writes one");
            return Err(Error::NoFile { file, fix });
        }
        Err(Unread::Bad(error)) => return Err(error),
    }
    let given = merged.path.clone().ok_or_else(|| no_path(Some(&file)))?;
    let path = paths::absolute(&given.value, &given.origin, here);
    let path_at = At { key: "path", origin: given.origin };
    if path.to_string_lossy().chars().any(char::is_control) {
        let fix = path_at.spell("\"/srv/shop\"");
        return Err(Error::Value { at: path_at, what: "expected a path without control characters".into(), fix });
    }
    work_out(&mut merged, here)?;
    accounts(&merged)?;
    let caps = IsolatedCaps {
        memory_mb: merged.isolated_memory_cap.map(|given| given.value),
        time: merged.isolated_time_cap.value,
        tasks_max: merged.isolated_tasks_max.value,
        cpu_weight: merged.isolated_cpu_weight.value,
        io_weight: merged.isolated_io_weight.value,
    };
    Ok(RootSettings {
        app,
        file,
        user: merged.user.map(|given| given.value),
        group: merged.group.map(|given| given.value),
        setuid: merged.setuid.value,
        path,
        path_at,
        pool_max_size: worked_out(merged.pool_max_size, "pool_max_size")?,
        runtime_memory_max_mb: merged.runtime_memory_max.map(|given| given.value),
        worker_memory_max_mb: worked_out(merged.worker_memory_max, "worker_memory_max")?,
        max_concurrent_isolated: merged.max_concurrent_isolated.value,
        boot_timeout: merged.boot_timeout.value,
        stop_timeout: merged.stop_timeout.value,
        caps,
    })
}

/// A value that [`work_out`] fills in; its absence is a bug there.
fn worked_out<T>(slot: Option<Given<T>>, key: &'static str) -> Result<T, Error> {
    slot.map(|given| given.value).ok_or_else(|| unset(key))
}

/// Checks that `user` and `group` are valid names.
pub(super) fn accounts(merged: &Merged) -> Result<(), Error> {
    let given = [("user", &merged.user), ("group", &merged.group)];
    let mut given = given.into_iter().filter_map(|(key, given)| Some((key, given.as_ref()?)));
    given.try_for_each(|(key, given)| account(key, &given.value, &given.origin))
}

/// Checks that `word` can be the name of a user or group for systemd, so that an error is reported with its line.
fn account(key: &'static str, word: &str, origin: &Origin) -> Result<(), Error> {
    // As systemd accepts them: a number, or a name without characters that are special in passwd, paths and options.
    let odd = |c: char| c.is_whitespace() || matches!(c, ':' | '/' | '%' | '"' | '\'' | '\\' | ',' | '$');
    let is_name = !word.contains(odd) && !word.starts_with(['-', '~', '+']) && word != "." && word != "..";
    if is_name && word.len() <= 256 && (!word.starts_with(|c: char| c.is_ascii_digit()) || is_number(word)) {
        return Ok(());
    }
    let at = At { key, origin: origin.clone() };
    let fix = at.spell("\"www-data\"");
    Err(Error::Value { at, what: format!("expected the name of a {key}, got {word:?}"), fix })
}

/// Whether digits are the id of a user or group, in the only spelling that systemd accepts. 0xffff and 0xffffffff mean
/// "none" in 16-bit and 32-bit interfaces and are refused.
fn is_number(word: &str) -> bool {
    word.parse::<u32>().is_ok_and(|id| id.to_string() == word && ![0xffff, u32::MAX].contains(&id))
}

/// Checks that only root, or our own user, may write to `file`.
pub(super) fn exposed(file: &Path, metadata: &Metadata) -> Result<(), Error> {
    let own = nix::unistd::geteuid().as_raw();
    let what = if metadata.uid() != 0 && metadata.uid() != own {
        format!("its owner, user {},", metadata.uid())
    } else if metadata.mode() & 0o002 != 0 {
        "everybody".into()
    } else if metadata.mode() & 0o020 != 0 && metadata.gid() != 0 {
        format!("its group, {},", metadata.gid())
    } else {
        return Ok(());
    };
    let name = file.display();
    Err(Error::Exposed { file: file.to_owned(), what, fix: format!("chown root: {name}; chmod 0644 {name}") })
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn read(text: &str, mode: u32) -> Result<RootSettings, String> {
        let dir = tempfile::Builder::new().prefix("kq").tempdir().unwrap();
        let file = dir.path().join("shop.toml");
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        let mut here = Surroundings::read().unwrap();
        here.etc = dir.path().into();
        here.memory_mb = Some(24_000);
        root("shop", &here).map_err(|error| error.to_string().replace(dir.path().to_str().unwrap(), "$"))
    }

    #[test]
    fn neither_path_nor_php_need_be_there() {
        let settings = read("path = \"/no/such/dir\"\nphp = \"/no/php\"\n", 0o644).unwrap();
        assert_eq!(settings.path, Path::new("/no/such/dir"));
        assert_eq!((settings.user, settings.pool_max_size, settings.worker_memory_max_mb), (None, 20, 512));
        let caps = IsolatedCaps { memory_mb: None, time: None, tasks_max: 512, cpu_weight: 100, io_weight: 100 };
        assert_eq!(settings.caps, caps);
    }

    #[test]
    fn what_is_written_counts() {
        let text = "path = \"/srv/shop\"\nuser = \"alice\"\ngroup = \"web\"\npool_size = 3\nworker_memory_max = \"1G\"\n\
                    isolated_memory_cap = \"2G\"\nisolated_time_cap = \"1h\"\nisolated_tasks_max = 64\n\
                    isolated_cpu_weight = 20\nisolated_io_weight = 10\nstop_timeout = \"5min\"\n";
        let settings = read(text, 0o644).unwrap();
        assert_eq!((settings.user.as_deref(), settings.group.as_deref()), (Some("alice"), Some("web")));
        assert_eq!((settings.pool_max_size, settings.worker_memory_max_mb), (6, 1024));
        assert_eq!(settings.stop_timeout, Duration::from_secs(300));
        let time = Some(Duration::from_secs(3600));
        let caps = IsolatedCaps { memory_mb: Some(2048), time, tasks_max: 64, cpu_weight: 20, io_weight: 10 };
        assert_eq!(settings.caps, caps);
    }

    #[test]
    fn refused_with_the_line() {
        let cases: &[(&str, u32, &str)] = &[
            ("", 0o644, "path: no value; add path = \"/srv/shop\" to $/shop.toml, the directory that holds artisan"),
            (
                "path = \"/a\\nb\"",
                0o644,
                "$/shop.toml:1: path: expected a path without control characters; e.g. path = \"/srv/shop\"",
            ),
            (
                "path = \"/a\"\nuser = \"%i\"",
                0o644,
                "$/shop.toml:2: user: expected the name of a user, got \"%i\"; e.g. user = \"www-data\"",
            ),
            (
                "path = \"/a\"\nisolated_memory_cap = 256\nisolated_memory_max = 300",
                0o644,
                "$/shop.toml:3: isolated_memory_max: 300 is above isolated_memory_cap (256); \
                 lower isolated_memory_max or raise isolated_memory_cap",
            ),
            (
                "path = \"/a\"",
                0o646,
                "$/shop.toml: everybody may write to it; chown root: $/shop.toml; chmod 0644 $/shop.toml",
            ),
        ];
        for (text, mode, error) in cases {
            assert_eq!(read(text, *mode).unwrap_err(), *error, "{text}");
        }
    }

    #[test]
    fn a_default_yields_to_the_cap() {
        let settings = read("path = \"/a\"\nisolated_memory_cap = 256\n", 0o644).unwrap();
        assert_eq!(settings.caps.memory_mb, Some(256));
    }
}
