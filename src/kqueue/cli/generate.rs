//! What packages ship beside the programs, made out of the same tables as these: man pages, completions, and the
//! config file with every key.

use std::path::Path;
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::{Cli, Failed, complete};
use kqueue_config::{DefaultValue, KEYS, Key, SetBy, Settings, TABLES, Table, VALUES};

/// What the table of options does not say, for the end of pages.
const ENDS: &[(&str, &str)] = &[
    ("kqueue.1", include_str!("../../../packaging/man/kqueue.1.end")),
    ("kqueue-run.1", include_str!("../../../packaging/man/kqueue-run.1.end")),
    ("kqueue-init.1", include_str!("../../../packaging/man/kqueue-init.1.end")),
    ("kqueue-check.1", include_str!("../../../packaging/man/kqueue-check.1.end")),
    ("kqueue-status.1", include_str!("../../../packaging/man/kqueue-status.1.end")),
    ("kqueue-top.1", include_str!("../../../packaging/man/kqueue-top.1.end")),
    ("kqueue-jobs.1", include_str!("../../../packaging/man/kqueue-jobs.1.end")),
    ("kqueue-job.1", include_str!("../../../packaging/man/kqueue-job.1.end")),
    ("kqueue-stats.1", include_str!("../../../packaging/man/kqueue-stats.1.end")),
    ("kqueue-pool.1", include_str!("../../../packaging/man/kqueue-pool.1.end")),
    ("kqueue-cancel.1", include_str!("../../../packaging/man/kqueue-cancel.1.end")),
    ("kqueue-move.1", include_str!("../../../packaging/man/kqueue-move.1.end")),
    ("kqueue-broken.1", include_str!("../../../packaging/man/kqueue-broken.1.end")),
    ("kqueue-quarantine.1", include_str!("../../../packaging/man/kqueue-quarantine.1.end")),
    ("kqueue-failed.1", include_str!("../../../packaging/man/kqueue-failed.1.end")),
    ("kqueue-pause.1", include_str!("../../../packaging/man/kqueue-pause.1.end")),
    ("kqueue-resume.1", include_str!("../../../packaging/man/kqueue-resume.1.end")),
    ("kqueue-events.1", include_str!("../../../packaging/man/kqueue-events.1.end")),
    ("kqueue-health.1", include_str!("../../../packaging/man/kqueue-health.1.end")),
    ("kqueue-alert.1", include_str!("../../../packaging/man/kqueue-alert.1.end")),
    ("kqueue-tune.1", include_str!("../../../packaging/man/kqueue-tune.1.end")),
    ("kqueue-config-check.1", include_str!("../../../packaging/man/kqueue-config-check.1.end")),
];

/// Writes all of it below `dir`: `man/`, `completions/` and `example.toml`.
pub(super) fn run(dir: &Path) -> Result<ExitCode, Failed> {
    write(dir).map_err(|error| Failed::at(&dir.display().to_string(), error))?;
    Ok(ExitCode::SUCCESS)
}

fn write(dir: &Path) -> std::io::Result<()> {
    let (man, completions) = (dir.join("man"), dir.join("completions"));
    std::fs::create_dir_all(&man)?;
    std::fs::create_dir_all(&completions)?;
    clap_mangen::generate_to(command(), &man)?;
    std::fs::write(man.join("kqueue.toml.5"), keys())?;
    for entry in std::fs::read_dir(&man)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let more = ENDS.iter().find(|(page, _)| *page == name).map_or("", |(_, end)| end);
        std::fs::write(&path, titled(&std::fs::read_to_string(&path)?, &name) + more)?;
    }
    complete::write_scripts(&completions)?;
    std::fs::write(dir.join("example.toml"), Settings::example())
}

/// The command line, with one option for all where there is one for each key.
fn command() -> Command {
    let short = |command: Command, usage: &'static str| command.override_usage(usage);
    Cli::command()
        .mut_subcommand("run", |run| short(run, "kqueue run [OPTIONS] [APP]"))
        .mut_subcommand("config", |config| {
            config.mut_subcommand("check", |check| short(check, "kqueue config check [OPTIONS] [APP]"))
        })
}

