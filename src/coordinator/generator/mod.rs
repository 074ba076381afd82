//! The unit generator: writes drop-ins for the units of each app from its `/etc/kqueue/APP.toml`.
//!
//! systemd runs it at boot, before any service, and at each `systemctl daemon-reload`, and waits for it: it uses no
//! bus, no network and no name service, and reads at most the owner of the app's directory. An error in one file
//! affects that app only: its runtime refuses to start, with a line that gives the reason.

mod drop_ins;
mod filled;
mod quote;
mod tell;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use drop_ins::{App, NAME};
use kqueue_config::{self as config, Error, RootSettings, Surroundings};
use kqueue_system::owner;

/// An error in the settings of one app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The app's name, or the invalid file name in its place; empty for an error that concerns no app.
    pub app: String,
    /// One line: the place, the error, and the fix.
    pub line: String,
}

/// Entry point of the `kqueue-generator` command.
pub fn main() -> ExitCode {
    let Some(out) = std::env::args_os().nth(1).map(PathBuf::from) else {
        tell::stderr("kqueue-generator: missing output directory; systemd runs this program, see systemd.generator(7)");
        return ExitCode::from(2);
    };
    let done = Surroundings::read().and_then(|here| generate(&here, &out, &owner::of));
    match done {
        Ok(faults) => {
            faults.iter().for_each(tell::fault);
            ExitCode::SUCCESS
        }
        Err(error) => {
            tell::fault(&Fault { app: String::new(), line: format!("{}: {error}", out.display()) });
            ExitCode::FAILURE
        }
    }
}

/// Writes the drop-ins of all apps in `here.etc` into `out`, and returns the errors in their settings. `owner` returns
/// the uid of a directory's owner.
///
/// # Errors
/// When `here.etc` cannot be read or `out` cannot be written.
pub fn generate(
    here: &Surroundings,
    out: &Path,
    owner: &dyn Fn(&Path) -> Result<u32, String>,
) -> io::Result<Vec<Fault>> {
    let mut faults = Vec::new();
    for name in names(&here.etc)? {
        let settled =
            config::root(&name, here).and_then(|settings| Ok(App { user: user(&settings, owner)?, settings }));
        match settled {
            Ok(app) => {
                let filled = filled::check(&app, here).err().map(|error| error.to_string());
                let runtime = match &filled {
                    Some(line) => drop_ins::refusal(&here.etc, &name, line),
                    None => drop_ins::runtime(&app),
                };
                write(out, &app, &runtime)?;
                faults.extend(filled.map(|line| Fault { app: name, line }));
            }
            Err(error) => {
                let line = error.to_string();
                // Units exist only for valid app names.
                if !matches!(error, Error::AppName { .. }) {
                    drop_in(out, &format!("kqueue@{name}.service"), &drop_ins::refusal(&here.etc, &name, &line))?;
                }
                faults.push(Fault { app: name, line });
            }
        }
    }
    Ok(faults)
}

/// The sorted names of the `.toml` files in a directory, without that suffix.
fn names(etc: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(etc) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_string_lossy().strip_suffix(".toml").map(str::to_owned))
        // Files that begin with a dot are temporary files of editors.
        .filter(|name| !name.starts_with('.') && !name.is_empty())
        .collect();
    names.sort();
    Ok(names)
}

/// The user that an app's units run as: a name or a number.
///
/// # Errors
/// When no user is set, and the directory's owner is root or cannot be determined.
pub fn user(settings: &RootSettings, owner: &dyn Fn(&Path) -> Result<u32, String>) -> Result<String, Error> {
    let bad = |what: String| Error::Path {
        at: settings.path_at.clone(),
        path: settings.path.clone(),
        what,
        fix: "set the app's user: user = \"www-data\"".into(),
    };
    match &settings.user {
        Some(user) => Ok(user.clone()),
        None => match owner(&settings.path) {
            // A deployment by root does not mean that the app may run as root.
            Ok(0) => Err(bad("belongs to root, and no user is set".into())),
            Ok(uid) => Ok(uid.to_string()),
            Err(why) => Err(bad(format!("{why}, so its owner is unknown, and no user is set"))),
        },
    }
}

fn write(out: &Path, app: &App, runtime: &str) -> io::Result<()> {
    let name = &app.settings.app;
    drop_in(out, &format!("kqueue@{name}.service"), runtime)?;
    for socket in [format!("kqueue@{name}.socket"), format!("kqueue-control@{name}.socket")] {
        drop_in(out, &socket, &drop_ins::socket(app))?;
    }
    for unit in ["schedule", "alert"] {
        drop_in(out, &format!("kqueue-{unit}@{name}.service"), &drop_ins::schedule(app))?;
    }
    let worker = |number: usize| format!("kqueue-worker@{name}:{number}.service");
    if app.settings.pool_max_size > 0 {
        drop_in(out, &worker(1), &drop_ins::worker(app))?;
    }
    for number in 2..=app.settings.pool_max_size {
        let directory = out.join(format!("{}.d", worker(number)));
        fs::create_dir_all(&directory)?;
        symlink(format!("../{}.d/{NAME}", worker(1)), directory.join(NAME))?;
    }
    Ok(())
}

fn drop_in(out: &Path, unit: &str, text: &str) -> io::Result<()> {
    let directory = out.join(format!("{unit}.d"));
    fs::create_dir_all(&directory)?;
    fs::write(directory.join(NAME), text)
}
