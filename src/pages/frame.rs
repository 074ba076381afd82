//! The frame of every page: landmarks, navigation, the app's state.

use kqueue_control::State;
use maud::{DOCTYPE, Markup, html};

use crate::format::{short, text};
use crate::parts::{lacks, pill};
use crate::statics;
use crate::view::{Page, View};
use crate::{Live, Mount};

/// Seconds between two polls of a page that updates by polling.
const POLL: &str = "3";

/// How the script keeps a page up to date.
struct Updates {
    events: Option<String>,
    poll: Option<&'static str>,
}

fn whole(mount: &Mount, title: &str, updates: Updates, header: Markup, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { (title) }
                link rel="stylesheet" href=(file(mount, statics::style()));
                link rel="icon" type="image/svg+xml" href=(file(mount, statics::icon()));
                script src=(file(mount, statics::script())) defer {}
            }
            body data-events=[updates.events] data-poll=[updates.poll] {
                a.skip href="#main" { "Skip to the content" }
                header.top { div.bar { (header) } }
                main #main tabindex="-1" { (body) }
                footer { p { "kqueue " (env!("CARGO_PKG_VERSION")) } }
            }
        }
    }
}

fn file(mount: &Mount, name: &str) -> String {
    mount.root(&format!("static/{name}"))
}

fn brand(mount: &Mount) -> Markup {
    html! {
        a.brand href=(mount.root("")) {
            img src=(file(mount, statics::icon())) alt="" width="24" height="24";
            span { "kqueue" }
        }
    }
}

/// A page that belongs to no app.
pub fn bare(mount: &Mount, title: &str, body: &Markup) -> Markup {
    whole(mount, &format!("{} · kqueue", text(title)), Updates { events: None, poll: None }, brand(mount), body)
}

/// The page of all apps.
pub fn host(mount: &Mount, body: &Markup) -> Markup {
    let updates = Updates { events: Some(mount.root("live")), poll: None };
    whole(mount, "kqueue", updates, brand(mount), body)
}

/// A page of an app. `title` is empty for the overview.
pub fn app(page: &Page<'_>, title: &str, body: &Markup) -> Markup {
    let (mount, snapshot) = (page.mount, &page.answers.snapshot);
    let app = short(&snapshot.app, 60);
    let name = match title {
        "" => format!("{app} · kqueue"),
        title => format!("{} · {app} · kqueue", short(title, 120)),
    };
    let updates = match mount.live {
        Live::Events => Updates { events: Some(mount.link("live", &[("view", page.view.path())])), poll: None },
        Live::Poll => Updates { events: None, poll: Some(POLL) },
    };
    let pages = [("", "Overview"), ("jobs", "Jobs"), ("classes", "Classes"), ("events", "Events")];
    let current = match page.view {
        View::Overview | View::Queue => "",
        View::Jobs | View::Job => "jobs",
        View::Classes | View::Class => "classes",
        View::Events => "events",
    };
    let header = html! {
        (brand(mount))
        span.sep aria-hidden="true" { "/" }
        a.app href=(mount.page("")) { (app) }
        span #state data-live role="status" { (pill(snapshot.state.as_str())) }
        nav.pages aria-label="Pages" {
            ul {
                @for (path, word) in pages {
                    li { a href=(mount.page(path)) aria-current=[(path == current).then_some("page")] { (word) } }
                }
            }
        }
    };
    let body = html! {
        div #trouble data-live { (concern(page)) (lacks(page)) }
        (body)
    };
    whole(mount, &name, updates, header, &body)
}

/// Why the app does not run its jobs, and the remedy.
fn concern(page: &Page<'_>) -> Markup {
    let snapshot = &page.answers.snapshot;
    let held = matches!(snapshot.state, State::Maintenance | State::Paused);
    html! {
        @if snapshot.reason.is_some() || held {
            div class=(if held { "concern warn" } else { "concern bad" }) {
                p { strong { (snapshot.state.as_str()) } @if let Some(reason) = &snapshot.reason { ": " (text(reason)) } }
                @if let Some(remedy) = &snapshot.remedy { p { "To resume: " code { (text(remedy)) } } }
            }
        }
    }
}