/// A page under the name of its file. It carries no date, so that two builds are the same; what makes pages drops
/// words that are empty, and would put the next one in its place.
fn titled(page: &str, file: &str) -> String {
    let (name, section) = file.rsplit_once('.').unwrap_or((file, "1"));
    let title = format!(".TH {name} {section} \"\" \"kqueue {}\" kqueue", env!("CARGO_PKG_VERSION"));
    page.lines()
        .map(|line| if line.starts_with(".TH ") { &title } else { line })
        .fold(String::new(), |text, line| text + line + "\n")
}

/// kqueue.toml(5).
fn keys() -> String {
    let mut page = Roff::new();
    page.control("TH", ["kqueue.toml", "5"])
        .control("SH", ["NAME"])
        .text([roman("kqueue.toml - settings of one app")])
        .control("SH", ["SYNOPSIS"])
        .text([roman("/etc/kqueue/"), italic("APP"), roman(".toml")])
        .control("SH", ["DESCRIPTION"])
        .text([
            roman("Each TOML file configures one app and has its name: 1 to 32 of a-z, 0-9 and _. Only "),
            bold("path"),
            roman(" is required. Units are generated from it by "),
            bold("systemctl daemon-reload"),
            roman("; a running runtime reads it again on "),
            bold("systemctl reload"),
            roman(" kqueue@"),
            italic("APP"),
            roman(". What a job declares overrides the command line of "),
            bold("kqueue run"),
            roman(", which overrides the file, which overrides the default."),
        ]);
    for line in VALUES {
        page.control("PP", []).text([roman(*line)]);
    }
    page.control("SH", ["KEYS"]);
    KEYS.iter().for_each(|key| one(&mut page, key));
    page.control("SH", ["TABLES"]).text([
        roman("Settings of one class or one queue are in a table of its own, below all keys. Limits apply before a job "),
        roman("starts, and take effect on the next reload. Jobs that they hold back stay reserved, and other jobs pass them."),
    ]);
    TABLES.iter().for_each(|table| one_table(&mut page, table));
    page.control("SH", ["FILES"])
        .control("TP", [])
        .text([roman("/usr/share/doc/kqueue/example.toml")])
        .text([roman("Every key with its default, as printed by "), bold("kqueue config example"), roman(".")])
        .control("TP", [])
        .text([roman("/usr/share/doc/kqueue/examples/")])
        .text([roman("Complete files for different kinds of apps.")])
        .control("SH", ["SEE ALSO"])
        .text([roman("kqueue(1), kqueue@.service(8), kqueue-generator(8)")]);
    page.render()
}

