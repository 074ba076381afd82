//! The apps of the host and their states. Each has its own timeout, and none delays another.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kqueue_config::{self as config, Place, Surroundings};
use kqueue_control::{Found, Request, Series, Snapshot, StatsFilter, Verdict, find_knowing, verdicts};
use kqueue_pages::AppCard;
use tokio::task::JoinSet;

use crate::ask;

/// Timeout of an app's state.
const PATIENCE: Duration = Duration::from_secs(3);
/// Timeout of systemd's verdicts.
const MANAGER: Duration = Duration::from_secs(2);
/// How long the figures of the last hour are cached: their resolution is a minute.
const HOUR: Duration = Duration::from_secs(10);
/// Number of points of the last hour.
const POINTS: u32 = 30;
/// Maximum number of apps.
const MOST: usize = 1_000;

/// The state of an app.
#[derive(Clone, Debug)]
pub enum Known {
    /// It runs: its snapshot, and its socket.
    Told(Arc<Snapshot>, PathBuf),
    /// It does not run: whether it has failed, and its state as text.
    Stopped(bool, String),
    /// It cannot be asked, for this reason.
    Dark(String),
}

/// The last known state of an app.
#[derive(Clone, Debug)]
struct Seen {
    at: Instant,
    known: Known,
    hour: Series,
    hour_at: Option<Instant>,
}

/// The apps of this host.
#[derive(Debug)]
pub struct Apps {
    here: Surroundings,
    seen: Mutex<BTreeMap<String, Seen>>,
    /// Apps with a query in progress: a slow one is not queried again meanwhile.
    busy: Mutex<BTreeSet<String>>,
}

fn by_name(app: String) -> config::Request {
    config::Request { app: Some(app), ..config::Request::default() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Apps {
    /// The apps that can be found from `here`.
    pub fn new(here: Surroundings) -> Arc<Self> {
        Arc::new(Self { here, seen: Mutex::default(), busy: Mutex::default() })
    }

    /// The state of one app; `None` if there is no such app.
    pub async fn one(&self, app: &str) -> Option<Known> {
        let place = config::place(&by_name(app.to_owned()), &self.here).ok()?;
        self.find(&place, None).await
    }

    async fn find(&self, place: &Place, verdict: Option<Verdict>) -> Option<Known> {
        match tokio::time::timeout(PATIENCE, find_knowing(place, &self.here, verdict)).await {
            Err(_) => Some(Known::Dark(format!("no reply within {} s", PATIENCE.as_secs()))),
            Ok(Found::Told(value, socket)) => {
                let told: Snapshot = serde_json::from_value(value).unwrap_or_default();
                // The app's name is that of the place where it was found, whatever the reply says.
                Some(Known::Told(Arc::new(Snapshot { app: place.app.clone(), ..told }), socket))
            }
            Ok(Found::Stopped { failed, why }) => Some(Known::Stopped(failed, why)),
            Ok(Found::Dark { why, .. }) => Some(Known::Dark(why)),
            Ok(Found::Nobody) => None,
        }
    }

    /// The states of all apps, as far as they are known within `patience`.
    pub async fn all(self: &Arc<Self>, patience: Duration) -> Vec<(String, Known, Series)> {
        let begun = Instant::now();
        let mut places = config::known_places(by_name, &self.here).unwrap_or_default();
        places.truncate(MOST);
        let names: Vec<String> = places.iter().map(|place| place.app.clone()).collect();
        let apps = self.clone();
        // A longer query continues in the background, for the next call.
        let looked = tokio::spawn(async move { apps.look_at(places).await });
        let _ = tokio::time::timeout(patience, looked).await;
        let mut seen = lock(&self.seen);
        seen.retain(|app, _| names.contains(app));
        let told = |app: String| match seen.get(&app) {
            Some(seen) if seen.at >= begun => (app, seen.known.clone(), seen.hour.clone()),
            Some(seen) if lock(&self.busy).contains(&app) && begun.duration_since(seen.at) > PATIENCE => {
                (app, Known::Dark("no reply in time".to_owned()), seen.hour.clone())
            }
            Some(seen) => (app, seen.known.clone(), seen.hour.clone()),
            None => (app, Known::Dark("no reply yet".to_owned()), Series::default()),
        };
        names.into_iter().map(told).collect()
    }

    async fn look_at(self: Arc<Self>, mut places: Vec<Place>) {
        {
            let mut busy = lock(&self.busy);
            places.retain(|place| busy.insert(place.app.clone()));
        }
        let free: Vec<String> = places.iter().map(|place| place.app.clone()).collect();
        let mut told = tokio::time::timeout(MANAGER, verdicts(&places, &self.here)).await.unwrap_or_default();
        let mut looks = JoinSet::new();
        for place in places {
            let (apps, verdict) = (self.clone(), told.remove(&place.app));
            looks.spawn(async move { apps.look(place, verdict).await });
        }
        while looks.join_next().await.is_some() {}
        let mut busy = lock(&self.busy);
        busy.retain(|app| !free.contains(app));
    }

    async fn look(&self, place: Place, verdict: Option<Verdict>) {
        let found = self.find(&place, verdict).await;
        let Some(known) = found else {
            lock(&self.seen).remove(&place.app);
            lock(&self.busy).remove(&place.app);
            return;
        };
        let last = lock(&self.seen).get(&place.app).map(|seen| (seen.hour.clone(), seen.hour_at));
        let (mut hour, mut hour_at) = last.unwrap_or_default();
        if let Known::Told(_, socket) = &known
            && hour_at.is_none_or(|at| at.elapsed() > HOUR)
        {
            let asked = Request::Series { filter: StatsFilter::default(), points: POINTS, by_queue: false };
            if let Some(series) = ask::read(socket, &asked).await {
                (hour, hour_at) = (series, Some(Instant::now()));
            }
        }
        lock(&self.seen).insert(place.app.clone(), Seen { at: Instant::now(), known: slim(known), hour, hour_at });
        lock(&self.busy).remove(&place.app);
    }

    /// The states of all apps, for the host's page.
    pub async fn cards(self: &Arc<Self>, patience: Duration) -> Vec<AppCard> {
        let card = |(app, known, hour)| match known {
            Known::Told(snapshot, _) => {
                AppCard { app, snapshot: Some(Snapshot::clone(&snapshot)), hour, ..AppCard::default() }
            }
            Known::Stopped(is_bad, words) => AppCard { app, hour, words, is_bad, ..AppCard::default() },
            Known::Dark(words) => AppCard { app, hour, words, is_bad: true, ..AppCard::default() },
        };
        self.all(patience).await.into_iter().map(card).collect()
    }
}

/// Removes the long lists, which are not needed for all apps at once.
fn slim(known: Known) -> Known {
    let Known::Told(snapshot, socket) = known else { return known };
    let mut snapshot = Arc::unwrap_or_clone(snapshot);
    snapshot.failures.clear();
    for tier in &mut snapshot.tiers {
        tier.running_jobs.clear();
        tier.waiting_jobs.clear();
    }
    Known::Told(Arc::new(snapshot), socket)
}
