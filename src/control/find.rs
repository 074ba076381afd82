//! Finds apps and their states. This never starts an app: where systemd listens on its socket, systemd is asked first
//! whether it runs.

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

/// Interval between checks of a unit that does not answer.
const LOOK: Duration = Duration::from_millis(500);
/// Time in which a unit that closes connections fails.
const FAILING: Duration = Duration::from_secs(3);
/// Maximum number of apps that are asked at once.
const AT_ONCE: usize = 64;

/// The state of one app.
#[derive(Debug)]
pub enum Found {
    /// Its reply, and the socket that it came from.
    Told(Value, PathBuf),
    /// It does not run.
    Stopped {
        /// Whether it has failed.
        failed: bool,
        /// Its state, as text.
        why: String,
    },
    /// It cannot be asked.
    Dark {
        /// The reason, in one line with the app's name.
        why: String,
        /// Whether we lack permission.
        denied: bool,
    },
    /// There is no such app.
    Nobody,
}

impl Found {
    /// Whether to list an app without a config file. One that once ran may have left a directory that only its user can
    /// access.
    fn is_there(&self) -> bool {
        match self {
            Found::Told(..) => true,
            Found::Stopped { failed, .. } => *failed,
            Found::Dark { denied, .. } => !denied,
            Found::Nobody => false,
        }
    }
}

/// Finds the states of all apps concurrently: one that does not answer does not delay the others.
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

/// systemd's verdicts on many apps at once, for [`find_knowing`]; empty where none of them can be a unit.
pub async fn verdicts(places: &[Place], here: &Surroundings) -> BTreeMap<String, Verdict> {
    let may_be_unit = |place: &&Place| place.sockets.iter().any(|socket| socket.starts_with(&here.run));
    let apps: Vec<&str> = places.iter().filter(may_be_unit).map(|place| place.app.as_str()).collect();
    match !apps.is_empty() && sd_notify::booted().unwrap_or(true) {
        true => systemd::ask_all(&apps).await,
        false => BTreeMap::new(),
    }
}

/// Finds the state of one app.
pub async fn find(place: &Place, here: &Surroundings) -> Found {
    find_knowing(place, here, None).await
}

/// As [`find`], with systemd's verdict if it has been read already.
pub async fn find_knowing(place: &Place, here: &Surroundings, known: Option<Verdict>) -> Found {
    let (mut stopped, mut dark) = (None, None);
    for socket in &place.sockets {
        let mut is_unit = false;
        // systemd can be the listener only there.
        if socket.starts_with(&here.run) && sd_notify::booted().unwrap_or(true) {
            let verdict = match &known {
                Some(verdict) => Ok(verdict.clone()),
                None => systemd::ask(&place.app).await,
            };
            match verdict {
                Ok(Verdict { runs: true, .. }) => {
                    is_unit = true;
                    stopped = Some((false, "running, but nothing is listening on its control socket".to_owned()));
                }
                Ok(Verdict { listens: true, failed, words, .. }) => return Found::Stopped { failed, why: words },
                // systemd knows a unit of any name that its template can have.
                Ok(Verdict { failed, words, known, .. }) if known && (failed || place.configured) => {
                    stopped = Some((failed, words));
                }
                Ok(_) => {}
                Err(why) => {
                    let why = format!("{}: cannot determine whether it is running: {why}", place.app);
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
            // A socket that another user has left there must not hide the app's own.
            Err(AskError::Denied) => dark = dark.or_else(|| Some((denied(&place.app, socket), true))),
            // One whose start fails closes the connection, and has failed a moment later.
            Err(AskError::Silent | AskError::Io(_))
                if is_unit && let Ok(why) = tokio::time::timeout(FAILING, end_of_unit(&place.app)).await =>
            {
                return Found::Stopped { failed: true, why };
            }
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

/// Waits until a starting unit has failed instead: systemd's socket stays open, but nothing answers on it.
async fn end_of_unit(app: &str) -> String {
    loop {
        tokio::time::sleep(LOOK).await;
        if let Ok(Verdict { runs: false, failed: true, words, .. }) = systemd::ask(app).await {
            return words;
        }
    }
}

/// Whether the directory of this socket, one that a runtime creates, still exists.
fn is_left(socket: &Path, here: &Surroundings) -> bool {
    socket.parent().is_some_and(|directory| directory != here.run && directory.is_dir())
}

fn denied(app: &str, socket: &Path) -> String {
    format!(
        "{app}: {}: permission denied; connect as root or as the app's user, or join the group {GROUP}: usermod -aG {GROUP} USER",
        socket.display()
    )
}
