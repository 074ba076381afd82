//! PHP, artisan and the options of `queue:work`. Pure.

use super::reader::{Context, Reader, variable};
use super::shell::{missing, shown};
use super::{Kind, Work, base};

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
impl Reader<'_> {
    /// Analyses the words after the interpreter: its arguments and the script.
    pub fn php(&mut self, php: &str, words: &[String], state: &mut Context) {
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

    /// Analyses the words after artisan.
    pub fn artisan(
        &mut self,
        php: Option<&str>,
        php_args: &[String],
        artisan: &str,
        after: &[String],
        state: &Context,
    ) {
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
                "the variable {name} is not set here, and its command needs it; set it: {name}=… kqueue import …, or \
                 write its value into the file"
            )),
            None => self.out.works.push(work),
        }
    }

    /// The first variable without a value in a part that matters.
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
