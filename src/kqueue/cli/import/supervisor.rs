//! supervisord's files: programs in them that work a Laravel queue.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::expand::{Here, expand};
use super::ini::{self, Section};
use super::plan::{At, Set};
use super::source::{self, Input, MOST_FILES};
use super::take::{self, ENVIRONMENT, Starter};
use crate::cli::Failed;
use crate::cli::command::{Dialect, Reading, Why};

/// Maximum processes of one program; more are taken for a mistake.
const MOST_PROCESSES: u32 = 1000;

/// A `[program:…]`, expanded.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Program {
    pub name: String,
    /// What its processes run, each with the number of processes: usually all the same.
    pub readings: Vec<(Reading, u32)>,
    pub directory: Option<PathBuf>,
    pub autostart: bool,
    file: String,
    section: Section,
    /// The user it runs as.
    user: Option<String>,
    /// The `%(ENV_…)s` that had a value.
    used: Vec<String>,
    /// Why it cannot be imported, if so.
    refused: Option<String>,
}

/// Looks up a variable by name.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The files, and the files that they include.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn with_included(
    inputs: Vec<Input>,
    lookup: Lookup<'_>,
    notes: &mut Vec<String>,
) -> Result<Vec<Input>, Failed> {
    let mut seen = BTreeSet::new();
    let mut out: Vec<Input> = Vec::new();
    let mut waiting: Vec<Input> = inputs.into_iter().rev().collect();
    while let Some(input) = waiting.pop() {
        if !seen.insert(input.path.canonicalize().unwrap_or_else(|_| input.path.clone())) {
            continue;
        }
        if out.len() >= MOST_FILES {
            return Err(Failed::config(format!("{}: includes more than {MOST_FILES} files; give fewer", input.name)));
        }
        // Notes on unreadable lines are made when the programs are read.
        let sections = ini::read(&input.text, &input.name, &mut Vec::new());
        let mut included = Vec::new();
        for section in sections.iter().filter(|section| section.name == "include") {
            if let Some(files) = section.get("files") {
                let at = At::new(&input.name, files.line);
                let here = Here { file: &input.path, name: "", group: "", numprocs: "", process: 0 };
                match expand(&files.value, &here, lookup) {
                    Ok(patterns) => {
                        for pattern in patterns.split_whitespace() {
                            included.extend(matching(&input.path, pattern, &at, notes)?);
                        }
                    }
                    Err(name) => notes.push(format!("{at}: [include] is not followed: {}", not_set(&name))),
                }
            }
        }
        waiting.extend(included.into_iter().rev());
        out.push(input);
    }
    Ok(out)
}

/// The files that match a pattern, relative to the file that contains it.
fn matching(file: &Path, pattern: &str, at: &At, notes: &mut Vec<String>) -> Result<Vec<Input>, Failed> {
    let directory = file.parent().unwrap_or(Path::new("")).to_string_lossy().into_owned();
    let whole = match pattern.starts_with('/') {
        true => pattern.to_owned(),
        false => format!("{}/{pattern}", glob::Pattern::escape(&directory)),
    };
    let paths = match glob::glob(&whole) {
        Ok(paths) => paths,
        Err(error) => {
            notes.push(format!("{at}: {pattern} is not followed: {error}"));
            return Ok(Vec::new());
        }
    };
    let mut inputs = Vec::new();
    for path in paths.flatten().filter(|path| path.is_file()).take(MOST_FILES + 1) {
        inputs.push(source::file(&path, &path)?);
    }
    if inputs.is_empty() {
        notes.push(format!("{at}: no file matches {pattern}"));
    }
    Ok(inputs)
}

/// Reads a file's programs, in their order.
pub(in crate::cli) fn programs(text: &str, file: &Path, lookup: Lookup<'_>) -> Vec<Program> {
    let input = Input { name: file.display().to_string(), path: file.to_owned(), text: text.to_owned(), latin: None };
    read(&input, lookup, &mut Vec::new())
}

