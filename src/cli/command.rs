//! A command line that works a Laravel queue, as supervisord, systemd or the process table have it. Pure.

use std::path::{Component, Path, PathBuf};

/// Options of `queue:work` that take a value; the others are switches.
const VALUED: &[&str] = &[
    "name",
    "queue",
    "delay",
    "backoff",
    "memory",
    "sleep",
    "rest",
    "timeout",
    "tries",
    "max-jobs",
    "max-time",
    "env",
    "environment",
];

/// What the command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `queue:work`.
    Work,
    /// `queue:listen`.
    Listen,
    /// `horizon`, `horizon:supervisor`, `horizon:work`.
    Horizon,
}

/// The command, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Work {
    pub kind: Kind,
    /// What comes before PHP: `nice -n 10`.
    pub wrapper: Vec<String>,
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
}

impl Work {
    /// Reads a line as a shell would.
    pub fn parse_line(line: &str) -> Option<Self> {
        Self::parse(&shell_words::split(line).ok()?)
    }

    /// Reads the words of a command. `None` where it works no queue.
    pub fn parse(words: &[String]) -> Option<Self> {
        if let Some(script) = script(words) {
            return Self::parse_script(script);
        }
        let at = words.iter().position(|word| Path::new(word).file_name().is_some_and(|name| name == "artisan"))?;
        let (before, after) = (&words[..at], &words[at + 1..]);
        let command = after.iter().position(|word| !word.starts_with('-'))?;
        let kind = match after[command].as_str() {
            "queue:work" => Kind::Work,
            "queue:listen" => Kind::Listen,
            "horizon" | "horizon:supervisor" | "horizon:work" => Kind::Horizon,
            _ => return None,
        };
        let php = before.iter().position(|word| is_php(word));
        let (wrapper, php, php_args) = match php {
            Some(php) => (before[..php].to_vec(), Some(before[php].clone()), before[php + 1..].to_vec()),
            None => (before.to_vec(), None, Vec::new()),
        };
        let mut connection = None;
        let mut options = Vec::new();
        let mut rest = after[..command].iter().chain(&after[command + 1..]);
        while let Some(word) = rest.next() {
            match word.strip_prefix("--") {
                Some(option) => {
                    let (name, value) = match option.split_once('=') {
                        Some((name, value)) => (name, Some(value.to_owned())),
                        None if VALUED.contains(&option) => (option, rest.next().cloned()),
                        None => (option, None),
                    };
                    options.push((name.to_owned(), value));
                }
                None if word.starts_with('-') => options.push((word.clone(), None)),
                None => {
                    connection.get_or_insert_with(|| word.clone());
                }
            }
        }
        let artisan = words[at].clone().into();
        Some(Self { kind, wrapper, php, php_args, artisan, directory: None, connection, options })
    }

    /// Reads what a shell is given: the last command counts, and a `cd` before it.
    fn parse_script(script: &str) -> Option<Self> {
        let mut directory = None;
        for command in script.split(['&', ';', '\n']) {
            let Ok(mut words) = shell_words::split(command) else { continue };
            if words.first().is_some_and(|word| word == "exec") {
                words.remove(0);
            }
            if let [cd, to] = words.as_slice()
                && cd == "cd"
            {
                directory = Some(PathBuf::from(to));
            } else if let Some(work) = Self::parse(&words) {
                return Some(Self { directory: work.directory.clone().or(directory), ..work });
            }
        }
        None
    }

    /// The value of an option.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().rev().find(|(option, _)| option == name).and_then(|(_, value)| value.as_deref())
    }

    /// Its queues, where they are named.
    pub fn queues(&self) -> Option<Vec<String>> {
        Some(self.option("queue")?.split(',').map(|name| name.trim().to_owned()).collect())
    }

    /// The app's directory, of a process in `cwd`. `None` where neither says.
    pub fn app(&self, cwd: Option<&Path>) -> Option<PathBuf> {
        let base = match (&self.directory, cwd) {
            (Some(directory), Some(cwd)) => cwd.join(directory),
            (Some(directory), None) => directory.clone(),
            (None, Some(cwd)) => cwd.to_owned(),
            (None, None) => PathBuf::new(),
        };
        let directory = base.join(&self.artisan).parent()?.to_owned();
        directory.is_absolute().then(|| directory.components().filter(|part| *part != Component::CurDir).collect())
    }
}

/// What `sh -c` is given.
fn script(words: &[String]) -> Option<&String> {
    let shell = words.iter().position(|word| {
        matches!(Path::new(word).file_name().and_then(|name| name.to_str()), Some("sh" | "bash" | "dash" | "zsh"))
    })?;
    match words.get(shell + 1)?.as_str() {
        "-c" | "-lc" | "-ec" => words.get(shell + 2),
        _ => None,
    }
}

fn is_php(word: &str) -> bool {
    let name = Path::new(word).file_name().unwrap_or_default().to_string_lossy();
    name.strip_prefix("php")
        .is_some_and(|rest| rest.trim_start_matches("-cli").chars().all(|c| c.is_ascii_digit() || c == '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Work {
        Work::parse_line(line).unwrap_or_else(|| panic!("{line}"))
    }

    #[test]
    fn what_people_write() {
        let work = parse("php /srv/shop/artisan queue:work redis --queue=high,default --tries 3 --force -q");
        assert_eq!(
            (work.kind, work.php.as_deref(), work.connection.as_deref()),
            (Kind::Work, Some("php"), Some("redis"))
        );
        assert_eq!(work.queues().unwrap(), ["high", "default"]);
        assert_eq!((work.option("tries"), work.option("force")), (Some("3"), None));
        assert_eq!(work.options.len(), 4);
        assert_eq!(work.app(None).unwrap(), Path::new("/srv/shop"));
        let work = parse("nice -n 10 /usr/bin/php8.3 -d memory_limit=1G ./artisan queue:listen");
        assert_eq!((work.kind, work.wrapper.join(" ")), (Kind::Listen, "nice -n 10".to_owned()));
        assert_eq!(work.php_args, ["-d", "memory_limit=1G"]);
        assert_eq!(work.app(None), None);
        assert_eq!(work.app(Some(Path::new("/srv/shop"))).unwrap(), Path::new("/srv/shop"));
        let work = parse("/bin/bash -c 'cd /srv/shop && exec php artisan queue:work --sleep=3'");
        assert_eq!((work.app(None).unwrap().to_str(), work.option("sleep")), (Some("/srv/shop"), Some("3")));
        assert_eq!(parse("/srv/shop/artisan horizon").kind, Kind::Horizon);
    }

    #[test]
    fn what_works_no_queue() {
        for line in
            ["php artisan schedule:work", "php /srv/shop/artisan", "node queue:work", "", "bash -c 'php x'", "sh"]
        {
            assert_eq!(Work::parse_line(line), None, "{line}");
        }
        assert_eq!(Work::parse_line("php 'artisan queue:work"), None);
    }
}
