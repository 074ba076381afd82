//! Lists of jobs, with search and paging.

use kqueue_control::{JobState, JobsFilter};
use maud::{Markup, html};

use crate::format::{read_time, short};
use crate::parts::{empty, heading, jobs_table};
use crate::view::Page;
use crate::{Moment, Query};

/// The lists: the value of `state` in the query, the title, and the state.
const LISTS: &[(&str, &str, JobState)] = &[
    ("", "Recent", JobState::Recent),
    ("failed", "Failed", JobState::Failed),
    ("running", "Running", JobState::Running),
    ("waiting", "Waiting", JobState::Waiting),
    ("delayed", "Delayed", JobState::Delayed),
    ("done", "Done", JobState::Done),
    ("released", "Released", JobState::Released),
];
/// The search fields: name, label, and placeholder.
const FIELDS: &[(&str, &str, &str)] = &[
    ("text", "Text", "uuid, class, tag or cause"),
    ("class", "Class", r"SendReceipt or App\Jobs\SendReceipt"),
    ("tag", "Tag", "order:12"),
];
/// Maximum queues to choose from.
const QUEUES: usize = 100;

/// The filter for the jobs of a query.
pub fn filter(query: &Query, moment: &Moment, limit: u32) -> JobsFilter {
    let (_, _, state) = list(query);
    let time = |name| query.get(name).and_then(|text| read_time(text, &moment.zone));
    JobsFilter {
        state: Some(state),
        class: query.owned("class"),
        queue: query.owned("queue"),
        tag: query.owned("tag"),
        text: query.owned("text"),
        since: time("from"),
        until: time("to"),
        after: query.owned("after"),
        limit,
    }
}

fn list(query: &Query) -> (&'static str, &'static str, JobState) {
    let asked = query.get("state").unwrap_or_default();
    LISTS.iter().copied().find(|(word, ..)| *word == asked).unwrap_or(("", "Recent", JobState::Recent))
}

pub fn body(page: &Page<'_>) -> Markup {
    let (word, name, _) = list(page.query);
    let jobs = &page.answers.jobs;
    let asked = |name| page.query.get(name).unwrap_or_default();
    let kept = ["class", "queue", "tag", "text", "from", "to"].map(|name| (name, asked(name)));
    let searched = kept.iter().any(|(_, value)| !value.is_empty());
    let link = |state: &str, after: &str| {
        page.mount.link("jobs", &[&kept[..], &[("state", state), ("after", after)]].concat())
    };
    html! {
        section aria-labelledby="jobs" {
            h1 #jobs { (name) " jobs" }
            nav.tabs aria-label="Lists of jobs" {
                ul { @for (each, name, _) in LISTS { li { a href=(link(each, "")) aria-current=[(*each == word).then_some("page")] { (name) } } } }
            }
            (search(page, word, searched))
            div #job-list data-live {
                @if jobs.jobs.is_empty() {
                    (empty(if searched { "No matching jobs." } else { "No jobs at this moment." }))
                } @else { (jobs_table(page, &format!("{name} jobs"), &jobs.jobs, 200)) }
                nav.paging aria-label="More of this list" {
                    @if !asked("after").is_empty() { a.button href=(link(word, "")) { "First page" } }
                    @if let Some(next) = &jobs.next { a.button rel="next" href=(link(word, next)) { "Next page" } }
                }
            }
        }
    }
}

fn search(page: &Page<'_>, word: &str, searched: bool) -> Markup {
    let asked = |name| short(page.query.get(name).unwrap_or_default(), 400);
    let queues = page.answers.snapshot.queues.iter().take(QUEUES);
    html! {
        form.search method="get" action=(page.mount.page("jobs")) role="search" aria-label="Jobs" {
            input type="hidden" name="state" value=(word);
            @for (name, label, example) in FIELDS { label { span { (label) } input name=(name) value=(asked(name)) placeholder=(example); } }
            label {
                span { "Queue" }
                select name="queue" {
                    option value="" { "all" }
                    @for queue in queues { option value=(short(&queue.name, 400)) selected[queue.name == asked("queue")] { (short(&queue.name, 80)) } }
                }
            }
            @for (name, label) in [("from", "From"), ("to", "Up to")] {
                label { span { (label) } input type="datetime-local" name=(name) value=(asked(name)); }
            }
            div.actions { button.main { "Search" } @if searched { a.button href=(page.mount.link("jobs", &[("state", word)])) { "Clear" } } }
        }
    }
}

/// The jobs of one class or queue, on its own page.
pub fn section(page: &Page<'_>, title: &str, none: &str, more: &[(&str, &str)]) -> Markup {
    html! {
        section aria-labelledby="jobs" {
            (heading("jobs", title, html! { a.more href=(page.mount.link("jobs", more)) { "search" } }))
            div #job-list data-live {
                @if page.answers.jobs.jobs.is_empty() { (empty(none)) }
                @else { (jobs_table(page, title, &page.answers.jobs.jobs, 50)) }
            }
        }
    }
}
