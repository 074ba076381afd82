//! A file of supervisord's: its programs that work a queue of Laravel's. Pure.

use std::path::{Path, PathBuf};

use configparser::ini::{Ini, IniDefault};

use super::plan::{Set, why_not};
use crate::cli::command::{Kind, Work};

/// A `[program:…]` as written.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Program {
    pub name: String,
    /// The command, if it works a queue.
    pub work: Option<Work>,
    pub directory: Option<PathBuf>,
    pub autostart: bool,
    /// All that is set, expanded.
    pub keys: Vec<(String, String)>,
}

/// Reads a file's programs, in their order.
///
/// # Errors
/// What is wrong with it, in one line.
pub(in crate::cli) fn programs(text: &str, file: &Path) -> Result<Vec<Program>, String> {
    let mut defaults = IniDefault::default();
    defaults.case_sensitive = true;
    defaults.multiline = true;
    // To supervisord a semicolon begins a comment after a blank only: `environment=A="x;y"`.
    defaults.enable_inline_comments = false;
    let plain: Vec<&str> = text.lines().map(without_comment).collect();
    let sections = Ini::new_from_defaults(defaults)
        .read(plain.join("\n"))
        .map_err(|error| format!("{}: {error}", file.display()))?;
    let here = file.parent().unwrap_or(Path::new("")).display().to_string();
    let mut programs = Vec::new();
    for (section, keys) in sections {
        let Some(name) = section.strip_prefix("program:").map(|name| name.trim().to_owned()) else { continue };
        let numprocs = keys.get("numprocs").cloned().flatten().unwrap_or_else(|| "1".into());
        let expanded = |text: &str| expand(text, &name, &here, &numprocs).replace('\n', " ").trim().to_owned();
        let keys: Vec<(String, String)> =
            keys.iter().map(|(key, value)| (key.clone(), expanded(value.as_deref().unwrap_or_default()))).collect();
        let get = |key: &str| keys.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        programs.push(Program {
            work: get("command").and_then(Work::parse_line),
            directory: get("directory").map(PathBuf::from),
            autostart: !get("autostart").is_some_and(|value| OFF.contains(&value.to_ascii_lowercase().as_str())),
            name,
            keys,
        });
    }
    Ok(programs)
}

/// What supervisord takes for a no.
const OFF: &[&str] = &["false", "no", "off", "0"];

/// A line without the comment at its end.
fn without_comment(line: &str) -> &str {
    let at = line.char_indices().zip(line.chars().skip(1)).find(|((_, c), next)| c.is_whitespace() && *next == ';');
    at.map_or(line, |((at, _), _)| &line[..at])
}

/// Puts in what `%(…)s` stands for. What is not known stays.
fn expand(text: &str, name: &str, here: &str, numprocs: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let inner = rest.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        let Some((variable, after)) = inner else {
            out.push('%');
            continue;
        };
        let value = match variable {
            "program_name" | "group_name" => Some(name.to_owned()),
            "here" => Some(here.to_owned()),
            "numprocs" => Some(numprocs.to_owned()),
            "process_num" => Some("0".to_owned()),
            _ => variable.strip_prefix("ENV_").and_then(|name| std::env::var(name).ok()),
        };
        match value {
            // The conversion that follows: `s`, `d`, `02d`.
            Some(value) => {
                out.push_str(&value);
                rest = after.trim_start_matches(|c: char| c.is_ascii_digit()).get(1..).unwrap_or_default();
            }
            None => out.push('%'),
        }
    }
    out + rest
}

/// Options of the program that kqueue has no key for, and why.
const DROPPED: &[(&str, &[&str])] = &[
    ("kqueue@APP is always restarted", &["autorestart", "startsecs", "startretries", "exitcodes"]),
    (
        "on a stop running jobs finish first, and nothing of the app is left",
        &["stopsignal", "stopasgroup", "killasgroup"],
    ),
    (
        "what jobs print is in the journal, each line with its job: journalctl -u kqueue@APP",
        &["stdout_logfile", "stderr_logfile", "redirect_stderr"],
    ),
    ("it means nothing here", &["process_name", "numprocs_start", "priority", "serverurl"]),
    (
        "put them into .env, or into Environment= for both units: systemctl edit kqueue@APP, systemctl edit kqueue-worker@",
        &["environment"],
    ),
    ("UMask= in a drop-in says it: systemctl edit kqueue@APP, systemctl edit kqueue-worker@", &["umask"]),
];

