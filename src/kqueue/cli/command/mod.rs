//! Recognizes command lines that work a Laravel queue, as found with supervisord, systemd, cron, in a Compose file or
//! the process table. One parser for all of them; pure, runs nothing.

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

use reader::{Context, Reader};
pub(super) use shell::{Dialect, shown};

/// Why something is not carried over; `{app}` stands for the app's name.
pub(super) type Why = &'static str;

/// Placeholder for an unknown home directory.
const HOME: &str = "~";

/// The kind of artisan command.
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

/// An analysed command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Work {
    pub kind: Kind,
    /// The interpreter, if named.
    pub php: Option<String>,
    /// Its arguments.
    pub php_args: Vec<String>,
    /// artisan's path, as written.
    pub artisan: PathBuf,
    /// The directory set by a preceding `cd`: `cd /srv/shop && php artisan …`.
    pub directory: Option<PathBuf>,
    /// The connection, if named.
    pub connection: Option<String>,
    /// Options with their values, in order; switches have none.
    pub options: Vec<(String, Option<String>)>,
    /// The user set by a wrapper: `sudo -u forge`.
    pub user: Option<String>,
    /// The group set by a wrapper.
    pub group: Option<String>,
    /// Names of the variables set for it.
    pub env: Vec<String>,
    /// Parts around it that are not carried over, and why.
    pub dropped: Vec<(String, Why)>,
}

/// The result of analysing a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    /// Commands that work a queue or run the schedule, in order.
    pub works: Vec<Work>,
    /// Commands that do but cannot be imported: why, and what to do.
    pub refused: Vec<String>,
    /// Notes on decisions made.
    pub said: Vec<String>,
    /// A script run by the line, which was not read.
    pub script: Option<String>,
}

impl Reading {
    /// Analyses a line.
    pub fn of(line: &str, dialect: Dialect, lookup: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut reader = Reader::new(lookup);
        reader.line(line, dialect, Context::default());
        reader.finish()
    }

    /// Analyses a line that is already split into words.
    pub fn of_words(words: &[String], lookup: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut reader = Reader::new(lookup);
        reader.simple(words, &mut Context::default());
        reader.finish()
    }
}

impl Work {
    /// Analyses the words of a command. `None` if it works no queue on this machine.
    pub fn parse(words: &[String]) -> Option<Self> {
        Reading::of_words(words, &|_| None).works.into_iter().find(|work| work.kind != Kind::Schedule)
    }

    /// The value of an option.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().rev().find(|(option, _)| option == name).and_then(|(_, value)| value.as_deref())
    }

    /// Its queues, if named.
    pub fn queues(&self) -> Option<Vec<String>> {
        let names: Vec<String> = self
            .option("queue")?
            .split(',')
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect();
        (!names.is_empty()).then_some(names)
    }

    /// The app's directory, for a process in `cwd`. `None` if it is unknown.
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

/// Normalizes a path: removes `.`, and `..` with the directory before it.
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

/// Whether a text may contain a command that works a queue or runs the schedule.
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