/// Reads a file's programs, with notes on what cannot be read.
pub(super) fn read(input: &Input, lookup: Lookup<'_>, notes: &mut Vec<String>) -> Vec<Program> {
    notes.extend(input.note());
    let sections = ini::read(&input.text, &input.name, notes);
    let group_of = |program: &str| {
        let holds = |section: &&Section| {
            section.name.starts_with("group:")
                && section.get("programs").is_some_and(|key| key.value.split(',').any(|name| name.trim() == program))
        };
        sections.iter().find(holds).map(|section| section.name["group:".len()..].trim().to_owned())
    };
    // supervisord's own `environment` applies to `%(ENV_…)s` too.
    let global = sections.iter().find(|section| section.name == "supervisord").and_then(|own| own.get("environment"));
    let global = variables(global.map_or("", |key| key.value.as_str()));
    let lookup = |name: &str| of(&global, name).or_else(|| lookup(name));
    let lookup: Lookup<'_> = &lookup;
    let named = sections.iter().filter_map(|section| Some((section.name.strip_prefix("program:")?.trim(), section)));
    named
        .map(|(name, section)| {
            let group = group_of(name).unwrap_or_else(|| name.to_owned());
            program(name, &group, section, input, lookup)
        })
        .collect()
}

fn program(name: &str, group: &str, section: &Section, input: &Input, lookup: Lookup<'_>) -> Program {
    let mut program = Program {
        name: name.to_owned(),
        readings: Vec::new(),
        directory: None,
        autostart: true,
        file: input.name.clone(),
        section: section.clone(),
        user: None,
        used: Vec::new(),
        refused: None,
    };
    if let Err(why) = fill(&mut program, group, input, lookup) {
        program.refused = Some(why);
    }
    program
}

fn fill(program: &mut Program, group: &str, input: &Input, lookup: Lookup<'_>) -> Result<(), String> {
    let used = RefCell::new(BTreeSet::new());
    let lookup = |name: &str| {
        let value = lookup(name);
        used.borrow_mut().extend(value.is_some().then(|| format!("ENV_{name}")));
        value
    };
    let lookup: Lookup<'_> = &lookup;
    let section = program.section.clone();
    let name = program.name.clone();
    let mut here = Here { file: &input.path, name: &name, group, numprocs: "1", process: 0 };
    let get = |key: &str, here: &Here<'_>| match section.get(key) {
        Some(key) => expand(&key.value, here, lookup).map(|text| Some(text.replace('\n', " ").trim().to_owned())),
        None => Ok(None),
    };
    let unset = |name: String| not_set(&name);
    if let Some(autostart) = get("autostart", &here).unwrap_or_default() {
        program.autostart = !OFF.contains(&autostart.to_ascii_lowercase().as_str());
    }
    let numprocs = get("numprocs", &here).map_err(unset)?.filter(|text| !text.is_empty()).unwrap_or_else(|| "1".into());
    let start = get("numprocs_start", &here).map_err(unset)?.and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    let count: u32 = numprocs.parse().map_err(|_| format!("numprocs = {numprocs} is not a number"))?;
    if count > MOST_PROCESSES {
        return Err(format!("numprocs = {count} is more than {MOST_PROCESSES} processes"));
    }
    here.numprocs = &numprocs;
    program.user = get("user", &here).map_err(unset)?.filter(|user| !user.is_empty());
    let directory = get("directory", &here).map_err(unset)?.filter(|directory| !directory.is_empty());
    if directory.as_deref().is_some_and(|directory| directory.starts_with('~')) {
        return Err("directory begins with ~; write it in full".into());
    }
    let mut commands: Vec<(String, u32)> = Vec::new();
    for process in start..start.saturating_add(count) {
        here.process = process;
        let Some(command) = get("command", &here).map_err(unset)? else { return Ok(()) };
        match commands.iter_mut().find(|(other, _)| *other == command) {
            Some((_, count)) => *count += 1,
            None => commands.push((command, 1)),
        }
    }
    for text in commands.iter().map(|(command, _)| command).chain(&directory).chain(&program.user) {
        if input.is_doubtful(text) {
            return Err(format!("{text} is not UTF-8; save the file as UTF-8"));
        }
    }
    // Noted later, as this command's environment may differ from supervisord's.
    program.used = used.borrow().iter().cloned().collect();
    program.directory = directory.map(PathBuf::from);
    let own = variables(&get("environment", &here).unwrap_or_default().unwrap_or_default());
    let lookup = |name: &str| of(&own, name).or_else(|| lookup(name));
    program.readings =
        commands.iter().map(|(command, count)| (Reading::of(command, Dialect::Words, &lookup), *count)).collect();
    Ok(())
}

/// Parses `A="x",B=y`.
fn variables(text: &str) -> Vec<(String, String)> {
    let mut quote = None;
    let parts = text.split(|c: char| {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            None => return c == ',' || c == '\n',
            Some(_) => {}
        }
        false
    });
    let parts = parts.filter_map(|part| part.trim().split_once('='));
    parts
        .map(|(name, value)| {
            let value = value.trim();
            let inner = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
            (name.trim().to_owned(), inner.unwrap_or(value).to_owned())
        })
        .collect()
}

