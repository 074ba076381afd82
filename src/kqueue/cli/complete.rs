//! What the shell offers after a TAB: names of apps, and the words that a key takes.
//!
//! The shells' scripts, which packages ship, ask the program itself by [`VARIABLE`]; so the names are those of this
//! moment, and a script does not age.

use std::ffi::OsString;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{Bash, CompleteEnv, EnvCompleter, Fish, Zsh};

use super::Cli;
use kqueue_config::{self as config, Surroundings};

/// Set by a shell that wants completions.
const VARIABLE: &str = "KQUEUE_COMPLETE";

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
