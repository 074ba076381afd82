//! The pages of an app, and the requests that each needs.

use kqueue_control::{EventsFilter, JobState, JobsFilter, Request, StatsFilter};
use maud::Markup;

use crate::{Answers, Moment, Mount, Need, Query, Slot, Window};
use crate::{class, classes, events, frame, job, jobs, marks, overview, queue};

/// Jobs per page of a list.
const PAGE: u32 = 50;
/// Maximum events requested, for the events page and for charts.
const EVENTS: u32 = 300;
/// Maximum failures on the overview.
const FAILURES: u32 = 8;

/// A page of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// Its overview.
    Overview,
    /// Lists of jobs.
    Jobs,
    /// One of these.
    Job,
    /// Its classes.
    Classes,
    /// One of these.
    Class,
    /// One queue.
    Queue,
    /// Events beside jobs.
    Events,
}

impl View {
    /// The view at a path below that of the app, `""` or `jobs`.
    pub fn at(path: &str) -> Option<Self> {
        Some(match path.trim_matches('/') {
            "" => View::Overview,
            "jobs" => View::Jobs,
            "job" => View::Job,
            "classes" => View::Classes,
            "class" => View::Class,
            "queue" => View::Queue,
            "events" => View::Events,
            _ => return None,
        })
    }

    /// Its path below that of the app.
    pub fn path(&self) -> &'static str {
        match self {
            View::Overview => "",
            View::Jobs => "jobs",
            View::Job => "job",
            View::Classes => "classes",
            View::Class => "class",
            View::Queue => "queue",
            View::Events => "events",
        }
    }

    /// The requests whose answers it is rendered from. `payload`: whether the contents of jobs may be shown to this
    /// viewer.
    pub fn needs(&self, query: &Query, moment: &Moment, payload: bool) -> Vec<Need> {
        let window = Window::of(query, moment);
        let name = query.owned("name");
        let filter = StatsFilter { since: Some(window.since), until: Some(window.until), ..StatsFilter::default() };
        let series_of =
            |filter, by_queue| Need::new(Slot::Series, Request::Series { filter, points: window.points, by_queue });
        let series = |filter| series_of(filter, false);
        let stats = |filter| Need::new(Slot::Stats, Request::Stats(filter));
        let events = |kinds: &[&str]| {
            let filter = EventsFilter {
                since: window.since,
                until: (!window.is_now).then_some(window.until),
                kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
                limit: EVENTS,
            };
            Need::new(Slot::Events, Request::Events(filter))
        };
        let jobs = |slot, filter| Need::new(slot, Request::Jobs(filter));
        let within = JobsFilter {
            since: Some(window.since),
            until: (!window.is_now).then_some(window.until),
            limit: PAGE,
            ..JobsFilter::default()
        };
        let mut needs = vec![Need::new(Slot::Snapshot, Request::Snapshot)];
        match self {
            View::Overview => {
                let failed = JobsFilter { state: Some(JobState::Failed), limit: FAILURES, ..within };
                let running = JobsFilter { state: Some(JobState::Running), limit: PAGE, ..JobsFilter::default() };
                // By queue and not by class: faster with a thousand classes.
                needs.extend([series_of(filter, true), events(marks::LARGE)]);
                needs.extend([jobs(Slot::Failed, failed), jobs(Slot::Running, running)]);
            }
            View::Jobs => needs.push(jobs(Slot::Jobs, jobs::filter(query, moment, PAGE))),
            View::Job => {
                let uuid = query.owned("id").unwrap_or_default();
                needs.push(Need::new(Slot::Timeline, Request::Job { uuid, payload }));
            }
            View::Classes => needs.push(stats(filter)),
            View::Class => {
                let filter = StatsFilter { class: name.clone(), ..filter };
                needs.extend([series(filter.clone()), stats(filter), events(marks::LARGE)]);
                needs.push(jobs(Slot::Jobs, JobsFilter { class: name, ..within }));
                needs.push(Need::new(Slot::Quarantine, Request::Quarantine));
            }
            View::Queue => {
                let filter = StatsFilter { queue: name.clone(), ..filter };
                needs.extend([series(filter.clone()), stats(filter), events(marks::LARGE)]);
                let waiting =
                    JobsFilter { state: Some(JobState::Waiting), queue: name, limit: PAGE, ..JobsFilter::default() };
                needs.push(jobs(Slot::Jobs, waiting));
            }
            View::Events => {
                let kind = query.get("kind");
                needs.extend([series(filter), events(kind.as_slice())]);
            }
        }
        needs
    }

    /// Renders the whole page: its HTTP status and HTML.
    pub fn render(&self, mount: &Mount, query: &Query, moment: &Moment, answers: &Answers) -> (u16, String) {
        let page = Page { view: self, mount, query, moment, answers, window: Window::of(query, moment) };
        let (status, title, body) = match self {
            View::Overview => (200, String::new(), overview::body(&page)),
            View::Jobs => (200, "Jobs".to_owned(), jobs::body(&page)),
            View::Job => job::body(&page),
            View::Classes => (200, "Classes".to_owned(), classes::body(&page)),
            View::Class => (200, query.owned("name").unwrap_or_default(), class::body(&page)),
            View::Queue => (200, query.owned("name").unwrap_or_default(), queue::body(&page)),
            View::Events => (200, "Events".to_owned(), events::body(&page)),
        };
        (status, frame::app(&page, &title, &body).into_string())
    }
}

/// Everything that the parts of a page are rendered from.
pub(crate) struct Page<'a> {
    pub view: &'a View,
    pub mount: &'a Mount,
    pub query: &'a Query,
    pub moment: &'a Moment,
    pub answers: &'a Answers,
    pub window: Window,
}

impl Page<'_> {
    /// The name in the query: of a class or a queue.
    pub fn name(&self) -> &str {
        self.query.get("name").unwrap_or_default()
    }

    /// A link to the page of a class, with the same time range.
    pub fn class_link(&self, class: &str) -> String {
        self.mount.link("class", &[("name", class), ("span", self.span()), ("end", &self.window.end())])
    }

    /// A link to the page of a queue, with the same time range.
    pub fn queue_link(&self, queue: &str) -> String {
        self.mount.link("queue", &[("name", queue), ("span", self.span()), ("end", &self.window.end())])
    }

    /// The `span` parameter of a link; empty for the default.
    pub fn span(&self) -> &'static str {
        if self.window.word == "1h" { "" } else { self.window.word }
    }

    /// A class, linked to its page.
    pub fn class(&self, class: &str) -> Markup {
        maud::html! { a.plain href=(self.class_link(class)) { (crate::format::class(class)) } }
    }

    /// A queue, linked to its page.
    pub fn queue(&self, queue: &str) -> Markup {
        maud::html! { a.plain href=(self.queue_link(queue)) { (crate::format::short(queue, 120)) } }
    }

    /// A job's class, linked to the job if it has a uuid.
    pub fn job(&self, uuid: &str, class: &str) -> Markup {
        maud::html! {
            @if uuid.is_empty() { (crate::format::class(class)) }
            @else { a.plain href=(self.mount.link("job", &[("id", uuid)])) { (crate::format::class(class)) } }
        }
    }
}
