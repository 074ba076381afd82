//! systemd units that work a queue: their files, drop-ins and instances.

mod specifiers;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use super::plan::{At, Set};
use super::source::{self, Input, listed};
use super::take::{self, ENVIRONMENT, Starter};
use crate::cli::Failed;
use crate::cli::command::{Dialect, Reading, Why, Work, mentions};

/// Directories of units, in order of precedence.
const DIRECTORIES: &[&str] = &[
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];
/// Maximum instances of a template; more are taken for a mistake.
const MOST_INSTANCES: usize = 1000;

/// A setting with its location.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    section: String,
    name: String,
    value: String,
    at: At,
}

/// A unit: the settings of its file and drop-ins, and its instances.
#[derive(Debug)]
pub(super) struct Unit {
    /// `queue@.service`.
    name: String,
    settings: Vec<Setting>,
    /// Instances of a template; a single empty name for a unit that is not a template.
    instances: Vec<String>,
    /// Whether any of its files is not UTF-8.
    doubtful: bool,
}

/// Finds a unit by name, or reads its file, with its drop-ins and enabled instances.
///
/// # Errors
/// When there is no such unit, or a file cannot be read.
pub(super) fn find(asked: &Path, cwd: &Path, root: &Path, notes: &mut Vec<String>) -> Result<Vec<Unit>, Failed> {
    let text = asked.to_string_lossy();
    if text == "-" {
        let inputs = source::read(&[asked.to_owned()], &[], cwd)?;
        return Ok(inputs
            .iter()
            .map(|input| of_files("stdin.service", std::slice::from_ref(input), Vec::new(), notes))
            .collect());
    }
    let path = cwd.join(asked);
    if path.is_dir() {
        let inputs = source::read(&[asked.to_owned()], &["service"], cwd)?;
        return inputs.iter().map(|input| of_file(&input.path, &input.path, root, notes)).collect();
    }
    if text.contains('/') || path.is_file() {
        return Ok(vec![of_file(&path, asked, root, notes)?]);
    }
    let name = if text.ends_with(".service") { text.into_owned() } else { format!("{text}.service") };
    let (template, _) = template_of(&name);
    for directory in DIRECTORIES {
        for file in [&name, &template] {
            let path = root.join(directory).join(file);
            if path.is_file() {
                return Ok(vec![with_drop_ins(&name, &path, &path, root, notes)?]);
            }
        }
    }
    Err(Failed::config(format!(
        "{name}: no such unit in /etc/systemd/system or systemd's other unit directories; give its file"
    )))
}

fn of_file(path: &Path, shown: &Path, root: &Path, notes: &mut Vec<String>) -> Result<Unit, Failed> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    with_drop_ins(&name, path, shown, root, notes)
}

/// `queue@.service` and `1` of `queue@1.service`.
fn template_of(name: &str) -> (String, Option<String>) {
    match name.strip_suffix(".service").and_then(|stem| stem.split_once('@')) {
        Some((prefix, instance)) => {
            (format!("{prefix}@.service"), Some(instance.to_owned()).filter(|instance| !instance.is_empty()))
        }
        None => (name.to_owned(), None),
    }
}

fn with_drop_ins(name: &str, path: &Path, shown: &Path, root: &Path, notes: &mut Vec<String>) -> Result<Unit, Failed> {
    let mut inputs = vec![source::file(path, shown)?];
    let (template, instance) = template_of(name);
    let mut directories: Vec<PathBuf> = vec![path.parent().unwrap_or(Path::new("")).to_owned()];
    directories.extend(DIRECTORIES.iter().map(|directory| root.join(directory)));
    let mut seen: Vec<std::ffi::OsString> = Vec::new();
    let mut drop_ins: Vec<PathBuf> = Vec::new();
    for directory in &directories {
        let mut names = vec![name, template.as_str()];
        names.dedup();
        for unit in names {
            for file in listed(&directory.join(format!("{unit}.d")), ".conf") {
                let own = file.file_name().unwrap_or_default().to_owned();
                if !seen.contains(&own) {
                    seen.push(own);
                    drop_ins.push(file);
                }
            }
        }
    }
    drop_ins.sort_by_key(|file| file.file_name().unwrap_or_default().to_owned());
    for file in drop_ins.iter().take(100) {
        inputs.push(source::file(file, file)?);
    }
    let instances = match (instance, name == template && name.contains('@')) {
        (Some(instance), _) => vec![instance],
        (None, true) => wanted(&template, &directories),
        (None, false) => vec![String::new()],
    };
    Ok(of_files(name, &inputs, instances, notes))
}

