//! Properties of the machine and the environment, read once, so that the rest can be tested without them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// Environment, user and places, as far as settings depend on them.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Environment variables.
    pub vars: BTreeMap<String, OsString>,
    /// Effective user.
    pub uid: u32,
    /// Home directory of the user.
    pub home: Option<PathBuf>,
    /// Memory of the machine in MB.
    pub memory_mb: Option<u64>,
    /// The working directory.
    pub cwd: PathBuf,
    /// Where config files are: `/etc/kqueue`.
    pub etc: PathBuf,
    /// Where root keeps state: `/var/lib/kqueue`.
    pub var_lib: PathBuf,
    /// Where root keeps sockets: `/run/kqueue`.
    pub run: PathBuf,
    /// Where users have their runtime directories: `/run/user`.
    pub run_user: PathBuf,
    /// Where the kernel lists processes: `/proc`.
    pub proc: PathBuf,
    /// The last resort for sockets: `/tmp`.
    pub tmp: PathBuf,
}

const VARS: &[&str] = &["PATH", "HOME", "STATE_DIRECTORY", "RUNTIME_DIRECTORY", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"];

impl Surroundings {
    /// Reads them.
    ///
    /// # Errors
    /// Where the working directory is gone.
    pub fn read() -> std::io::Result<Self> {
        let uid = nix::unistd::geteuid();
        let vars: BTreeMap<_, _> =
            VARS.iter().filter_map(|var| Some(((*var).to_owned(), std::env::var_os(var)?))).collect();
        let home = vars.get("HOME").filter(|home| !home.is_empty()).map(PathBuf::from).or_else(|| {
            // A unit with User= has HOME; a bare container may not.
            nix::unistd::User::from_uid(uid).ok().flatten().map(|user| user.dir)
        });
        Ok(Self {
            vars,
            uid: uid.as_raw(),
            home,
            memory_mb: std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| mem_total(&text)),
            cwd: std::env::current_dir()?,
            etc: "/etc/kqueue".into(),
            var_lib: "/var/lib/kqueue".into(),
            run: "/run/kqueue".into(),
            run_user: "/run/user".into(),
            proc: "/proc".into(),
            tmp: "/tmp".into(),
        })
    }

    /// A variable that is set and not empty.
    pub(crate) fn var(&self, name: &str) -> Option<&OsStr> {
        self.vars.get(name).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }
}

/// `MemTotal` of /proc/meminfo, in MB.
fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kb: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kb / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo() {
        assert_eq!(mem_total("MemTotal:        2048000 kB\nMemFree: 1 kB\n"), Some(2000));
        assert_eq!(mem_total("MemFree: 1 kB\n"), None);
        assert_eq!(mem_total(""), None);
    }

    #[test]
    fn of_this_machine() {
        let here = Surroundings::read().unwrap();
        assert!(here.memory_mb.is_some());
        assert!(here.cwd.is_absolute());
    }
}