fn of(variables: &[(String, String)], name: &str) -> Option<String> {
    variables.iter().rev().find(|(other, _)| other == name).map(|(_, value)| value.clone())
}

/// Values that supervisord takes for false.
const OFF: &[&str] = &["false", "no", "off", "0"];

fn not_set(name: &str) -> String {
    match name.strip_prefix("ENV_") {
        Some(variable) => format!(
            "the variable {variable} is not set here; set it: {variable}=… kqueue import supervisor …, or write its \
             value into the file"
        ),
        None => format!("%({name})s has no known value; write its value into the file"),
    }
}

/// Options of the program that kqueue has no key for, and why.
const DROPPED: &[(Why, &[&str])] = &[
    ("kqueue@{app} is always restarted", &["autorestart", "startsecs", "startretries", "exitcodes"]),
    (
        "on stop, kqueue waits for running jobs up to stop_timeout, then ends every process of the app",
        &["stopsignal", "stopasgroup", "killasgroup"],
    ),
    (
        "kqueue logs the output of jobs, each line with its job: journalctl -u kqueue@{app}",
        &["stdout_logfile", "stderr_logfile", "redirect_stderr"],
    ),
    ("kqueue does not need it", &["process_name", "priority", "serverurl"]),
    (ENVIRONMENT, &["environment"]),
    ("set UMask= in a drop-in: systemctl edit kqueue@{app}, systemctl edit kqueue-worker@", &["umask"]),
];

/// The sets of a file's programs.
pub(super) fn sets(programs: &[Program], notes: &mut Vec<String>) -> Vec<Set> {
    programs.iter().flat_map(|program| program.sets(notes)).collect()
}

impl Program {
    fn sets(&self, notes: &mut Vec<String>) -> Vec<Set> {
        let name = &self.name;
        let line = self.section.get("command").map_or(self.section.line, |key| key.line);
        let at = At::new(&self.file, line);
        if let Some(why) = &self.refused {
            notes.push(format!("{at}: {name} is left out: {why}"));
            return Vec::new();
        }
        if self.readings.is_empty() {
            let why = if self.section.get("command").is_some() { "it has no process" } else { "it has no command" };
            notes.push(format!("{at}: {name} is left out: {why}"));
        }
        let mut sets = Vec::new();
        for (reading, count) in &self.readings {
            let starter = Starter {
                name,
                source: format!("[program:{name}]"),
                at: at.clone(),
                directory: self.directory.as_deref(),
                user: self.user.clone(),
                processes: *count,
                keeper: "supervisord",
                place: "write its absolute path, or set directory=",
                ..Starter::default()
            };
            let mut own = Vec::new();
            sets.extend(take::take(reading, &starter, &mut own));
            own.retain(|note| !notes.contains(note));
            notes.append(&mut own);
        }
        if !sets.is_empty() && !self.used.is_empty() {
            notes.push(format!(
                "{at}: {name}: expanded {} from the file or the environment of this command",
                self.used.join(", ")
            ));
        }
        sets.iter_mut().for_each(|set| self.complete(set));
        sets
    }

