//! What the shell offers after a TAB: names of apps, the words that a key takes, and what the app that is named on the
//! command line knows: its classes, its queues, its last jobs.
//!
//! The shells' scripts, which packages ship, ask the program itself by [`VARIABLE`]; so the names are those of this
//! moment, and a script does not age.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use clap::CommandFactory;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{Bash, CompleteEnv, EnvCompleter, Fish, Zsh};

use super::Cli;
use super::see::Target;
use kqueue_config::{self as config, Surroundings};
use kqueue_control::{Jobs, JobsFilter, Request, Stats, StatsFilter};
use kqueue_system::harmless;

/// Set by a shell that wants completions.
const VARIABLE: &str = "KQUEUE_COMPLETE";
/// What somebody who has pressed TAB waits for an app.
const PATIENCE: Duration = Duration::from_secs(1);
/// Seconds of the past whose classes and queues are offered.
const PAST: u64 = 7 * 86_400;
/// Jobs that are offered.
const JOBS: u32 = 50;
/// Bytes of a name that is offered.
const NAME: usize = 200;

/// Answers a shell that asks for completions. Returns whether one has asked.
pub(super) fn answer(args: &[OsString]) -> bool {
    // An answer that cannot be given is none.
    CompleteEnv::with_factory(Cli::command).var(VARIABLE).try_complete(args, None).unwrap_or(true)
}

/// Names of the apps that have a config file.
pub(super) fn apps() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let apps = Surroundings::read().map(|here| config::configured(&here)).unwrap_or_default();
        apps.into_iter().map(CompletionCandidate::new).collect()
    })
}

/// These words.
pub(super) fn words(words: &'static [&'static str]) -> ArgValueCandidates {
    ArgValueCandidates::new(|| words.iter().map(CompletionCandidate::new).collect())
}

/// Classes of which the app has run jobs.
pub(super) fn classes() -> ArgValueCandidates {
    ArgValueCandidates::new(|| offered(|stats| stats.classes.into_iter().map(|class| class.class).collect()))
}

/// Queues of the app.
pub(super) fn queues() -> ArgValueCandidates {
    ArgValueCandidates::new(|| offered(|stats| stats.queues.into_iter().map(|queue| queue.queue).collect()))
}

/// Its last jobs.
pub(super) fn uuids() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let jobs: Option<Jobs> = asked(&Request::Jobs(JobsFilter { limit: JOBS, ..JobsFilter::default() }));
        let jobs = jobs.unwrap_or_default().jobs.into_iter();
        jobs.filter(|job| is_plain(&job.uuid))
            .map(|job| {
                let state = job.state.map_or("", kqueue_control::JobState::as_str);
                let help = harmless::line(&format!("{} {state}", job.class), NAME);
                CompletionCandidate::new(job.uuid).help(Some(help.into()))
            })
            .collect()
    })
}

fn offered(names: impl Fn(Stats) -> Vec<String>) -> Vec<CompletionCandidate> {
    let since = Some(super::see::ago(PAST));
    let stats = asked::<Stats>(&Request::Stats(StatsFilter { since, ..StatsFilter::default() }));
    let names = stats.map(names).unwrap_or_default().into_iter();
    names.filter(|name| is_plain(name)).map(CompletionCandidate::new).collect()
}

/// What an app that says anything may put on somebody's command line.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "\\_-.:@/{}".contains(c);
    !name.is_empty() && name.len() <= NAME && name.chars().all(plain)
}

/// Asks the app that the command line names, or in whose directory we are. Whatever goes wrong, nothing is offered.
fn asked<T: serde::de::DeserializeOwned>(request: &Request) -> Option<T> {
    let here = Surroundings::read().ok()?;
    // The words that are there already stand behind the shell's own `--`.
    let words = std::env::args().skip_while(|word| word != "--").skip(1);
    let known = config::known_apps(&here);
    let app = words.skip(1).find(|word| known.contains(word));
    let wanted = config::Request { app, ..config::Request::default() };
    let answer = async {
        let target = Target::find(&wanted, &here).await.ok()?;
        target.ask(request).await.ok()
    };
    super::see::wait(async { tokio::time::timeout(PATIENCE, answer).await.ok().flatten() }).ok()?
}

/// Writes a script for each shell into `directory`.
///
/// # Errors
/// Where a file cannot be written.
pub(super) fn write_scripts(directory: &Path) -> std::io::Result<()> {
    let script = |shell: &dyn EnvCompleter| {
        let mut script = Vec::new();
        shell.write_registration(VARIABLE, "kqueue", "kqueue", "kqueue", &mut script).map(|()| script)
    };
    std::fs::write(directory.join("kqueue.bash"), script(&Bash)?)?;
    std::fs::write(directory.join("kqueue.fish"), script(&Fish)?)?;
    // Loaded by zsh at the first TAB, as the function that is to answer it.
    let first = b"\n[[ $funcstack[1] = _kqueue ]] && _clap_dynamic_completer_kqueue \"$@\"\n";
    std::fs::write(directory.join("_kqueue"), [script(&Zsh)?, first.to_vec()].concat())
}
