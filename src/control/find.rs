//! Which apps there are, and how each is. Looking never starts anything: where systemd listens for an app, systemd is asked
//! first whether the app runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kqueue_config::{Place, Surroundings};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::systemd::{self, Verdict};
use crate::{AskError, GROUP, ask};

/// Between two looks at a unit that does not answer.
const LOOK: Duration = Duration::from_millis(500);
/// Apps that are asked at once.
const AT_ONCE: usize = 64;

/// What is known of one app.
#[derive(Debug)]
pub enum Found {
    /// What it tells, and the socket on which it does.
    Told(Value, PathBuf),
    /// It does not run; what systemd says of that.
    Stopped {
        /// It has ended in failure.
        failed: bool,
        /// How it is, in words.
        why: String,
    },
    /// It cannot be asked; whether that is because we may not.
    Dark {
        /// Why not, in one line with the app's name.
        why: String,
        /// We may not.
        denied: bool,
    },
    /// Nobody has heard of it.
    Nobody,
}

impl Found {
    /// Whether there is anything to say of an app that has no file: what once ran may leave a directory, to which
    /// others than its user have no access.
    fn is_there(&self) -> bool {
        match self {
            Found::Told(..) => true,
            Found::Stopped { failed, .. } => *failed,
            Found::Dark { denied, .. } => !denied,
            Found::Nobody => false,
        }
    }
}

/// Finds out how each app is, many at once: one that does not answer holds up no other.
pub async fn find_all(places: Vec<Place>, here: &Surroundings) -> Vec<(String, Found)> {
    let (mut asked, turns) = (JoinSet::new(), Arc::new(Semaphore::new(AT_ONCE)));
    let mut verdicts = verdicts(&places, here).await;
    for place in places {
        let (here, turns, known) = (here.clone(), turns.clone(), verdicts.remove(&place.app));
        asked.spawn(async move {
            let _turn = turns.acquire().await;
            let found = find_knowing(&place, &here, known).await;
            (place.configured || found.is_there()).then_some((place.app, found))
        });
    }
    let mut all: Vec<_> = asked.join_all().await.into_iter().flatten().collect();
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    all
}

/// What systemd says of many apps at once, for [`find_knowing`]; nothing where it has no say.
pub async fn verdicts(places: &[Place], here: &Surroundings) -> BTreeMap<String, Verdict> {
    let may_be_unit = |place: &&Place| place.sockets.iter().any(|socket| socket.starts_with(&here.run));
    let apps: Vec<&str> = places.iter().filter(may_be_unit).map(|place| place.app.as_str()).collect();
    match !apps.is_empty() && sd_notify::booted().unwrap_or(true) {
        true => systemd::ask_all(&apps).await,
        false => BTreeMap::new(),
    }
}

/// Finds out how one app is.
pub async fn find(place: &Place, here: &Surroundings) -> Found {
    find_knowing(place, here, None).await
}

/// The same, with what systemd has just said of it, where that has been asked.
pub async fn find_knowing(place: &Place, here: &Surroundings, known: Option<Verdict>) -> Found {
    let (mut stopped, mut dark) = (None, None);
    for socket in &place.sockets {
        let mut is_unit = false;
        // Only there can it be systemd that listens.
        if socket.starts_with(&here.run) && sd_notify::booted().unwrap_or(true) {
            let verdict = match &known {
                Some(verdict) => Ok(verdict.clone()),
                None => systemd::ask(&place.app).await,
            };
            match verdict {
                Ok(Verdict { runs: true, .. }) => {
                    is_unit = true;
                    stopped = Some((false, "runs, but nothing listens for us".to_owned()));
                }
                Ok(Verdict { listens: true, failed, words, .. }) => return Found::Stopped { failed, why: words },
                Ok(Verdict { failed, words, known, .. }) if known => stopped = Some((failed, words)),
                Ok(_) => {}
                Err(why) => {
                    let why = format!("{}: cannot tell whether it runs: {why}", place.app);
                    return Found::Dark { why, denied: false };
                }
            }
        }
        let asked = tokio::select! {
            asked = ask(socket) => asked,
            why = end_of_unit(&place.app), if is_unit => return Found::Stopped { failed: true, why },
        };
        match asked {
            Ok(value) => return Found::Told(value, socket.clone()),
            Err(AskError::NotRunning) => {}
            // What another user has left there hides nothing of ours.
            Err(AskError::Denied) => dark = dark.or_else(|| Some((denied(&place.app, socket), true))),
            Err(error) => {
                dark = dark.or_else(|| Some((format!("{}: {}: {error}", place.app, socket.display()), false)));
            }
        }
    }
    if let Some((why, denied)) = dark {
        return Found::Dark { why, denied };
    }
    match stopped {
        Some((failed, why)) => Found::Stopped { failed, why },
        None if place.configured || place.sockets.iter().any(|socket| is_left(socket, here)) => {
            Found::Stopped { failed: false, why: "stopped".to_owned() }
        }
        None => Found::Nobody,
    }
}

/// Waits until a unit that was about to run has failed instead: systemd's socket stays, and nobody answers on it.
async fn end_of_unit(app: &str) -> String {
    loop {
        tokio::time::sleep(LOOK).await;
        if let Ok(Verdict { runs: false, failed: true, words, .. }) = systemd::ask(app).await {
            return words;
        }
    }
}

/// Whether a runtime has left the directory of its own in which this socket was.
fn is_left(socket: &Path, here: &Surroundings) -> bool {
    socket.parent().is_some_and(|directory| directory != here.run && directory.is_dir())
}

fn denied(app: &str, socket: &Path) -> String {
    format!(
        "{app}: {}: permission denied; ask as root or as the app's user, or join the group {GROUP}: usermod -aG {GROUP} USER",
        socket.display()
    )
}
