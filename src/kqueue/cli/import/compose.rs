//! Compose services that work a queue: settings for kqueue inside their container.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::node::{Node, Value};
use super::plan::{At, Set};
use super::source::{self, Input};
use super::take::{self, Starter};
use super::yaml;
use crate::cli::command::{Dialect, Kind, Reading, mentions};

/// Looks up a variable for interpolation: `${TAG:-latest}`.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The sets of a file's services.
///
/// # Errors
/// The error in the file, with its line.
pub(super) fn sets(
    input: &Input,
    path: Option<&Path>,
    lookup: Lookup<'_>,
    notes: &mut Vec<String>,
) -> Result<Vec<Set>, String> {
    notes.extend(input.note());
    let root = yaml::read(&input.text).map_err(|why| format!("{}: {why}", input.name))?;
    let services =
        root.get("services").ok_or_else(|| format!("{}: has no services:; not a Compose file", input.name))?;
    let mut sets = Vec::new();
    for (name, service) in services.entries() {
        let line =
            ["command", "entrypoint"].iter().find_map(|key| service.get(key)).map_or(service.line, |node| node.line);
        let at = At::new(&input.name, line);
        let file = File { input, path, lookup };
        match file.service(name, service, &at, notes) {
            Ok(more) => sets.extend(more),
            Err(why) => notes.push(format!("{at}: {name} is left out: {why}")),
        }
    }
    Ok(sets)
}

/// The variables in the .env beside the Compose file.
pub(super) fn variables(input: &Input) -> BTreeMap<String, String> {
    let path = input.path.with_file_name(".env");
    let Ok(text) = source::file(&path, &path) else { return BTreeMap::new() };
    let lines = text.text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let parts = lines.filter_map(|line| line.trim_start_matches("export ").split_once('='));
    parts.map(|(name, value)| (name.trim().to_owned(), value.trim().trim_matches(['"', '\'']).to_owned())).collect()
}

struct File<'a> {
    input: &'a Input,
    path: Option<&'a Path>,
    lookup: Lookup<'a>,
}