/// The instances of a unit that other units want; a single empty name for a unit that is not a template.
fn wanted(unit: &str, directories: &[PathBuf]) -> Vec<String> {
    let stem = unit.trim_end_matches(".service");
    let mut found: Vec<String> = Vec::new();
    for directory in directories {
        for wants in listed(directory, ".wants").into_iter().chain(listed(directory, ".requires")) {
            for link in listed(&wants, ".service") {
                let name = link.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let instance = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix(".service"));
                if let Some(instance) = instance.filter(|instance| instance.is_empty() != stem.ends_with('@'))
                    && !found.iter().any(|other| other == instance)
                    && found.len() < MOST_INSTANCES
                {
                    found.push(instance.to_owned());
                }
            }
        }
    }
    found
}

/// The work of all enabled units: name of the unit's file, work, and working directory.
pub(in crate::cli) fn works(root: &Path) -> Vec<(String, Work, PathBuf)> {
    let directories: Vec<PathBuf> = DIRECTORIES.iter().map(|directory| root.join(directory)).collect();
    let mut units: Vec<Unit> = Vec::new();
    for file in directories.iter().flat_map(|directory| listed(directory, ".service")) {
        // The file in the directory of highest precedence is the unit; unreadable ones are skipped.
        let Ok(mut unit) = of_file(&file, &file, root, &mut Vec::new()) else { continue };
        if units.iter().any(|other| other.name == unit.name) {
            continue;
        }
        let ours = unit.all("ExecStart").iter().any(|setting| mentions(&setting.value));
        unit.instances = if ours { wanted(&unit.name, &directories) } else { Vec::new() };
        units.push(unit);
    }
    units.iter().flat_map(Unit::works).collect()
}

fn of_files(name: &str, inputs: &[Input], instances: Vec<String>, notes: &mut Vec<String>) -> Unit {
    notes.extend(inputs.iter().filter_map(Input::note));
    let settings = inputs.iter().flat_map(|input| settings(&input.text, &input.name)).collect();
    let doubtful = inputs.iter().any(|input| input.latin.is_some());
    let instances = if instances.is_empty() && !name.contains('@') { vec![String::new()] } else { instances };
    Unit { name: name.to_owned(), settings, instances, doubtful }
}

/// The settings of a file, with continuation lines joined.
fn settings(text: &str, file: &str) -> Vec<Setting> {
    let mut out = Vec::new();
    let mut section = String::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, first)) = lines.next() {
        let mut line = first.trim().to_owned();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        while let Some(begin) = line.strip_suffix('\\') {
            line = begin.trim_end().to_owned() + " ";
            // Comments between continued lines are skipped.
            match lines.find(|(_, next)| !next.trim_start().starts_with(['#', ';'])) {
                Some((_, next)) => line.push_str(next.trim()),
                None => break,
            }
        }
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((name, value)) = line.split_once('=') {
            out.push(Setting {
                section: section.clone(),
                name: name.trim().to_owned(),
                value: value.trim().to_owned(),
                at: At::new(file, at + 1),
            });
        }
    }
    out
}

/// Settings that kqueue's own units cover or that have no equivalent, and why.
const DROPPED: &[(Why, &[&str])] = &[
    (
        "kqueue@{app} is always restarted",
        &[
            "Restart",
            "RestartSec",
            "RestartSteps",
            "RestartMaxDelaySec",
            "StartLimitIntervalSec",
            "StartLimitBurst",
            "StartLimitInterval",
            "SuccessExitStatus",
            "RestartPreventExitStatus",
        ],
    ),
    (
        "on stop, kqueue waits for running jobs up to stop_timeout, then ends every process of the app",
        &["KillMode", "KillSignal", "SendSIGKILL", "ExecStop", "ExecReload"],
    ),
    (
        "kqueue logs the output of jobs, each line with its job: journalctl -u kqueue@{app}",
        &["StandardOutput", "StandardError", "StandardInput", "SyslogIdentifier"],
    ),
    (ENVIRONMENT, &["Environment", "PassEnvironment", "UnsetEnvironment"]),
    (
        "set EnvironmentFile= for both units: systemctl edit kqueue@{app}, systemctl edit kqueue-worker@",
        &["EnvironmentFile"],
    ),
];
/// Settings that are imported or irrelevant.
const TAKEN: &[&str] = &[
    "ExecStart",
    "User",
    "Group",
    "WorkingDirectory",
    "TimeoutStopSec",
    "TimeoutSec",
    "Type",
    "PIDFile",
    "RemainAfterExit",
    "TimeoutStartSec",
    "NotifyAccess",
    "GuessMainPID",
    "SyslogFacility",
];

