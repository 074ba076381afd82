//! A command line that works a Laravel queue, as supervisord, systemd, cron, a Compose file or the process table have
//! it. One reader for all of them; pure, nothing is run.

mod shell;
mod wrappers;

use std::path::{Component, Path, PathBuf};

pub(super) use shell::{Dialect, missing, shown};
use shell::{Simple, Variables};
use wrappers::Effect;

/// Why something has no equivalent; `{app}` stands for the app's name.
pub(super) type Why = &'static str;

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
/// Scripts inside scripts, and wrappers around wrappers.
const DEEPEST: usize = 24;
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
        let names: Vec<String> =
            self.option("queue")?.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
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

/// What the commands before have changed for the ones after.
#[derive(Clone, Debug, Default)]
struct State {
    directory: Option<PathBuf>,
    user: Option<String>,
    group: Option<String>,
    env: Vec<String>,
    dropped: Vec<(String, Why)>,
    /// Where else it runs: the wrapper, and where kqueue must run then.
    elsewhere: Option<(String, &'static str)>,
}

struct Reader<'a> {
    variables: Variables<'a>,
    out: Reading,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { variables: Variables { lookup, said: Vec::new() }, out: Reading::default(), depth: 0 }
    }

    fn finish(mut self) -> Reading {
        if !self.out.works.is_empty() {
            self.out.said.append(&mut self.variables.said);
        }
        self.out
    }

    fn line(&mut self, line: &str, dialect: Dialect, mut state: State) {
        let simples = match shell::split(line, dialect, &mut self.variables) {
            Ok(simples) => simples,
            Err(why) => {
                if mentions(line) {
                    self.out.refused.push(format!("its command cannot be read: {why}"));
                }
                return;
            }
        };
        let mut saved = Vec::new();
        let mut others: Vec<String> = Vec::new();
        for (at, simple) in simples.iter().enumerate() {
            let before = self.out.works.len();
            let refused = self.out.refused.len();
            let builtin = self.simple(&simple.words, &mut state);
            let worked = self.out.works.len() > before;
            if worked {
                self.surroundings(before, simple, simples.get(at + 1), &others);
            } else if !builtin && self.out.refused.len() == refused && !simple.words.is_empty() {
                others.push(simple.words.iter().map(|word| shown(word)).collect::<Vec<_>>().join(" "));
            }
            match simple.ends {
                "(" => saved.push(state.clone()),
                ")" => state = saved.pop().unwrap_or(state),
                _ => {}
            }
        }
    }

    /// What of a line belongs to the works in it that were just found.
    fn surroundings(&mut self, from: usize, simple: &Simple, next: Option<&Simple>, others: &[String]) {
        for work in &mut self.out.works[from..] {
            for redirection in &simple.redirections {
                work.dropped.push((
                    redirection.clone(),
                    "what jobs print is in the journal, each line with its job: journalctl -u kqueue@{app}",
                ));
            }
            if let Some(next) = next.filter(|_| matches!(simple.ends, "|" | "|&")) {
                work.dropped.push((
                    format!("| {}", next.words.iter().map(|word| shown(word)).collect::<Vec<_>>().join(" ")),
                    "what jobs print is in the journal, each line with its job: journalctl -u kqueue@{app}",
                ));
            }
            for other in others {
                work.dropped.push((
                    format!("`{other}` before it"),
                    "kqueue starts PHP and nothing else; ExecStartPre= in a drop-in runs it: systemctl edit kqueue@{app}",
                ));
            }
        }
    }

    /// Reads one command. Whether it is a word of the shell, which changes `state` or means nothing.
    fn simple(&mut self, words: &[String], state: &mut State) -> bool {
        let Some(first) = words.first() else { return true };
        let name = base(first);
        match name {
            "cd" | "pushd" | "chdir" => {
                let to = words[1..].iter().find(|word| !word.starts_with('-')).map_or(HOME, String::as_str);
                state.directory = Some(match &state.directory {
                    Some(directory) => directory.join(to),
                    None => to.into(),
                });
                return true;
            }
            "export" | "declare" | "typeset" => {
                state.env.extend(words[1..].iter().filter(|word| is_assignment(word)).cloned());
                return true;
            }
            "umask" => {
                state.dropped.push((
                    words.join(" "),
                    "UMask= in a drop-in says it: systemctl edit kqueue@{app}, systemctl edit kqueue-worker@",
                ));
                return true;
            }
            "ulimit" => {
                state.dropped.push((
                    words.join(" "),
                    "Limit…= in a drop-in says it: systemctl edit kqueue@{app}, systemctl edit kqueue-worker@",
                ));
                return true;
            }
            "source" | "." if words.len() > 1 => {
                state.dropped.push((
                    shown(&words.join(" ")),
                    "what it sets has to be in .env, or in Environment= of both units: systemctl edit kqueue@{app}, systemctl edit kqueue-worker@",
                ));
                return true;
            }
            _ if is_assignment(first) && words.iter().all(|word| is_assignment(word)) => {
                state.env.extend(words.iter().cloned());
                return true;
            }
            _ if wrappers::TALK.contains(&name) && words.len() < 3 => return true,
            _ => {}
        }
        self.command(words, state.clone());
        wrappers::TALK.contains(&name)
    }

    /// Reads a command, wrapper by wrapper.
    fn command(&mut self, words: &[String], mut state: State) {
        self.depth += 1;
        if self.depth <= DEEPEST {
            self.unwrap(words, &mut state);
        } else if words.iter().any(|word| mentions(word)) {
            self.out.refused.push("its command has too many others around it to be read".into());
        }
        self.depth -= 1;
    }

    fn unwrap(&mut self, words: &[String], state: &mut State) {
        let mut rest = words;
        for _ in 0..DEEPEST {
            let Some(first) = rest.first() else { return };
            let name = base(first);
            if wrappers::TALK.contains(&name) {
                return;
            }
            if is_assignment(first) {
                state.env.push(first.clone());
                rest = &rest[1..];
                continue;
            }
            if wrappers::KEYWORDS.contains(&name) {
                rest = &rest[1..];
                continue;
            }
            match name {
                "env" => match self.env(&rest[1..], state) {
                    Some(after) => rest = after,
                    None => return,
                },
                "sh" | "bash" | "dash" | "zsh" | "ash" | "ksh" | "busybox" => return self.shell(&rest[1..], state.clone()),
                "su" | "runuser" => match self.su(&rest[1..], state) {
                    Some(after) => rest = after,
                    None => return,
                },
                "artisan" => return self.artisan(None, &[], first, &rest[1..], state),
                "systemd-run" => {
                    let wrapper_words = &rest[1..];
                    let at = php_at(wrapper_words).unwrap_or(wrapper_words.len());
                    for word in &wrapper_words[..at] {
                        if let Some(user) = word.strip_prefix("--uid=").or_else(|| word.strip_prefix("-pUser=")) {
                            state.user = Some(user.to_owned());
                        }
                    }
                    state.dropped.push((
                        joined(&rest[..=at.min(wrapper_words.len())]),
                        "properties of a unit are said in a drop-in: systemctl edit kqueue@{app}, systemctl edit kqueue-worker@",
                    ));
                    rest = &wrapper_words[at..];
                }
                _ if is_php(name) => return self.php(first, &rest[1..], state),
                "frankenphp" if rest.get(1).is_some_and(|word| word == "php-cli") => {
                    state.dropped.push((
                        "frankenphp php-cli".into(),
                        "kqueue runs PHP's own command line; say which with php = \"/usr/bin/php8.4\"",
                    ));
                    return self.php("php", &rest[2..], state);
                }
                _ => match wrappers::find(name) {
                    Some(wrapper) => match self.wrapped(wrapper, rest, state) {
                        Some(after) => rest = after,
                        None => return,
                    },
                    None => match php_at(rest) {
                        // A program that is not known, with PHP in its arguments.
                        Some(at) if at > 0 => {
                            state.dropped.push((
                                joined(&rest[..at]),
                                "is not known to kqueue, which starts PHP itself: whatever it sets (user, environment, limits) is not carried over",
                            ));
                            rest = &rest[at..];
                        }
                        _ => {
                            if name.ends_with(".sh") {
                                self.out.script.get_or_insert_with(|| shown(first));
                            }
                            return;
                        }
                    },
                },
            }
        }
    }

    fn wrapped<'w>(
        &mut self,
        wrapper: &wrappers::Wrapper,
        words: &'w [String],
        state: &mut State,
    ) -> Option<&'w [String]> {
        let name = base(&words[0]);
        let after = &words[1..];
        let (mut at, options) = wrapper.command_at(after);
        if wrapper.operands == usize::MAX {
            let dashes = after.iter().position(|word| word == "--").map(|dashes| dashes + 1);
            at = dashes.or_else(|| php_at(after))?;
        }
        let option = |names: &[&str]| {
            options.iter().rev().find(|(option, _)| names.contains(&option.as_str())).map(|(_, value)| value.clone())
        };
        match wrapper.effect {
            Effect::Nothing => {}
            Effect::Dropped(why) => {
                let before = joined(&words[..=at.min(after.len())]);
                let before = before.strip_suffix(" --").map(str::to_owned).unwrap_or(before);
                state.dropped.push((before, why));
                if name == "flock"
                    && let Some(script) = ["-c", "--command"].iter().find_map(|flag| {
                        after.iter().position(|word| word == flag).and_then(|flag| after.get(flag + 1))
                    })
                {
                    self.script(script, state.clone());
                    return None;
                }
            }
            Effect::UserOperand => {
                let operand = after.get(at.checked_sub(1)?)?.clone();
                become_user(state, &operand);
            }
            Effect::UserOption(names) => {
                match option(names) {
                    Some(user) => become_user(state, &user),
                    // Without one it is root.
                    None if name != "chpst" && name != "setpriv" => state.user = Some("root".into()),
                    None => {}
                }
                if let Some(group) = option(&["-g", "--group", "--regid"]).filter(|_| name != "doas") {
                    state.group = Some(group);
                }
                if name == "sudo" {
                    if let Some(directory) = option(&["-D", "--chdir"]) {
                        state.directory = Some(directory.into());
                    }
                    if options.iter().any(|(option, _)| option == "-i" || option == "--login") {
                        state.directory = Some(HOME.into());
                    }
                    if option(&["-R", "--chroot"]).is_some() {
                        state.elsewhere.get_or_insert(("sudo --chroot".into(), "inside that root file system"));
                    }
                }
            }
            Effect::Elsewhere(place) => {
                if words.iter().any(|word| mentions(word)) {
                    let kind = words[1..].iter().find(|word| !word.starts_with('-')).map_or("", String::as_str);
                    let by = match name {
                        "docker" | "podman" | "nerdctl" | "kubectl" | "lxc" | "incus" => format!("{name} {}", shown(kind)),
                        _ => name.to_owned(),
                    };
                    let by = match kind {
                        "compose" if words.iter().any(|word| word == "exec") => format!("{by} exec"),
                        "compose" if words.iter().any(|word| word == "run") => format!("{by} run"),
                        _ => by,
                    };
                    self.out.refused.push(format!("{by} runs it elsewhere; kqueue must run {place}"));
                }
                return None;
            }
        }
        after.get(at..)
    }

    /// After `env`: variables, and where to.
    fn env<'w>(&mut self, mut words: &'w [String], state: &mut State) -> Option<&'w [String]> {
        loop {
            let first = words.first()?;
            match first.as_str() {
                "-u" | "--unset" => words = words.get(2..)?,
                "-C" | "--chdir" => {
                    state.directory = Some(words.get(1)?.into());
                    words = words.get(2..)?;
                }
                "-S" | "--split-string" => {
                    let script = words[1..].join(" ");
                    self.line(&script, Dialect::Words, state.clone());
                    return None;
                }
                "-i" | "-" | "--ignore-environment" | "--" | "-0" | "-v" => words = &words[1..],
                word if word.starts_with("--chdir=") => {
                    state.directory = Some(word["--chdir=".len()..].into());
                    words = &words[1..];
                }
                word if word.starts_with("--unset=") => words = &words[1..],
                word if is_assignment(word) => {
                    state.env.push(word.to_owned());
                    words = &words[1..];
                }
                _ => return Some(words),
            }
        }
    }

    /// After `sh`: its script.
    fn shell(&mut self, words: &[String], state: State) {
        let mut words = words;
        // busybox sh -c
        while words.first().is_some_and(|word| matches!(word.as_str(), "sh" | "ash")) {
            words = &words[1..];
        }
        let mut at = 0;
        while let Some(word) = words.get(at) {
            if word == "-o" || word == "+o" || word == "-O" {
                at += 2;
            } else if word.starts_with('-') && !word.starts_with("--") && word.contains('c') {
                // The script is the first word that is no option.
                if let Some(script) = words[at + 1..].iter().find(|word| !word.starts_with('-')) {
                    self.script(script, state);
                }
                return;
            } else if word.starts_with('-') || word.starts_with('+') {
                at += 1;
            } else {
                self.out.script.get_or_insert_with(|| shown(word));
                return;
            }
        }
    }

    fn script(&mut self, script: &str, state: State) {
        self.depth += 1;
        if self.depth <= DEEPEST {
            // Its variables are the shell's: marks of the outer reading become what they were.
            self.line(&shown(script), Dialect::Shell, state);
        } else if mentions(script) {
            self.out.refused.push("its command has too many others around it to be read".into());
        }
        self.depth -= 1;
    }

    /// After `su` and `runuser`.
    fn su<'w>(&mut self, words: &'w [String], state: &mut State) -> Option<&'w [String]> {
        let (mut script, mut user, mut login) = (None, None, false);
        let mut at = 0;
        while let Some(word) = words.get(at) {
            at += 1;
            let next = words.get(at);
            match word.as_str() {
                "-c" | "--command" | "--session-command" => (script, at) = (next.cloned(), at + 1),
                "-u" | "--user" => {
                    // runuser -u USER COMMAND…
                    become_user(state, next?);
                    at += 1;
                    while words.get(at).is_some_and(|word| word.starts_with('-')) {
                        at += if words.get(at).is_some_and(|word| word == "-g" || word == "-G") { 2 } else { 1 };
                    }
                    return words.get(at..);
                }
                "-s" | "--shell" | "-g" | "--group" | "-G" | "--supp-group" | "-w" | "-T" => at += 1,
                "-" | "-l" | "--login" => login = true,
                "--" => {}
                word if word.starts_with("--command=") => script = Some(word["--command=".len()..].to_owned()),
                word if word.starts_with("-lc") || word.starts_with("-mc") => (script, at) = (next.cloned(), at + 1),
                word if word.starts_with('-') => {}
                word => {
                    user.get_or_insert_with(|| word.to_owned());
                }
            }
        }
        become_user(state, user.as_deref().unwrap_or("root"));
        if login {
            state.directory = Some(HOME.into());
        }
        self.script(&script?, state.clone());
        None
    }

    /// After the interpreter: its arguments, the script.
    fn php(&mut self, php: &str, words: &[String], state: &mut State) {
        let mut at = 0;
        while let Some(word) = words.get(at) {
            match word.as_str() {
                "-f" | "--file" | "--" => {
                    at += 1;
                    break;
                }
                "-r" | "-R" | "-B" | "-E" | "-S" | "-a" | "-v" | "-i" | "-m" | "-l" => return,
                "-d" | "-c" | "-z" | "--define" | "--php-ini" => at += 2,
                word if word.starts_with('-') => at += 1,
                _ => break,
            }
        }
        let Some(script) = words.get(at) else { return };
        let args: Vec<String> =
            words[..at].iter().filter(|word| !matches!(word.as_str(), "-f" | "--file" | "--")).cloned().collect();
        if base(script) == "artisan" {
            self.artisan(Some(php), &args, script, &words[at + 1..], state);
        } else if base(script) == "sail" {
            self.command(&words[at..], state.clone());
        }
    }

    /// After artisan.
    fn artisan(&mut self, php: Option<&str>, php_args: &[String], artisan: &str, after: &[String], state: &State) {
        let Some(command) = after.iter().position(|word| !word.starts_with('-')) else { return };
        let kind = match after[command].as_str() {
            "queue:work" => Kind::Work,
            "queue:listen" => Kind::Listen,
            "horizon" | "horizon:supervisor" | "horizon:work" => Kind::Horizon,
            "schedule:run" | "schedule:work" => Kind::Schedule,
            _ => return,
        };
        if let Some((by, place)) = &state.elsewhere {
            self.out.refused.push(format!("{by} runs it elsewhere; kqueue must run {place}"));
            return;
        }
        let mut work = Work {
            kind,
            php: php.map(str::to_owned),
            php_args: php_args.to_vec(),
            artisan: artisan.into(),
            directory: state.directory.clone(),
            connection: None,
            options: Vec::new(),
            user: state.user.clone(),
            group: state.group.clone(),
            env: state.env.iter().map(|word| variable(word).to_owned()).collect(),
            dropped: state.dropped.clone(),
        };
        let mut rest = after[..command].iter().chain(&after[command + 1..]);
        while let Some(word) = rest.next() {
            match word.strip_prefix("--") {
                Some("") => {}
                Some(option) => {
                    let (name, value) = match option.split_once('=') {
                        Some((name, value)) => (name, Some(value.to_owned())),
                        None if VALUED.contains(&option) => (option, rest.next().cloned()),
                        None => (option, None),
                    };
                    work.options.push((name.to_owned(), value));
                }
                None if word.starts_with('-') => work.options.push((word.clone(), None)),
                None if work.connection.is_none() && kind != Kind::Schedule => work.connection = Some(word.clone()),
                None => work.dropped.push((shown(word), "queue:work takes no such argument")),
            }
        }
        match self.unclear(&work) {
            Some(name) => self.out.refused.push(format!(
                "the variable {name} is not set here, and its command needs it; give it: {name}=… kqueue import …, or write its value into the file"
            )),
            None => self.out.works.push(work),
        }
    }

    /// A variable without a value in what counts.
    fn unclear(&self, work: &Work) -> Option<String> {
        const COUNTS: &[&str] =
            &["queue", "delay", "backoff", "memory", "timeout", "tries", "max-jobs", "max-time", "force"];
        let paths = [Some(work.artisan.as_path()), work.directory.as_deref()];
        let paths = paths.iter().flatten().filter_map(|path| path.to_str());
        let options = work.options.iter().filter(|(name, _)| COUNTS.contains(&name.as_str()) || name.contains('\u{1}'));
        let options = options.flat_map(|(name, value)| [Some(name.as_str()), value.as_deref()]).flatten();
        let others = [work.php.as_deref(), work.connection.as_deref(), work.user.as_deref(), work.group.as_deref()];
        paths
            .chain(others.into_iter().flatten())
            .chain(work.php_args.iter().map(String::as_str))
            .chain(options)
            .find_map(missing)
            .map(str::to_owned)
    }
}

/// The words before a command, as they were written.
fn joined(words: &[String]) -> String {
    words.iter().map(|word| shown(word)).collect::<Vec<_>>().join(" ")
}

fn become_user(state: &mut State, name: &str) {
    // `user:group`, and chpst's `:uid`.
    let mut parts = name.trim_start_matches(':').trim_start_matches('#').splitn(2, ':');
    state.user = parts.next().map(|user| user.trim_end_matches('.').to_owned()).filter(|user| !user.is_empty());
    if let Some(group) = parts.next().filter(|group| !group.is_empty()) {
        state.group = Some(group.to_owned());
    }
}

/// The name of an assignment.
fn variable(word: &str) -> &str {
    word.split_once('=').map_or(word, |(name, _)| name)
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

/// Where PHP or artisan is in the words of a command.
fn php_at(words: &[String]) -> Option<usize> {
    let artisan = words.iter().position(|word| base(word) == "artisan")?;
    Some(words[..artisan].iter().position(|word| is_php(base(word))).unwrap_or(artisan))
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