impl File<'_> {
    fn service(&self, name: &str, service: &Node, at: &At, notes: &mut Vec<String>) -> Result<Vec<Set>, String> {
        let parts = ["entrypoint", "command"].iter().filter_map(|key| service.get(key));
        let mut words = Vec::new();
        for part in parts {
            words.push(match self.words(part) {
                Ok(words) => words,
                // Unknown variables matter only in a command that works a queue.
                Err(_)
                    if !written(part).is_some_and(mentions)
                        && !part.list().iter().filter_map(written).any(mentions) =>
                {
                    return Ok(Vec::new());
                }
                Err(why) => return Err(why),
            });
        }
        let words = words.join(" ");
        if words.split(['/', ' ', '\'']).any(|word| word == "supervisord") {
            notes.push(format!("{at}: {name} runs supervisord: import its config file inside the container"));
        }
        let environment = self.environment(service);
        let inside = |variable: &str| {
            environment.iter().rev().find(|(name, _)| name == variable).map(|(_, value)| value.clone())
        };
        let reading = Reading::of(&words, Dialect::Words, &inside);
        if reading.works.is_empty() && reading.refused.is_empty() {
            return Ok(Vec::new());
        }
        let directory = match (self.text(service, "working_dir")?, self.path) {
            (Some(directory), _) => Some(PathBuf::from(directory)),
            (None, Some(path)) => Some(path.to_owned()),
            (None, None) => mounted(service),
        };
        if service.get("working_dir").is_none()
            && self.path.is_none()
            && let Some(directory) = &directory
            && reading.works.iter().any(|work| work.app(None).is_none())
        {
            notes.push(format!(
                "{at}: {name} has no working_dir; using {}, where the project is mounted; --path DIR overrides it",
                directory.display()
            ));
        }
        let replicas = ["scale"].iter().find_map(|key| service.get(key));
        let replicas = replicas.or_else(|| service.get("deploy").and_then(|deploy| deploy.get("replicas")));
        let processes = match replicas {
            Some(node) => self
                .interpolated(node.text().unwrap_or_default())?
                .parse::<u32>()
                .map_err(|_| format!("replicas in line {} is not a number", node.line))?,
            None => 1,
        };
        let starter = Starter {
            name,
            source: format!("service {name}"),
            at: at.clone(),
            directory: directory.as_deref(),
            processes: processes.min(1000),
            keeper: "Compose",
            place: "if it is the image's WORKDIR, give --path DIR or set working_dir:",
            ..Starter::default()
        };
        let taken = take::take(&reading, &starter, notes);
        let mut sets = Vec::new();
        for mut set in taken {
            if set.schedule {
                notes.push(format!("{at}: {name} runs the schedule; keep that service as it is"));
                continue;
            }
            self.complete(service, &mut set, processes)?;
            sets.push(set);
        }
        if !reading.works.is_empty() && reading.works.iter().all(|work| work.kind == Kind::Horizon) {
            notes
                .push(format!("{at}: {name}: import Horizon inside its container, where the app's environment is set"));
        }
        Ok(sets)
    }

    fn complete(&self, service: &Node, set: &mut Set, processes: u32) -> Result<(), String> {
        let at = |node: &Node| At::new(&self.input.name, node.line);
        if let Some(user) = service.get("user") {
            set.drop_at(
                &format!("user {}", user.text().unwrap_or_default()),
                at(user),
                "keep it in the service: kqueue runs as the user of its container",
            );
        }
        match self.text(service, "stop_grace_period")? {
            Some(period) => match seconds(&period) {
                // Leaves time to report jobs that still run, before the container is killed.
                Some(seconds) if seconds > 10 => {
                    set.key("stop_timeout", &(seconds - 5).to_string(), "stop_grace_period");
                }
                _ => set.drop(
                    &format!("stop_grace_period {period}"),
                    "the container is killed with its running jobs unless this is longer than stop_timeout; set \
                     stop_grace_period: 70s",
                ),
            },
            None => set.drop(
                "no stop_grace_period",
                "after 10 s the container is killed with its running jobs; set it longer than stop_timeout: \
                 stop_grace_period: 70s",
            ),
        }
        if processes > 1 {
            set.drop(
                "replicas",
                "one container with kqueue runs as many workers; each further replica is another runtime with as many \
                 again",
            );
        }
        if let Some(user) = set.user.take() {
            set.group = None;
            set.drop(
                &format!("user {user}"),
                "start kqueue as that user instead: set user: in the service, or use gosu USER kqueue run {app}",
            );
        }
        Ok(())
    }

    /// A command as one line.
    fn words(&self, node: &Node) -> Result<String, String> {
        match &node.value {
            Value::List(list) => {
                let mut words = Vec::new();
                for word in list.iter().filter_map(written) {
                    words.push(shell_words::quote(&self.interpolated(word)?).into_owned());
                }
                Ok(words.join(" "))
            }
            _ => self.interpolated(written(node).unwrap_or_default()),
        }
    }

    fn text(&self, service: &Node, key: &str) -> Result<Option<String>, String> {
        match service.get(key).and_then(written) {
            Some(text) => self.interpolated(text).map(|text| Some(text).filter(|text| !text.is_empty())),
            None => Ok(None),
        }
    }

    /// A service's `environment`, as far as its values are known.
    fn environment(&self, service: &Node) -> Vec<(String, String)> {
        let Some(node) = service.get("environment") else { return Vec::new() };
        let listed = node.list().iter().filter_map(|entry| entry.text()?.split_once('='));
        let mapped = node.entries().iter().filter_map(|(name, node)| Some((name.as_str(), node.text()?)));
        let all = listed.chain(mapped);
        all.filter_map(|(name, value)| Some((name.to_owned(), self.interpolated(value).ok()?))).collect()
    }

    /// Interpolates `$X` and `${X:-y}` as Compose does; `$$` is a dollar sign.
    fn interpolated(&self, text: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                // For a shell in the container.
                out.push('$');
                rest = after;
            } else if let Some((inner, after)) = rest.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
                let end = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inner.len());
                let (name, operator) = inner.split_at(end);
                let value = (self.lookup)(name).filter(|value| !(operator.starts_with(':') && value.is_empty()));
                let operator = operator.trim_start_matches(':');
                out += &match (operator.chars().next(), value) {
                    (Some('+'), Some(_)) => operator[1..].to_owned(),
                    (Some('+'), None) => String::new(),
                    (_, Some(value)) => value,
                    (Some('-'), None) => operator[1..].to_owned(),
                    (_, None) => return Err(missing(name)),
                };
                rest = after;
            } else {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                let (name, after) = rest.split_at(end);
                match name {
                    "" => out.push('$'),
                    name => out += &(self.lookup)(name).ok_or_else(|| missing(name))?,
                }
                rest = after;
            }
        }
        Ok(out + rest)
    }
}

/// Parses a duration such as `1m30s`; returns seconds.
fn seconds(text: &str) -> Option<u64> {
    let mut sum = 0_u64;
    let mut number = String::new();
    for c in text.chars() {
        if c.is_ascii_digit() {
            number.push(c);
            continue;
        }
        let unit = match c {
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        sum = sum.checked_add(number.parse::<u64>().ok()?.checked_mul(unit)?)?;
        number.clear();
    }
    number.is_empty().then_some(sum)
}

fn missing(name: &str) -> String {
    format!(
        "the variable {name} is not set here; set it: {name}=… kqueue import compose …, or write its value into the \
         file"
    )
}

fn written(node: &Node) -> Option<&str> {
    node.text()
}

/// Where the project's directory is mounted in the container.
fn mounted(service: &Node) -> Option<PathBuf> {
    let volumes = service.get("volumes")?.list();
    let mut targets = volumes.iter().filter_map(|volume| match volume.text() {
        Some(short) => {
            let (source, rest) = short.split_once(':')?;
            matches!(source, "." | "./" | "${PWD}" | "$PWD").then(|| rest.split(':').next().unwrap_or(rest).to_owned())
        }
        None => {
            let source = volume.get("source")?.text()?;
            matches!(source, "." | "./").then(|| volume.get("target")?.text().map(str::to_owned))?
        }
    });
    let target = targets.next()?;
    (targets.next().is_none() && target.starts_with('/')).then(|| target.into())
}