    /// Adds the settings outside of the command.
    fn complete(&self, set: &mut Set) {
        let at = |line: usize| At::new(&self.file, line);
        if self.user.is_none() && set.user.is_none() {
            set.drop(
                "no user=",
                "supervisord ran it as its own user, usually root; kqueue runs it as the owner of the app's directory",
            );
        }
        if let Some(seconds) = self.section.get("stopwaitsecs") {
            set.key("stop_timeout", &seconds.value, "stopwaitsecs");
        }
        if !self.autostart {
            set.drop("autostart = false", "do not enable kqueue@{app}; start it with systemctl start kqueue@{app}");
        }
        for (why, keys) in DROPPED {
            let there: Vec<_> = keys.iter().filter_map(|key| self.section.get(key)).collect();
            if let Some(first) = there.first() {
                let names: Vec<&str> = there.iter().map(|key| key.name.as_str()).collect();
                set.drop_at(&names.join(", "), at(first.line), why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::plan::{self, App};
    use super::*;

    fn import(text: &str) -> (Vec<App>, Vec<String>) {
        let (apps, notes) = tried(text);
        (apps.unwrap(), notes)
    }

    fn tried(text: &str) -> (Result<Vec<App>, kqueue_config::Error>, Vec<String>) {
        let mut notes = Vec::new();
        let lookup = |name: &str| (name == "KNOWN").then(|| "3".to_owned());
        let file = PathBuf::from("/etc/supervisor/conf.d/shop.conf");
        let input = Input { name: "shop.conf".into(), path: file, text: text.into(), latin: None };
        let programs = read(&input, &lookup, &mut notes);
        let sets = sets(&programs, &mut notes);
        (plan::apps(sets, None, &mut notes), notes)
    }

    #[test]
    fn fuzz_supervisor_files() {
        let seeds = kqueue_fuzz::files("tests/fixtures/import/supervisor");
        let seeds: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).chain([USUAL.as_bytes()]).collect();
        kqueue_fuzz::fuzz("supervisor", &seeds, |input| drop(tried(&String::from_utf8_lossy(input))));
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
        assert!(all.contains("shop: environment of [program:laravel-worker] (shop.conf:12): put them"), "{all}");
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
        // Settings for all jobs of an app cannot have two values.
        let (apps, notes) = import(&(alike + &program("long", "--queue=video --timeout=3600")));
        assert_eq!(apps.iter().map(|app| app.name.as_str()).collect::<Vec<_>>(), ["shop", "shop_long"]);
        assert!(keys(&apps[1]).contains(&"timeout = 3600".to_owned()));
        assert!(notes.iter().any(|note| note.contains("shop_long")), "{notes:?}");
        // An app has one order of queues.
        let (apps, notes) = import(&(program("a", "--queue=x,y") + &program("b", "--queue=y,x")));
        assert_eq!(apps.len(), 2);
        assert!(keys(&apps[1]).contains(&"queues = \"y,x\"".to_owned()));
        assert!(notes.iter().any(|note| note.contains("another order than shop")), "{notes:?}");
    }

    #[test]
    fn each_process_counts() {
        let (apps, notes) = import(
            "[program:q]\nuser=forge\nnumprocs=%(ENV_KNOWN)s\nnumprocs_start=1\ncommand=php /srv/shop/artisan queue:work --queue=q%(process_num)d\n",
        );
        assert_eq!(keys(&apps[0])[2..], ["queues = \"q1,q2,q3\"", "pool_size = 3", "pool_max_size = 3"], "{notes:?}");
        for (numprocs, why) in [
            ("%(ENV_NO)s", "the variable NO is not set here"),
            ("many", "is not a number"),
            ("100000", "more than"),
            ("0", "has no process"),
        ] {
            let (apps, notes) =
                import(&format!("[program:q]\nnumprocs={numprocs}\ncommand=php /srv/shop/artisan queue:work\n"));
            assert!(apps.is_empty() && notes[0].contains(why), "{notes:?}");
        }
    }

    #[test]
    fn what_is_no_work_for_us() {
        let text = "[supervisord]\nlogfile=/x\n[program:node]\ncommand=node x.js\n[program:h]\ncommand=php /srv/shop/artisan horizon\n\
                    [program:where]\ncommand=php artisan queue:work\n[program:box]\ncommand=docker exec app php artisan queue:work\n\
                    [program:sh]\ncommand=bash /opt/x.sh\n";
        let (apps, notes) = import(text);
        assert!(apps.is_empty());
        for (at, what) in [
            "shop.conf:4: node works no Laravel queue",
            "import horizon --path /srv/shop",
            "cannot determine",
            "docker exec runs it elsewhere; kqueue must run inside that container",
            "runs /opt/x.sh, which is not read",
        ]
        .iter()
        .enumerate()
        {
            assert!(notes[at].contains(what), "{what}: {notes:?}");
        }
    }

    #[test]
    fn values_that_no_key_takes_are_told() {
        let text =
            "[program:w]\nuser=root\ncommand=nice -n 10 php /srv/shop/artisan queue:work --memory=4 --once --env=x\n";
        let (apps, notes) = import(text);
        assert_eq!(keys(&apps[0]), ["path = \"/srv/shop\"", "pool_size = 1", "pool_max_size = 1"]);
        let all = notes.join("\n");
        for what in ["--memory=4", "--once", "--env=x", "nice -n 10", "user root", "one at a time", "set APP_ENV in"] {
            assert!(all.contains(what), "{what} is told: {all}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in prop_oneof![".*", r"(\[program:|x|\]|\n|command=|php |/a/artisan |queue:work|numprocs=|%|\(|ENV_A|process_num|\)|s|99| |é)*"]) {
            import(&text);
        }
    }
}
