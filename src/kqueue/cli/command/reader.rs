//! Analyses a command line, wrapper by wrapper and script by script. Pure.

use std::path::PathBuf;

use super::shell::{self, Dialect, Simple, Variables, shown};
use super::wrappers::{self, Effect};
use super::{HOME, Reading, Why, base, is_php, mentions};

/// Maximum nesting of scripts, and of wrappers.
pub(super) const DEEPEST: usize = 24;

/// State that earlier commands and wrappers set for later ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Context {
    pub directory: Option<PathBuf>,
    pub user: Option<String>,
    pub group: Option<String>,
    pub env: Vec<String>,
    pub dropped: Vec<(String, Why)>,
    /// Set if it runs elsewhere: the wrapper, and where kqueue must run then.
    pub elsewhere: Option<(String, &'static str)>,
}

pub(super) struct Reader<'a> {
    variables: Variables<'a>,
    pub out: Reading,
    pub depth: usize,
}

impl<'a> Reader<'a> {
    pub fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { variables: Variables { lookup, said: Vec::new() }, out: Reading::default(), depth: 0 }
    }

    pub fn finish(mut self) -> Reading {
        if !self.out.works.is_empty() {
            self.out.said.append(&mut self.variables.said);
        }
        self.out
    }

    pub fn line(&mut self, line: &str, dialect: Dialect, mut state: Context) {
        let simples = match shell::split(line, dialect, &mut self.variables) {
            Ok(simples) => simples,
            Err(why) => {
                if mentions(line) {
                    self.out.refused.push(format!("cannot parse its command: {why}"));
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
                others.push(joined(&simple.words));
            }
            match simple.ends {
                "(" => saved.push(state.clone()),
                ")" => state = saved.pop().unwrap_or(state),
                _ => {}
            }
        }
    }

    /// Records redirections, pipes and earlier commands of a line as dropped parts of the work just found.
    fn surroundings(&mut self, from: usize, simple: &Simple, next: Option<&Simple>, others: &[String]) {
        for work in &mut self.out.works[from..] {
            let mut output = simple.redirections.clone();
            if let Some(next) = next.filter(|_| matches!(simple.ends, "|" | "|&")) {
                output.push(format!("| {}", joined(&next.words)));
            }
            if !output.is_empty() {
                work.dropped.push((
                    output.join(" "),
                    "kqueue logs the output of jobs, each line with its job: journalctl -u kqueue@{app}",
                ));
            }
            for other in others {
                work.dropped.push((
                    format!("`{other}` before it"),
                    "kqueue starts only PHP; run this with ExecStartPre= in a drop-in: systemctl edit kqueue@{app}",
                ));
            }
        }
    }

    /// Analyses one command. True if it is a shell builtin that changes `state`, or has no effect here.
    pub fn simple(&mut self, words: &[String], state: &mut Context) -> bool {
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
                    "set UMask= in a drop-in: systemctl edit kqueue@{app}, systemctl edit kqueue-worker@",
                ));
                return true;
            }
            "ulimit" => {
                state.dropped.push((
                    words.join(" "),
                    "set Limit…= in a drop-in: systemctl edit kqueue@{app}, systemctl edit kqueue-worker@",
                ));
                return true;
            }
            "source" | "." if words.len() > 1 => {
                state.dropped.push((
                    shown(&words.join(" ")),
                    "put what it sets into .env, or into Environment= for both units: systemctl edit kqueue@{app}, \
                     systemctl edit kqueue-worker@",
                ));
                return true;
            }
            _ if is_assignment(first) && words.iter().all(|word| is_assignment(word)) => {
                state.env.extend(words.iter().cloned());
                return true;
            }
            _ => {}
        }
        self.command(words, state.clone());
        let said = words.iter().map(|word| base(word)).find(|name| !wrappers::KEYWORDS.contains(name));
        said.is_none_or(|name| wrappers::TALK.contains(&name))
    }

    /// Analyses a command, wrapper by wrapper.
    pub fn command(&mut self, words: &[String], mut state: Context) {
        self.depth += 1;
        if self.depth <= DEEPEST {
            self.unwrap(words, &mut state);
        } else if words.iter().any(|word| mentions(word)) {
            self.out.refused.push("its command is nested too deeply".into());
        }
        self.depth -= 1;
    }

    fn unwrap(&mut self, words: &[String], state: &mut Context) {
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
                "sh" | "bash" | "dash" | "zsh" | "ash" | "ksh" | "busybox" => {
                    return self.shell(&rest[1..], state.clone());
                }
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
                        "set unit properties in a drop-in: systemctl edit kqueue@{app}, systemctl edit kqueue-worker@",
                    ));
                    rest = &wrapper_words[at..];
                }
                _ if is_php(name) => return self.php(first, &rest[1..], state),
                "frankenphp" if rest.get(1).is_some_and(|word| word == "php-cli") => {
                    state.dropped.push((
                        "frankenphp php-cli".into(),
                        "kqueue runs the PHP CLI; set its path with php = \"/usr/bin/php8.4\"",
                    ));
                    return self.php("php", &rest[2..], state);
                }
                _ => match wrappers::find(name) {
                    Some(wrapper) => match self.wrapped(wrapper, rest, state) {
                        Some(after) => rest = after,
                        None => return,
                    },
                    None => match php_at(rest) {
                        // An unknown program with PHP in its arguments.
                        Some(at) if at > 0 => {
                            state.dropped.push((
                                joined(&rest[..at]),
                                "kqueue starts PHP without it: what it sets (user, environment, limits) is not \
                                 carried over",
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
        state: &mut Context,
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
                    // The default is root.
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
                        "docker" | "podman" | "nerdctl" | "kubectl" | "lxc" | "incus" => {
                            format!("{name} {}", shown(kind))
                        }
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
}

/// Words as they were written, joined.
fn joined(words: &[String]) -> String {
    words.iter().map(|word| shown(word)).collect::<Vec<_>>().join(" ")
}

pub(super) fn become_user(state: &mut Context, name: &str) {
    // `user:group`, or `:uid` of chpst.
    let mut parts = name.trim_start_matches(':').trim_start_matches('#').splitn(2, ':');
    state.user = parts.next().map(|user| user.trim_end_matches('.').to_owned()).filter(|user| !user.is_empty());
    if let Some(group) = parts.next().filter(|group| !group.is_empty()) {
        state.group = Some(group.to_owned());
    }
}

/// The variable's name in an assignment.
pub(super) fn variable(word: &str) -> &str {
    word.split_once('=').map_or(word, |(name, _)| name)
}

pub(super) fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

/// The position of PHP, or else of artisan, in a command's words.
fn php_at(words: &[String]) -> Option<usize> {
    let artisan = words.iter().position(|word| base(word) == "artisan")?;
    Some(words[..artisan].iter().position(|word| is_php(base(word))).unwrap_or(artisan))
}
