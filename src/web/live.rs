//! Pages that update themselves: the page is sent again when it has changed.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use kqueue_pages::{Query, View};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::guard::plain;
use crate::routes::{Site, app_page, host_page};

/// Interval between checks.
const PAUSE: Duration = Duration::from_secs(2);
/// Maximum number of checks per connection: a browser reconnects by itself.
const LOOKS: u32 = 450;
/// Maximum number of pages that are kept up to date at once.
const STREAMS: usize = 48;

/// Places for these pages.
#[derive(Debug)]
pub struct Streams(Arc<Semaphore>);

impl Default for Streams {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(STREAMS)))
    }
}

/// `/live`: the page of all apps.
pub async fn host(State(site): State<Arc<Site>>) -> Response {
    start(&site.clone(), move || {
        let site = site.clone();
        async move { host_page(&site, "/").await }
    })
}

/// `/app/NAME/live`: a page of an app, named by `view` in the query; the other parameters are that page's.
pub async fn app(State(site): State<Arc<Site>>, Path(app): Path<String>, RawQuery(query): RawQuery) -> Response {
    let query = Query::parse(&query.unwrap_or_default());
    let Some(view) = View::at(query.get("view").unwrap_or_default()) else {
        return plain(StatusCode::NOT_FOUND, "there is no such page\n");
    };
    start(&site.clone(), move || {
        let (site, app, query, view) = (site.clone(), app.clone(), query.clone(), view.clone());
        // Links are relative to the page itself.
        let path = format!("/app/{app}/{}", view.path());
        async move { app_page(&site, &app, &view, &query, &path).await.1 }
    })
}

fn start<F>(site: &Site, page: impl Fn() -> F + Send + 'static) -> Response
where
    F: Future<Output = String> + Send + 'static,
{
    let Ok(place) = site.streams.0.clone().try_acquire_owned() else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "too many live pages are open\n");
    };
    let keep = KeepAlive::new().interval(Duration::from_secs(15));
    // nginx would buffer events until its buffer is full.
    ([("x-accel-buffering", "no")], Sse::new(changes(page, place)).keep_alive(keep)).into_response()
}

/// The page, whenever it differs from the one sent before.
fn changes<F>(
    page: impl Fn() -> F + Send + 'static,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Event, Infallible>> + Send
where
    F: Future<Output = String> + Send + 'static,
{
    stream::unfold((0_u32, 0_u64, page, place), |(mut looks, last, page, place)| async move {
        loop {
            if looks >= LOOKS {
                return None;
            }
            if looks > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            looks += 1;
            let html = page().await;
            let mut hasher = DefaultHasher::new();
            html.hash(&mut hasher);
            if hasher.finish() != last {
                let event = Event::default().event("page").data(html.replace('\r', " "));
                return Some((Ok(event), (looks, hasher.finish(), page, place)));
            }
        }
    })
}