impl Unit {
    /// The sets of its instances.
    pub fn sets(&self, notes: &mut Vec<String>) -> Vec<Set> {
        let commands = self.all("ExecStart");
        let Some(last) = commands.last() else {
            notes.push(format!("{} has no ExecStart=, and is left out", self.name));
            return Vec::new();
        };
        let mut instances = self.instances.clone();
        if instances.is_empty() {
            let at = &last.at;
            if self
                .settings
                .iter()
                .any(|setting| uses_instance(&setting.value) && COUNTS.contains(&setting.name.as_str()))
            {
                notes.push(format!(
                    "{at}: {} is left out: it is a template whose command needs the instance, and none is enabled; \
                     name the instances: kqueue import systemd {}",
                    self.name,
                    self.name.replace("@.", "@NAME.")
                ));
                return Vec::new();
            }
            notes.push(format!("{at}: {} is a template and no instance of it is enabled; assuming one", self.name));
            instances.push("1".into());
        }
        let mut sets: Vec<Set> = Vec::new();
        for instance in &instances {
            let mut own = Vec::new();
            match self.of_instance(instance, &commands, &mut own) {
                Ok(more) => merge(&mut sets, more),
                Err((at, why)) => own.push(format!("{at}: {} is left out: {why}", self.name)),
            }
            own.retain(|note| !notes.contains(note));
            notes.append(&mut own);
        }
        sets
    }

    /// The effective settings of that name: an empty one resets the list.
    fn all(&self, name: &str) -> Vec<&Setting> {
        let own = self.settings.iter().filter(|setting| setting.section == "Service" && setting.name == name);
        own.fold(Vec::new(), |mut all, setting| {
            if setting.value.is_empty() {
                all.clear();
            } else {
                all.push(setting);
            }
            all
        })
    }

    fn last(&self, name: &str) -> Option<&Setting> {
        self.all(name).pop()
    }

    fn of_instance(
        &self,
        instance: &str,
        commands: &[&Setting],
        notes: &mut Vec<String>,
    ) -> Result<Vec<Set>, (At, String)> {
        let user = self.last("User").map(|setting| self.value(setting, instance)).transpose()?;
        let group = self.last("Group").map(|setting| self.value(setting, instance)).transpose()?;
        let directory = self.directory(instance)?;
        let mut sets = Vec::new();
        for (setting, reading) in self.readings(instance, commands)? {
            let starter = Starter {
                name: &self.name,
                source: self.name.clone(),
                at: setting.at.clone(),
                directory: Some(directory.as_path()).filter(|directory| *directory != Path::new("/")),
                user: user.clone(),
                group: group.clone(),
                processes: 1,
                keeper: "systemd",
                place: "write its absolute path, or set WorkingDirectory=",
            };
            sets.extend(take::take(&reading, &starter, notes));
        }
        for set in &mut sets {
            self.complete(set, user.is_some());
        }
        Ok(sets)
    }

    fn works(&self) -> Vec<(String, Work, PathBuf)> {
        let commands = self.all("ExecStart");
        let mut works = Vec::new();
        for instance in &self.instances {
            let (Ok(directory), Ok(readings)) = (self.directory(instance), self.readings(instance, &commands)) else {
                continue;
            };
            let own = readings.into_iter().flat_map(|(_, reading)| reading.works);
            works.extend(own.map(|work| (self.name.clone(), work, directory.clone())));
        }
        works
    }

    fn directory(&self, instance: &str) -> Result<PathBuf, (At, String)> {
        let Some(setting) = self.last("WorkingDirectory") else { return Ok("/".into()) };
        let text = self.value(setting, instance)?;
        let text = text.trim_start_matches('-');
        if text.starts_with('~') {
            return Err((setting.at.clone(), "WorkingDirectory=~ is a home directory; write it in full".into()));
        }
        Ok(text.into())
    }

