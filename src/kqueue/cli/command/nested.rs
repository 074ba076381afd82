//! Programs that take a command as an argument: `env`, `sh -c`, `su`. Pure.

use super::HOME;
use super::mentions;
use super::reader::{Context, DEEPEST, Reader, become_user, is_assignment};
use super::shell::{Dialect, shown};

impl Reader<'_> {
    /// Analyses the words after `env`: variables and directory. Returns the command's words.
    pub fn env<'w>(&mut self, mut words: &'w [String], state: &mut Context) -> Option<&'w [String]> {
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

    /// Analyses the words after `sh`: its script.
    pub fn shell(&mut self, words: &[String], state: Context) {
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
                // The script is the first word that is not an option.
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

    pub fn script(&mut self, script: &str, state: Context) {
        self.depth += 1;
        if self.depth <= DEEPEST {
            // The inner shell expands unknown variables, so their marks are turned back into source text.
            self.line(&shown(script), Dialect::Shell, state);
        } else if mentions(script) {
            self.out.refused.push("its command is nested too deeply".into());
        }
        self.depth -= 1;
    }

    /// Analyses the words after `su` or `runuser`. Returns the command's words, if it is not a script.
    pub fn su<'w>(&mut self, words: &'w [String], state: &mut Context) -> Option<&'w [String]> {
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
}
