//! The routes.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, OriginalUri, Path, RawQuery, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use jiff::tz::TimeZone;
use kqueue_control::{Act, BrokenMessages};
use kqueue_pages::{Moment, Mount, Query, View, acts, statics, trouble};
use serde_json::Value;

use crate::apps::{Apps, Known};
use crate::auth::Keys;
use crate::guard::{Guard, pass};
use crate::live::Streams;
use crate::{ask, guard, health, live, metrics};

/// How long the page of all apps waits for slow apps.
const PATIENCE: Duration = Duration::from_millis(400);
/// Maximum size of a form in bytes.
const LARGEST: usize = 16 << 10;

/// State shared by all pages.
#[derive(Debug)]
pub struct Site {
    /// The apps.
    pub apps: Arc<Apps>,
    /// Places of pages that are kept up to date.
    pub streams: Streams,
    zone: TimeZone,
}

impl Site {
    fn moment(&self) -> Moment {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Moment { now: u64::try_from(since.as_millis()).unwrap_or(u64::MAX), zone: self.zone.clone() }
    }
}

/// All routes, behind the guard.
pub fn router(apps: Arc<Apps>, guard: Arc<Guard>) -> Router {
    let site = Arc::new(Site { apps: apps.clone(), streams: Streams::default(), zone: TimeZone::system() });
    let of_apps = Router::new()
        .route("/healthz", get(health::health))
        .route("/readyz", get(health::readiness))
        .route("/healthz/{app}", get(health::health_of))
        .route("/readyz/{app}", get(health::readiness_of))
        .route("/metrics", get(metrics::metrics))
        .with_state(apps);
    Router::new()
        .route("/", get(root))
        .route("/live", get(live::host))
        .route("/app/{app}", get(to_app))
        .route("/app/{app}/", get(overview))
        .route("/app/{app}/live", get(live::app))
        .route("/app/{app}/{view}", get(view))
        .route("/app/{app}/act/{deed}", post(act).layer(DefaultBodyLimit::max(LARGEST)))
        .route("/static/{name}", get(file))
        .route("/robots.txt", get(|| async { guard::plain(StatusCode::OK, "User-agent: *\nDisallow: /\n") }))
        .with_state(site)
        .merge(of_apps)
        .fallback(nothing)
        .layer(from_fn_with_state(guard, pass))
}

async fn root(State(site): State<Arc<Site>>) -> Html<String> {
    Html(host_page(&site, "/").await)
}

/// The page of all apps, with links relative to `path`.
pub async fn host_page(site: &Site, path: &str) -> String {
    let cards = site.apps.cards(PATIENCE).await;
    kqueue_pages::host(&Mount::of_host(path, None), &site.moment(), &cards)
}

/// Redirects to the path with a slash at its end: links of the app's pages are relative to it.
async fn to_app(Path(app): Path<String>) -> Response {
    let name: String = app.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    (StatusCode::PERMANENT_REDIRECT, [(LOCATION, format!("{name}/"))]).into_response()
}

async fn overview(site: State<Arc<Site>>, Path(app): Path<String>, uri: OriginalUri, query: RawQuery) -> Response {
    view(site, Path((app, String::new())), uri, query).await
}

async fn view(
    State(site): State<Arc<Site>>,
    Path((app, view)): Path<(String, String)>,
    OriginalUri(uri): OriginalUri,
    RawQuery(query): RawQuery,
) -> Response {
    let Some(view) = View::at(&view) else { return nothing(OriginalUri(uri)).await };
    let query = Query::parse(&query.unwrap_or_default());
    let (status, page) = app_page(&site, &app, &view, &query, uri.path()).await;
    (status, Html(page)).into_response()
}

/// A page of an app, with links relative to `path`.
pub async fn app_page(site: &Site, app: &str, view: &View, query: &Query, path: &str) -> (StatusCode, String) {
    let bare = Mount::of_host(path, None);
    match site.apps.one(app).await {
        None => (StatusCode::NOT_FOUND, trouble(&bare, "There is no such app", app)),
        Some(Known::Stopped(_, why)) => {
            (StatusCode::SERVICE_UNAVAILABLE, trouble(&bare, &format!("{app} is not running"), &why))
        }
        Some(Known::Dark(why)) => {
            (StatusCode::SERVICE_UNAVAILABLE, trouble(&bare, &format!("{app} cannot be queried"), &why))
        }
        Some(Known::Told(snapshot, socket)) => {
            let moment = site.moment();
            let answers = ask::collect(view, query, &moment, Arc::unwrap_or_clone(snapshot), &socket).await;
            let mount = Mount::of_host(path, Some(app));
            // As a member of the group kqueue we may act if `operators` is set.
            let acts = answers.snapshot.settings.get("operators").and_then(Value::as_bool).unwrap_or(false);
            let mount = if acts { mount.acting("") } else { mount };
            let (status, page) = view.render(&mount, query, &moment, &answers);
            (StatusCode::from_u16(status).unwrap_or_default(), page)
        }
    }
}

/// Why contents of messages cannot be changed by the host's pages.
const NOT_HERE: &str = "the contents of a message can be changed in the app's own dashboard and by kqueue broken";

/// Performs the action of a form. The runtime decides by our peer credentials whether it is permitted.
async fn act(
    State(site): State<Arc<Site>>,
    Path((app, deed)): Path<(String, String)>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mount = Mount::of_host(uri.path(), Some(&app));
    let form = Query::parse(&String::from_utf8_lossy(&body));
    let done = match (acts::read(&deed, &form), site.apps.one(&app).await) {
        (Err(why), _) => Err(why.to_owned()),
        // Readers of the host's pages need not have access to an app's data.
        (Ok(Act::Broken(BrokenMessages { with: Some(_), .. })), _) => Err(NOT_HERE.to_owned()),
        (Ok(act), Some(Known::Told(_, socket))) => {
            ask::act(&socket, Keys::name(&headers).unwrap_or_default(), act).await
        }
        (Ok(_), _) => Err("the app is not running, or cannot be queried".to_owned()),
    };
    let (status, page) = acts::outcome(&mount.acting(""), &form, &done);
    (StatusCode::from_u16(status).unwrap_or_default(), Html(page)).into_response()
}

async fn file(Path(name): Path<String>) -> Response {
    match statics::find(&name) {
        Some(file) => ([(CONTENT_TYPE, file.kind), (CACHE_CONTROL, statics::CACHE)], file.text).into_response(),
        None => guard::plain(StatusCode::NOT_FOUND, "there is no such file\n"),
    }
}

async fn nothing(OriginalUri(uri): OriginalUri) -> Response {
    let page = trouble(&Mount::of_host(uri.path(), None), "There is no such page", "");
    (StatusCode::NOT_FOUND, Html(page)).into_response()
}