    /// The commands that may work a queue, each parsed.
    fn readings<'a>(
        &self,
        instance: &str,
        commands: &[&'a Setting],
    ) -> Result<Vec<(&'a Setting, Reading)>, (At, String)> {
        let environment = self.environment(instance);
        let lookup =
            |name: &str| environment.iter().rev().find(|(other, _)| other == name).map(|(_, value)| value.clone());
        // Other commands may have unknown specifiers.
        let ours = commands.iter().filter(|setting| mentions(&setting.value) || commands.len() == 1);
        ours.map(|setting| {
            let line = self.value(setting, instance)?;
            let line = line.trim_start_matches(['-', '@', ':', '+', '!', '|']);
            if self.doubtful && !line.is_ascii() {
                return Err((setting.at.clone(), "it is not UTF-8; save the file as UTF-8".into()));
            }
            Ok((*setting, Reading::of(line, Dialect::Words, &lookup)))
        })
        .collect()
    }

    /// Adds the settings outside of the command.
    fn complete(&self, set: &mut Set, has_user: bool) {
        if !has_user && set.user.is_none() {
            set.drop("no User=", "systemd ran it as root; kqueue runs it as the owner of the app's directory");
        }
        if let Some(stop) = self.last("TimeoutStopSec").or_else(|| self.last("TimeoutSec")) {
            match stop.value.as_str() {
                "infinity" | "0" => set.drop_at(
                    &format!("{} = {}", stop.name, stop.value),
                    stop.at.clone(),
                    "stop_timeout is at most a year",
                ),
                text => set.key("stop_timeout", text, &stop.name),
            }
        }
        for (why, names) in DROPPED {
            let there: Vec<&Setting> = names.iter().filter_map(|name| self.last(name)).collect();
            if let Some(first) = there.first() {
                let names: Vec<&str> = there.iter().map(|setting| setting.name.as_str()).collect();
                set.drop_at(&names.join(", "), first.at.clone(), why);
            }
        }
        let known = |name: &str| TAKEN.contains(&name) || DROPPED.iter().any(|(_, names)| names.contains(&name));
        let mut others: Vec<&Setting> = Vec::new();
        for setting in self.settings.iter().filter(|setting| setting.section == "Service" && !known(&setting.name)) {
            if !others.iter().any(|other| other.name == setting.name) {
                others.push(setting);
            }
        }
        if let Some(first) = others.first() {
            let names: Vec<&str> = others.iter().map(|setting| setting.name.as_str()).collect();
            set.drop_at(
                &names.join(", "),
                first.at.clone(),
                "set it in a drop-in of kqueue's units: systemctl edit kqueue@{app}, systemctl edit kqueue-worker@",
            );
        }
    }

    /// Variables of `Environment=` and `EnvironmentFile=`.
    fn environment(&self, instance: &str) -> Vec<(String, String)> {
        let mut out = Vec::new();
        for setting in self.all("Environment") {
            let Ok(text) = specifiers::expand(&setting.value, &self.name, instance) else { continue };
            let words = shell_words::split(&text).unwrap_or_default();
            out.extend(words.iter().filter_map(|word| word.split_once('=')).map(owned));
        }
        for setting in self.all("EnvironmentFile") {
            let Ok(text) = specifiers::expand(&setting.value, &self.name, instance) else { continue };
            let path = PathBuf::from(text.trim_start_matches('-'));
            if let Ok(input) = source::file(&path, &path) {
                let lines = input.text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
                out.extend(
                    lines.filter_map(|line| line.split_once('=')).map(|(name, value)| {
                        (name.trim().to_owned(), value.trim().trim_matches(['"', '\'']).to_owned())
                    }),
                );
            }
        }
        out
    }

    fn value(&self, setting: &Setting, instance: &str) -> Result<String, (At, String)> {
        specifiers::expand(&setting.value, &self.name, instance)
            .map_err(|why| (setting.at.clone(), format!("{}=: {why}", setting.name)))
    }
}

/// Settings whose specifiers matter.
const COUNTS: &[&str] = &["ExecStart", "User", "Group", "WorkingDirectory"];

fn uses_instance(text: &str) -> bool {
    text.contains("%i") || text.contains("%I")
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// Adds the sets of an instance; equal sets become one with more processes.
fn merge(sets: &mut Vec<Set>, more: Vec<Set>) {
    for set in more {
        let alike = |other: &&mut Set| {
            other.path == set.path
                && (&other.user, &other.queues, &other.connection) == (&set.user, &set.queues, &set.connection)
                && other.keys == set.keys
                && other.schedule == set.schedule
        };
        match sets.iter_mut().find(alike) {
            Some(other) => other.processes = other.processes.saturating_add(set.processes),
            None => sets.push(set),
        }
    }
}
