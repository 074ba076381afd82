//! Crontab lines that work a queue or run the schedule. Pure.

use std::path::Path;

use super::plan::{At, Set};
use super::source::Input;
use super::take::{self, Starter};
use crate::cli::command::{Dialect, Reading, mentions};

/// A line of a crontab.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cli) struct Line<'a> {
    pub number: usize,
    /// `*/5 * * * *`.
    pub when: String,
    /// The sixth field, if the file has user fields.
    pub user: Option<&'a str>,
    pub command: String,
}

/// Whether the lines of a file have a user field: system crontabs do.
pub(in crate::cli) fn has_users(file: &Path) -> bool {
    file.ends_with("etc/crontab") || file.parent().is_some_and(|directory| directory.ends_with("etc/cron.d"))
}

/// The lines with a command. `users`: whether the sixth field is a user; `None` guesses for each line.
pub(in crate::cli) fn lines(text: &str, users: Option<bool>) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') || is_variable(line) {
            continue;
        }
        let fields = if line.starts_with('@') { 1 } else { 5 };
        let mut rest = line;
        let mut when = Vec::new();
        for _ in 0..fields {
            let (field, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            when.push(field);
            rest = after.trim_start();
        }
        let (first, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let user = match users {
            Some(true) => Some(first),
            Some(false) => None,
            None => Some(first).filter(|first| looks_like_user(first, after)),
        };
        let command = if user.is_some() { after.trim_start() } else { rest };
        if !command.is_empty() {
            lines.push(Line { number: at + 1, when: when.join(" "), user, command: until_percent(command) });
        }
    }
    lines
}

/// Whether a line is `NAME = value`.
fn is_variable(line: &str) -> bool {
    line.split_once('=').is_some_and(|(name, _)| {
        let name = name.trim().trim_matches(['"', '\'']);
        !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !name.starts_with(|c: char| c.is_ascii_digit())
    })
}

/// Guesses a user field, as in `www-data cd /srv/shop && …`: a plausible name, followed by the start of a command.
fn looks_like_user(first: &str, after: &str) -> bool {
    const COMMANDS: &[&str] = &[
        "cd", "php", "artisan", "sudo", "env", "nice", "ionice", "flock", "timeout", "docker", "sh", "bash", "su",
        "exec", "runuser", "nohup", "test", "chronic", "podman",
    ];
    let name = !first.is_empty()
        && first.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && first.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'));
    let next = after.trim_start();
    let word = next.split([' ', '\t', ';']).next().unwrap_or_default();
    let command = word.starts_with(['/', '.', '(', '[']) || word.starts_with("php") || COMMANDS.contains(&word);
    name && !COMMANDS.contains(&first) && !first.starts_with("php") && command
}

/// The command up to an unescaped percent sign.
fn until_percent(command: &str) -> String {
    let mut out = String::new();
    let mut chars = command.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek() == Some(&'%') => {
                out.push('%');
                chars.next();
            }
            '%' => break,
            c => out.push(c),
        }
    }
    out
}

/// The sets of a file's lines.
pub(super) fn sets(input: &Input, lookup: &dyn Fn(&str) -> Option<String>, notes: &mut Vec<String>) -> Vec<Set> {
    notes.extend(input.note());
    let variables: Vec<(String, String)> = input
        .text
        .lines()
        .filter(|line| is_variable(line) && !line.trim_start().starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().trim_matches(['"', '\'']).to_owned()))
        .collect();
    let lookup = |name: &str| {
        let own = variables.iter().rev().find(|(other, _)| other == name).map(|(_, value)| value.clone());
        own.or_else(|| lookup(name))
    };
    // A user's own crontab is named after the user.
    let spool = input
        .path
        .parent()
        .is_some_and(|directory| directory.ends_with("crontabs") || directory.ends_with("spool/cron"));
    let owner = input.path.file_name().filter(|_| spool).map(|name| name.to_string_lossy().into_owned());
    let users = if spool {
        Some(false)
    } else if has_users(&input.path) {
        Some(true)
    } else {
        None
    };
    let mut sets = Vec::new();
    for line in lines(&input.text, users) {
        if !mentions(&line.command) {
            continue;
        }
        let name = format!("line {}", line.number);
        let at = At::new(&input.name, line.number);
        if input.is_doubtful(&line.command) {
            notes.push(format!("{at}: is left out: it is not UTF-8; save the file as UTF-8"));
            continue;
        }
        let mut reading = Reading::of(&line.command, Dialect::Shell, &lookup);
        // Options that make a worker end are dropped, as kqueue runs on.
        let mut ends = vec![line.when.clone()];
        for work in &mut reading.works {
            work.options.retain(|(name, value)| {
                let goes = ["stop-when-empty", "once", "max-time", "max-jobs"].contains(&name.as_str());
                if goes {
                    ends.push(value.as_ref().map_or(format!("--{name}"), |value| format!("--{name}={value}")));
                }
                !goes
            });
        }
        let starter = Starter {
            name: &name,
            source: "crontab line".into(),
            at: at.clone(),
            user: line.user.map(str::to_owned).or_else(|| owner.clone()),
            processes: 1,
            keeper: "cron",
            place: "write its full path, or put a cd before it",
            ..Starter::default()
        };
        for mut set in take::take(&reading, &starter, notes) {
            if !set.schedule {
                set.drop(&ends.join(", "), "kqueue works the queue continuously; remove this line once kqueue runs");
            }
            sets.push(set);
        }
    }
    sets
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields() {
        let text = "# x\nSHELL=/bin/sh\n* * * * * cd /a && php artisan x \\% y % z\n@reboot php /a\n*/5 * * * * www-data php /a\n0 0 * * *\n";
        let flat: Vec<String> = lines(text, None)
            .iter()
            .map(|line| format!("{}|{}|{}|{}", line.number, line.when, line.user.unwrap_or(""), line.command))
            .collect();
        assert_eq!(
            flat,
            ["3|* * * * *||cd /a && php artisan x % y ", "4|@reboot||php /a", "5|*/5 * * * *|www-data|php /a"]
        );
        assert_eq!(lines("* * * * * root php /a", Some(true))[0].user, Some("root"));
        assert!(has_users(Path::new("/etc/cron.d/shop")) && has_users(Path::new("/etc/crontab")));
        assert!(!has_users(Path::new("/var/spool/cron/crontabs/forge")));
    }

    proptest! {
        #[test]
        fn never_panics(text in prop_oneof![".*", r"([*@%\\ =#a/\n]|php /a/artisan queue:work)*"]) {
            let input = Input { name: "f".into(), path: "f".into(), text, latin: None };
            sets(&input, &|_| None, &mut Vec::new());
        }
    }
}
