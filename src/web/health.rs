//! `/healthz` and `/readyz`: for load balancers, containers and monitors, of the host and of each app.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use kqueue_control::State as AppState;
use kqueue_system::harmless;
use serde_json::json;

use crate::apps::{Apps, Known};

/// Timeout of all apps together.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a request asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Whether it works as it should.
    Healthy,
    /// Whether it accepts jobs now.
    Ready,
}

/// `/healthz`: every app that should run does, and none is degraded.
pub async fn health(State(apps): State<Arc<Apps>>) -> Response {
    host(&apps, Asked::Healthy).await
}

/// `/readyz`: every app that should run accepts jobs.
pub async fn readiness(State(apps): State<Arc<Apps>>) -> Response {
    host(&apps, Asked::Ready).await
}

/// `/healthz/NAME`.
pub async fn health_of(State(apps): State<Arc<Apps>>, Path(app): Path<String>) -> Response {
    one(&apps, &app, Asked::Healthy).await
}

/// `/readyz/NAME`.
pub async fn readiness_of(State(apps): State<Arc<Apps>>, Path(app): Path<String>) -> Response {
    one(&apps, &app, Asked::Ready).await
}

async fn host(apps: &Arc<Apps>, asked: Asked) -> Response {
    let all = apps.all(PATIENCE).await;
    // An app that was stopped on purpose is no problem of the host.
    let is_fine = |known: &Known| matches!(known, Known::Stopped(false, _)) || is_fine(known, asked);
    let fine = all.iter().all(|(_, known, _)| is_fine(known));
    let states: serde_json::Map<String, serde_json::Value> =
        all.iter().map(|(app, known, _)| (app.clone(), word(known).into())).collect();
    answer(fine, json!({"status": if fine { "ok" } else { "trouble" }, "apps": states}))
}

async fn one(apps: &Apps, app: &str, asked: Asked) -> Response {
    let Some(known) = apps.one(app).await else {
        return (StatusCode::NOT_FOUND, [(CONTENT_TYPE, JSON)], "{\"status\":\"unknown\"}\n").into_response();
    };
    let why = match &known {
        Known::Told(snapshot, _) => snapshot.reason.clone().unwrap_or_default(),
        Known::Stopped(_, why) | Known::Dark(why) => why.clone(),
    };
    answer(is_fine(&known, asked), json!({"status": word(&known), "why": harmless::line(&why, 400)}))
}

const JSON: &str = "application/json";

fn answer(fine: bool, told: serde_json::Value) -> Response {
    let status = if fine { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(CONTENT_TYPE, JSON)], format!("{told}\n")).into_response()
}

/// The state of an app, in one word.
pub fn word(known: &Known) -> &'static str {
    match known {
        Known::Told(snapshot, _) => snapshot.state.as_str(),
        Known::Stopped(true, _) => "failed",
        Known::Stopped(false, _) => "stopped",
        Known::Dark(_) => "silent",
    }
}

fn is_fine(known: &Known, asked: Asked) -> bool {
    let Known::Told(snapshot, _) = known else { return false };
    match asked {
        Asked::Ready => matches!(snapshot.state, AppState::Running),
        Asked::Healthy => !matches!(snapshot.state, AppState::Degraded | AppState::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use kqueue_control::Snapshot;

    use super::*;

    #[test]
    fn who_is_healthy_and_who_is_ready() {
        let told = |state| Known::Told(Arc::new(Snapshot { state, ..Snapshot::default() }), "/s".into());
        for (known, healthy, ready) in [
            (told(AppState::Running), true, true),
            (told(AppState::Maintenance), true, false),
            (told(AppState::Starting), true, false),
            (told(AppState::Degraded), false, false),
            (Known::Stopped(false, String::new()), false, false),
            (Known::Dark(String::new()), false, false),
        ] {
            let found = (is_fine(&known, Asked::Healthy), is_fine(&known, Asked::Ready));
            assert_eq!(found, (healthy, ready), "{known:?}");
        }
    }
}