/// What a program comes to. `None` for one that works no queue of Laravel's; the reason is in `notes`.
pub(super) fn set(program: &Program, notes: &mut Vec<String>) -> Option<Set> {
    let name = &program.name;
    let Some(work) = &program.work else {
        notes.push(format!("{name}: works no Laravel queue; it stays with supervisord"));
        return None;
    };
    if work.kind == Kind::Horizon {
        notes.push(format!("{name}: is Horizon; `kqueue import horizon --path DIR` takes its settings"));
        return None;
    }
    let Some(path) = work.app(program.directory.as_deref()) else {
        notes.push(format!("{name}: where its artisan is cannot be told; give it an absolute path, or a directory="));
        return None;
    };
    let get = |key: &str| program.keys.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    let mut set = Set { name: name.clone(), path, source: format!("[program:{name}]"), ..Set::default() };
    set.php = work.php.clone().filter(|php| php != "php");
    set.php_args = work.php_args.join(" ");
    set.connection = work.connection.clone();
    set.queues = work.queues();
    set.processes = get("numprocs").and_then(|count| count.parse().ok()).unwrap_or(1);
    match get("user") {
        Some("root" | "0") => {
            set.drop("user = root", "jobs should not run as root; the owner of the app's directory runs them")
        }
        Some(user) => set.user = Some(user.to_owned()),
        None => set.drop(
            "no user=",
            "supervisord ran it as itself, mostly root; kqueue runs it as the owner of the app's directory",
        ),
    }
    if let Some(seconds) = get("stopwaitsecs") {
        set.key("stop_timeout", seconds, "stopwaitsecs");
    }
    if !program.autostart {
        set.drop("autostart = false", "systemctl start kqueue@APP starts it, and without `enable` nothing else does");
    }
    options(work, &mut set);
    for (why, keys) in DROPPED {
        let there: Vec<&str> = keys.iter().copied().filter(|key| get(key).is_some()).collect();
        if !there.is_empty() {
            set.drop(&there.join(", "), why);
        }
    }
    Some(set)
}

