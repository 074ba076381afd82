//! Puts a config file in its place: shown first, never over somebody's edits, whole or not at all.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, BufRead, ErrorKind, IsTerminal, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use nix::unistd::geteuid;

use super::{FAILURE, Failed, print, stdio};
use kqueue_config::{self as config, Surroundings};
use kqueue_system::identity;

/// How a config file is written.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(super) struct Manner {
    /// Only show what would be written
    #[arg(long)]
    pub dry_run: bool,
    /// Replace a file with other contents; the old one is kept as APP.toml~
    #[arg(long)]
    pub force: bool,
    /// Do not ask, even on a terminal
    #[arg(long, short = 'y')]
    pub yes: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Written,
    /// It says so already.
    Same,
    /// It was only shown, or somebody said no.
    Left,
}

/// Shows `text` and makes it the config file of `app`.
pub(super) fn put(app: &str, file: &Path, text: &str, manner: Manner, here: &Surroundings) -> Result<Outcome, Failed> {
    config::load_text(app, file, text, here)?;
    let there = match fs::read_to_string(file) {
        Ok(there) => Some(there),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(cannot(file, error)),
    };
    let same = there.as_deref() == Some(text);
    let name = file.display();
    let kept = there.is_some() && !same && !manner.force;
    let does = match (same, kept || manner.dry_run) {
        (true, _) => "already contains",
        (false, true) => "would contain",
        (false, false) => "will contain",
    };
    print(&format!("{name} {does}:\n\n{}\n", indented(text)))?;
    if same {
        return Ok(Outcome::Same);
    }
    if kept {
        let line = format!("{name}: exists with other contents and is kept; edit it, or replace it with --force");
        return Err(Failed { code: FAILURE, line });
    }
    if manner.dry_run || !agreed(manner, &format!("Write {name}?"))? {
        return Ok(Outcome::Left);
    }
    if let Some(there) = &there {
        let mut old = file.as_os_str().to_owned();
        old.push("~");
        let old = PathBuf::from(old);
        // Not copied: that would write through a link of that name.
        replace(&old, there).map_err(|error| cannot(&old, error))?;
    }
    replace(file, text).map_err(|error| cannot(file, error))?;
    Ok(Outcome::Written)
}

/// Has systemd make the app's units, and says what comes `next`.
pub(super) fn settle(app: &str, file: &Path, outcome: Outcome, here: &Surroundings, next: &str) -> Result<(), Failed> {
    if outcome == Outcome::Left {
        return Ok(());
    }
    if outcome == Outcome::Written {
        print(&format!("wrote {}\n", file.display()))?;
    }
    if file.parent() != Some(&here.etc) {
        return print(&format!("next: kqueue run --config {}\n", file.display()));
    }
    if !sd_notify::booted().unwrap_or(false) {
        return print(&format!("systemd is not running here: nothing to reload\nnext: kqueue run {app}\n"));
    }
    let mut command = Command::new("systemctl");
    let output = command.arg("daemon-reload").stdin(Stdio::null()).output();
    let output = output.map_err(|error| Failed::at("systemctl", error))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let line = format!(
            "systemctl daemon-reload: {why}; run it again: systemd generates the app's units from {}",
            file.display()
        );
        return Err(Failed { code: FAILURE, line });
    }
    print(&format!("systemd has generated the units of {app}\nnext: {next}\n"))
}

/// What comes next for an app that is new.
pub(super) fn enable(app: &str) -> String {
    format!("systemctl enable --now kqueue@{app}")
}

/// Asks on a terminal, and only there.
fn agreed(manner: Manner, question: &str) -> Result<bool, Failed> {
    if manner.yes || !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Ok(true);
    }
    print(&format!("{question} [Y/n] "))?;
    let mut line = String::new();
    // The end of the input is no yes.
    let read = io::stdin().lock().read_line(&mut line).map_err(|error| Failed::at("stdin", error))?;
    let yes = read > 0 && matches!(line.trim().to_ascii_lowercase().as_str(), "" | "y" | "yes");
    if !yes {
        stdio::err("nothing was written");
    }
    Ok(yes)
}

/// A file that a reader finds whole, whatever happens while it is written. A link by that name is replaced, not followed.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let directory = file.parent().unwrap_or(Path::new("/"));
    let directory = &if geteuid().is_root() {
        // Whoever else can write to it could have root write somewhere else.
        identity::make_readable(directory)
            .map_err(|error| io::Error::other(format!("{error}; write to a directory that only root can change")))?
    } else {
        fs::create_dir_all(directory)?;
        directory.to_owned()
    };
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // Begins with a dot: the generator leaves those alone.
    let draft = directory.join(format!(".{name}.{}", std::process::id()));
    let written = (|| {
        let mut open = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&draft)?;
        open.set_permissions(Permissions::from_mode(0o644))?;
        open.write_all(text.as_bytes())?;
        open.sync_all()?;
        fs::rename(&draft, directory.join(&name))
    })();
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written
}

fn cannot(file: &Path, error: io::Error) -> Failed {
    let fix = match error.kind() {
        ErrorKind::PermissionDenied => "; run this as root",
        _ => "",
    };
    Failed { code: FAILURE, line: format!("{}: {error}{fix}", file.display()) }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_and_readable() {
        let dir = tempfile::Builder::new().prefix("kq").tempdir().unwrap();
        let file = dir.path().join("etc/shop.toml");
        replace(&file, "a\n").unwrap();
        replace(&file, "b\n").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "b\n");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(dir.path().join("etc")).unwrap().count(), 1, "nothing else is left");
        assert!(replace(&file.join("x"), "c").is_err());
        let (link, target) = (dir.path().join("etc/shop.toml~"), dir.path().join("target"));
        fs::write(&target, "theirs").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        replace(&link, "ours").unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "theirs");
        assert!(!fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn root_writes_to_what_is_roots_alone() {
        if !geteuid().is_root() {
            return;
        }
        let dir = tempfile::Builder::new().prefix("kq").tempdir().unwrap();
        let theirs = dir.path().join("theirs");
        fs::create_dir(&theirs).unwrap();
        std::os::unix::fs::chown(&theirs, Some(1002), None).unwrap();
        std::os::unix::fs::symlink(&theirs, dir.path().join("link")).unwrap();
        for directory in ["theirs", "theirs/new", "link"] {
            let error = replace(&dir.path().join(directory).join("shop.toml"), "a\n").unwrap_err();
            assert!(error.to_string().contains("belongs to another user"), "{error}");
        }
        assert_eq!(fs::read_dir(&theirs).unwrap().count(), 0);
    }
}