/// Lines of text as one.
fn joined(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// As in the source: what stands between backticks is somebody's own word.
fn marked(doc: &str) -> Vec<Inline> {
    doc.split('`').enumerate().map(|(at, part)| if at % 2 == 1 { bold(part) } else { roman(part) }).collect()
}

fn one_table(page: &mut Roff, table: &Table) {
    // What a macro takes is not escaped for it.
    let head = table.example_head().replace('\\', "\\e");
    page.control("SS", [head.as_str()]).text([roman(joined(table.doc))]);
    for key in table.keys {
        page.control("TP", []).text([bold(key.name)]).text(marked(&joined(key.doc))).control("IP", []).text([
            roman(format!("Takes {}; for example ", (key.takes)())),
            bold(key.example),
            roman("."),
        ]);
    }
}

fn one(page: &mut Roff, key: &Key) {
    page.control("TP", []).text([bold(key.name)]);
    page.text(marked(&joined(key.doc))).control("IP", []);
    let value = key.example();
    let mut about = vec![roman(format!("Takes {}. ", key.takes()))];
    about.extend(match key.default {
        DefaultValue::Is(_) => vec![roman("Default: "), bold(value)],
        DefaultValue::WorkedOut(_) => vec![roman("Computed; with ample memory "), bold(value)],
        DefaultValue::None(_) => vec![roman("No default; for example "), bold(value)],
    });
    if key.set_by == SetBy::File {
        about.push(roman(". Only in this file."));
    } else {
        about.extend([roman(". On the command line "), bold(format!("--{}", key.name.replace('_', "-"))), roman(".")]);
    }
    page.text(about);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of all fields below a value.
    fn fields(value: &serde_json::Value, names: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(object) => object.iter().for_each(|(name, value)| {
                names.push(name.clone());
                fields(value, names);
            }),
            serde_json::Value::Array(list) => list.iter().for_each(|value| fields(value, names)),
            _ => {}
        }
    }

    /// Whether a page names each field of what its command prints.
    fn names_all(page: &str, printed: &serde_json::Value) {
        let mut names = Vec::new();
        fields(printed, &mut names);
        assert!(names.len() > 5, "{page}: {names:?}");
        let text = ENDS.iter().find(|(name, _)| *name == page).unwrap().1;
        for name in names {
            assert!(text.contains(&format!("\\fB{name}\\fR")), "{page}: {name}");
        }
    }

    #[test]
    fn the_page_names_every_field_of_a_snapshot() {
        use kqueue_control::{Failure, Process, Queue, RunningJob, Sizes, Snapshot, TierLoad, WaitingJob};
        let tier = TierLoad {
            running_jobs: vec![RunningJob::default()],
            waiting_jobs: vec![WaitingJob::default()],
            ..TierLoad::default()
        };
        let sizes = Some(Sizes { estimated: true, ..Sizes::default() });
        let whole = Snapshot {
            paused_classes: vec![kqueue_control::PausedClass::default()],
            pool: Some(kqueue_control::PoolSize { until: Some(1), ..Default::default() }),
            queues: vec![Queue { sizes, ..Queue::default() }],
            tiers: vec![tier],
            workers: vec![Process { cpu_usec: Some(1), ..Process::default() }],
            failures: vec![Failure::default()],
            retry_after: Some(90),
            ..Snapshot::default()
        };
        names_all("kqueue-status.1", &serde_json::to_value(&whole).unwrap());
        assert!(ENDS.iter().any(|(page, text)| *page == "kqueue-status.1" && text.contains("\\fBsettings\\fR")));
    }

    #[test]
    fn pages_name_every_field_of_what_is_asked() {
        use kqueue_control::{Happening, Happenings, Job, Jobs, Timeline};
        let job = Job { tags: vec!["a".into()], ..Job::default() };
        let lacks = vec!["x".to_owned()];
        let jobs = Jobs { jobs: vec![job.clone()], lacks: lacks.clone(), ..Jobs::default() };
        names_all("kqueue-jobs.1", &serde_json::to_value(&jobs).unwrap());
        let (tier, id) = (Some("pooled".to_owned()), Some("u".to_owned()));
        let event = Happening { tier, worker: Some(1), job: id, ended: Some(1), ..Happening::default() };
        let events = vec![event];
        let (payload, attempts) = (Some(String::new()), vec![job]);
        let told = Timeline { attempts, events: events.clone(), payload, lacks: lacks.clone(), ..Timeline::default() };
        names_all("kqueue-job.1", &serde_json::to_value(&told).unwrap());
        let told = Happenings { events, lacks, ..Happenings::default() };
        names_all("kqueue-events.1", &serde_json::to_value(&told).unwrap());
        for (page, printed) in super::super::printed() {
            names_all(page, &printed);
        }
    }

    #[test]
    fn everything_is_written_and_every_key_is_there() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path()).unwrap();
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        for name in ["kqueue", "kqueue-run", "kqueue-status", "kqueue-top", "kqueue-jobs", "kqueue-config-check"] {
            let page = read(&format!("man/{name}.1"));
            assert!(page.contains(".SH SYNOPSIS") && page.contains(&format!("\n.TH {name} 1 \"\" ")), "{name}");
        }
        assert!(!dir.path().join("man/kqueue-worker.1").exists());
        assert!(read("man/kqueue.1").contains("kqueue@.service(8)"));
        for name in ["kqueue.bash", "_kqueue", "kqueue.fish"] {
            assert!(read(&format!("completions/{name}")).contains("KQUEUE_COMPLETE"), "{name}");
        }
        let page = read("man/kqueue.toml.5");
        for key in KEYS {
            assert!(page.contains(&format!("\\fB{}\\fR\n", key.name)), "{}", key.name);
        }
    }
}
