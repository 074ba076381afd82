//! A command line that works a Laravel queue, as supervisord, systemd, cron, a Compose file or the process table have
//! it. One reader for all of them; pure, nothing is run.

#![expect(
    clippy::indexing_slicing,
    reason = "words are cut where they were found; a panic would end a command, and a test has the cases"
)]

mod artisan;
mod nested;
mod reader;
mod shell;
mod wrappers;

use std::path::{Component, Path, PathBuf};

use reader::{Reader, State};
pub(super) use shell::{Dialect, shown};

/// Why something has no equivalent; `{app}` stands for the app's name.
pub(super) type Why = &'static str;

/// Stands for the home directory of a user who is not known here.
const HOME: &str = "~";

/// What the command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `queue:work`.
    Work,
    /// `queue:listen`.
    Listen,
    /// `horizon`, `horizon:supervisor`, `horizon:work`.
    Horizon,
    /// `schedule:run`, `schedule:work`: no queue, but the app's scheduler.
    Schedule,
}

/// The command, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Work {
    pub kind: Kind,
    /// The interpreter, where one is named.
    pub php: Option<String>,
    /// Its arguments.
    pub php_args: Vec<String>,
    /// As it is written.
    pub artisan: PathBuf,
    /// Where a shell went before: `cd /srv/shop && php artisan …`.
    pub directory: Option<PathBuf>,
    /// The connection, where one is named.
    pub connection: Option<String>,
    /// Options by name, in order; switches have no value.
    pub options: Vec<(String, Option<String>)>,
    /// Who a wrapper makes it run as: `sudo -u forge`.
    pub user: Option<String>,
    /// Likewise its group.
    pub group: Option<String>,
    /// Variables that are set for it.
    pub env: Vec<String>,
    /// What is written before or after it and is not carried over, and why.
    pub dropped: Vec<(String, Why)>,
}

/// What a line comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    /// What works a queue, or runs the schedule, in the order of the line.
    pub works: Vec<Work>,
    /// What does, and cannot be taken over: why, and what to do.
    pub refused: Vec<String>,
    /// What was decided while reading.
    pub said: Vec<String>,
    /// A script that the line runs and that was not read.
    pub script: Option<String>,
}

impl Reading {
    /// Reads a line.
    pub fn of(line: &str, dialect: Dialect, lookup: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut reader = Reader::new(lookup);
        reader.line(line, dialect, State::default());
        reader.finish()
    }

    /// Reads words that somebody has split already.
    pub fn of_words(words: &[String], lookup: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut reader = Reader::new(lookup);
        reader.simple(words, &mut State::default());
        reader.finish()
    }
}

impl Work {
    /// Reads the words of a command. `None` where it works no queue on this machine.
    pub fn parse(words: &[String]) -> Option<Self> {
        Reading::of_words(words, &|_| None).works.into_iter().find(|work| work.kind != Kind::Schedule)
    }

    /// The value of an option.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().rev().find(|(option, _)| option == name).and_then(|(_, value)| value.as_deref())
    }

    /// Its queues, where they are named.
    pub fn queues(&self) -> Option<Vec<String>> {
        let names: Vec<String> = self
            .option("queue")?
            .split(',')
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect();
        (!names.is_empty()).then_some(names)
    }

    /// The app's directory, of a process in `cwd`. `None` where neither says.
    pub fn app(&self, cwd: Option<&Path>) -> Option<PathBuf> {
        let base = match (&self.directory, cwd) {
            (Some(directory), Some(cwd)) if !directory.starts_with(HOME) => cwd.join(directory),
            (Some(directory), _) => directory.clone(),
            (None, Some(cwd)) => cwd.to_owned(),
            (None, None) => PathBuf::new(),
        };
        let directory = base.join(&self.artisan).parent()?.to_owned();
        directory.is_absolute().then(|| plain(&directory))
    }
}

/// A path without `.`, and without `..` where that is a directory's name before it.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            Component::ParentDir if out.parent().is_none() && out.has_root() => {}
            other => out.push(other),
        }
    }
    out
}

/// Whether a text has a command in it that works a queue or runs the schedule.
pub(super) fn mentions(text: &str) -> bool {
    ["queue:work", "queue:listen", "horizon", "schedule:run", "schedule:work"].iter().any(|name| text.contains(name))
}

fn base(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

/// `php`, `php8.3`, `php83`, `php-cli`, `php8.3-cli`, `ea-php82`.
fn is_php(name: &str) -> bool {
    let rest = ["ea-php", "alt-php", "lsphp", "php"].iter().find_map(|start| name.strip_prefix(start));
    rest.is_some_and(|rest| {
        let rest = rest.strip_suffix("-cli").unwrap_or(rest);
        rest.trim_start_matches('-').trim_start_matches("cli").chars().all(|c| c.is_ascii_digit() || c == '.')
    })
}

#[cfg(test)]
mod tests;