/// The options of `queue:work`.
fn options(work: &Work, set: &mut Set) {
    if work.kind == Kind::Listen {
        set.drop(
            "queue:listen",
            "it boots the app anew for each job; kqueue does so after a deploy (queue:restart) only",
        );
    }
    if !work.wrapper.is_empty() {
        let wrapper = work.wrapper.join(" ");
        let why = match wrapper.split(' ').any(|word| word.ends_with("nice")) {
            true => "Nice= in a drop-in says it: systemctl edit kqueue@APP, systemctl edit kqueue-worker@",
            false => "kqueue starts PHP itself",
        };
        set.drop(&wrapper, why);
    }
    for (option, value) in &work.options {
        let text = value.as_deref().unwrap_or("true");
        let shown = match value {
            Some(value) => format!("--{option}={value}"),
            None => format!("--{option}"),
        };
        let key = match option.as_str() {
            "tries" => "tries",
            "timeout" => "timeout",
            "memory" => "worker_memory",
            "backoff" | "delay" => "backoff",
            "max-jobs" => "worker_max_jobs",
            "max-time" => "worker_max_time",
            "force" => "force",
            // Taken already, or of no consequence.
            "queue" | "quiet" | "verbose" | "no-interaction" | "ansi" | "no-ansi" | "json" | "daemon" | "name" => {
                continue;
            }
            short if short.starts_with('-') => continue,
            other => {
                set.drop(&shown, why_not(other));
                continue;
            }
        };
        set.key(key, text, &shown);
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::{self, App};
    use super::*;

    fn import(text: &str) -> (Vec<App>, Vec<String>) {
        let mut notes = Vec::new();
        let programs = programs(text, Path::new("/etc/supervisor/conf.d/shop.conf")).unwrap();
        let sets = programs.iter().filter_map(|program| set(program, &mut notes)).collect();
        let apps = plan::apps(sets, None, &mut notes).unwrap();
        (apps, notes)
    }

    /// Keys and values of an app, without comments.
    fn keys(app: &App) -> Vec<String> {
        let text = app.draft.text();
        text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(str::to_owned).collect()
    }

    const USUAL: &str = "\
; Laravel's own example, and more
[program:laravel-worker]
process_name=%(program_name)s_%(process_num)02d
command=php /srv/shop/artisan queue:work redis --queue=high,default --sleep=3 --tries=3 --max-time=3600 --timeout=90 ; a comment
autostart=true
autorestart=true
stopasgroup=true
killasgroup=true
user=forge
numprocs=8
redirect_stderr=true
environment=A=\"x;y\",
    B=\"2\"
stdout_logfile=/srv/shop/worker.log
stopwaitsecs=3600
";

    #[test]
    fn the_usual_program() {
        let (apps, notes) = import(USUAL);
        assert_eq!(apps.len(), 1);
        assert_eq!(apps[0].name, "shop");
        assert_eq!(
            keys(&apps[0]),
            [
                "path = \"/srv/shop\"",
                "user = \"forge\"",
                "connection = \"redis\"",
                "queues = \"high,default\"",
                "pool_size = 8",
                "pool_max_size = 8",
                "tries = 3",
                "timeout = 90",
                "stop_timeout = 3600",
            ]
        );
        let all = notes.join("\n");
        for what in ["--sleep=3", "stdout_logfile", "environment", "autorestart", "stopasgroup", "process_name"] {
            assert!(all.contains(what), "{what} is told: {all}");
        }
        // The same as kqueue's default.
        assert!(!all.contains("max-time"), "{all}");
    }

    #[test]
    fn programs_of_one_app() {
        let program = |name: &str, options: &str| {
            format!("[program:{name}]\nuser=forge\ncommand=php artisan queue:work {options}\ndirectory=/srv/shop\n")
        };
        let alike = program("a", "--queue=high --tries=2") + &program("b", "--tries=2 --queue=mail");
        let (apps, notes) = import(&alike);
        assert_eq!(apps.len(), 1);
        assert!(keys(&apps[0]).contains(&"queues = \"high,mail\"".to_owned()));
        assert!(keys(&apps[0]).contains(&"pool_size = 2".to_owned()));
        assert!(notes.iter().any(|note| note.contains("strict order")), "{notes:?}");
        // What counts for all jobs of an app cannot be two things at once.
        let (apps, notes) = import(&(alike + &program("long", "--queue=video --timeout=3600")));
        assert_eq!(apps.iter().map(|app| app.name.as_str()).collect::<Vec<_>>(), ["shop", "shop_long"]);
        assert!(keys(&apps[1]).contains(&"timeout = 3600".to_owned()));
        assert!(notes.iter().any(|note| note.contains("shop_long")), "{notes:?}");
    }

    #[test]
    fn what_is_no_work_for_us() {
        let text = "[supervisord]\nlogfile=/x\n[program:node]\ncommand=node x.js\n[program:h]\ncommand=php /srv/shop/artisan horizon\n\
                    [program:where]\ncommand=php artisan queue:work\n";
        let (apps, notes) = import(text);
        assert!(apps.is_empty());
        assert!(notes[0].starts_with("node: works no Laravel queue"), "{notes:?}");
        assert!(notes[1].contains("import horizon") && notes[2].contains("cannot be told"), "{notes:?}");
        assert!(programs("[program:x\ncommand", Path::new("/f")).is_err());
    }

    #[test]
    fn values_that_no_key_takes_are_told() {
        let text =
            "[program:w]\nuser=root\ncommand=nice -n 10 php /srv/shop/artisan queue:work --memory=4 --once --env=x\n";
        let (apps, notes) = import(text);
        assert_eq!(keys(&apps[0]), ["path = \"/srv/shop\"", "pool_size = 1", "pool_max_size = 1"]);
        let all = notes.join("\n");
        for what in ["--memory=4", "--once", "--env=x", "nice -n 10", "user = root", "one at a time"] {
            assert!(all.contains(what), "{what} is told: {all}");
        }
    }

    #[test]
    fn what_stands_for_something() {
        let text = |text: &str| expand(text, "w", "/etc/s", "8");
        assert_eq!(text("%(program_name)s_%(process_num)02d"), "w_0");
        assert_eq!(text("%(here)s/x 100%% %(numprocs)d %(no_such)s %"), "/etc/s/x 100% 8 %(no_such)s %");
    }
}
