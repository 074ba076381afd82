//! Actions on a page: forms that work without a script, and pages with their outcome.
//!
//! An action is one entry of [`DEEDS`]: its name in the address, and how its fields become a request to the runtime.
//! Access is decided by the server of the page ([`Mount::acting`](crate::Mount::acting)) and by the runtime.

use kqueue_control::{Act, Acted, BrokenAct, CancelJobs, Chosen, FailedJobs, JobState, MoveJobs, Paused};
use maud::{Markup, html};
use serde::Deserialize;

use crate::format::text;
use crate::view::Page;
use crate::{Mount, Query, View, broken, classes, frame};

/// Maximum lines shown of an outcome.
const LINES: usize = 20;

/// An action.
struct Deed {
    /// Its name in the address.
    name: &'static str,
    /// Whether it concerns many jobs, and so requires the confirmation box.
    bulk: fn(&Query) -> bool,
    /// The request to the runtime; `None` if the fields are not sufficient.
    act: fn(&Query) -> Option<Act>,
}

/// All actions.
const DEEDS: &[Deed] = &[
    Deed {
        name: "pause",
        bulk: of_every,
        act: |form| pausable(form).map(|(queue, class)| Act::Pause { queue, class, seconds: None }),
    },
    Deed {
        name: "resume",
        bulk: |_| false,
        act: |form| pausable(form).map(|(queue, class)| Act::Resume { queue, class }),
    },
    Deed {
        name: "cancel",
        bulk: of_class,
        act: |form| {
            let (id, class) = (form.owned("id"), form.owned("class"));
            let chosen = Chosen { uuids: id.into_iter().collect(), class, ..Chosen::default() };
            (chosen.uuids.is_empty() != chosen.class.is_none())
                .then(|| Act::CancelEverywhere(CancelJobs { chosen, ..CancelJobs::default() }))
        },
    },
    Deed {
        name: "move",
        bulk: of_class,
        act: |form| {
            let (id, class, to) = (form.owned("id"), form.owned("class"), form.owned("to"));
            let (front, now) = (form.get("front") == Some("yes"), form.get("now") == Some("yes"));
            let chosen = Chosen { uuids: id.into_iter().collect(), class, ..Chosen::default() };
            let is_one_place = [front, now, to.is_some()].into_iter().filter(|is| *is).count() == 1;
            let is_one_choice = chosen.uuids.is_empty() != chosen.class.is_none();
            (is_one_place && is_one_choice)
                .then(|| Act::MoveEverywhere(MoveJobs { chosen, front, now, to, ..MoveJobs::default() }))
        },
    },
    Deed { name: "lift", bulk: |_| false, act: |form| form.owned("class").map(|class| Act::Lift { class }) },
    Deed {
        name: "pool",
        bulk: |_| false,
        act: |form| match (form.get("size"), form.get("usual")) {
            (None, Some("yes")) => Some(Act::Pool { size: None, seconds: None }),
            (Some(size), None) => {
                let minutes =
                    form.get("minutes").map(|minutes| minutes.parse::<u64>().ok().filter(|minutes| *minutes > 0));
                let seconds = match minutes {
                    Some(minutes) => Some(minutes?.saturating_mul(60)),
                    None => None,
                };
                Some(Act::Pool { size: Some(size.parse().ok()?), seconds })
            }
            _ => None,
        },
    },
    Deed { name: "retry", bulk: of_class, act: |form| failed(form).map(Act::RetryFailed) },
    Deed { name: "forget", bulk: of_class, act: |form| failed(form).map(Act::ForgetFailed) },
    Deed { name: "broken", bulk: |_| false, act: |form| broken::read(form, BrokenAct::List) },
    Deed { name: "requeue", bulk: broken::of_queue, act: |form| broken::read(form, BrokenAct::Requeue) },
    Deed { name: "drop", bulk: broken::of_queue, act: |form| broken::read(form, BrokenAct::Drop) },
];

fn of_every(form: &Query) -> bool {
    form.get("every").is_some()
}

/// What to pause or resume: a queue, a class, or, with neither, the whole app. A form gives exactly one of them.
fn pausable(form: &Query) -> Option<(Option<String>, Option<String>)> {
    match (form.owned("queue"), form.owned("class"), form.get("every")) {
        (None, None, Some("yes")) => Some((None, None)),
        (queue, class, None) if queue.is_some() != class.is_some() => Some((queue, class)),
        _ => None,
    }
}

fn of_class(form: &Query) -> bool {
    form.get("class").is_some()
}

fn failed(form: &Query) -> Option<FailedJobs> {
    let jobs = FailedJobs { id: form.owned("id"), class: form.owned("class") };
    (jobs.id.is_some() != jobs.class.is_some()).then_some(jobs)
}

/// The request of a form.
///
/// # Errors
/// Why it is not valid, as a fixed text.
pub fn read(deed: &str, form: &Query) -> Result<Act, &'static str> {
    let deed = DEEDS.iter().find(|known| known.name == deed).ok_or("unknown action")?;
    if (deed.bulk)(form) && form.get("sure") != Some("yes") {
        return Err("nothing was done: tick the box to confirm");
    }
    (deed.act)(form).ok_or("the form has missing, invalid or conflicting fields")
}

/// Parses a runtime's answer to an action.
///
/// # Errors
/// Why the action was not done.
pub fn told(answer: Option<&[u8]>) -> Result<Acted, String> {
    #[derive(Deserialize)]
    struct Unable {
        unable: Option<String>,
        refused: Option<bool>,
    }
    let bytes = answer.ok_or("the runtime is starting, stopping, or too busy to answer")?;
    match serde_json::from_slice(bytes) {
        Ok(Unable { unable: Some(why), .. }) => return Err(why),
        Ok(Unable { refused: Some(_), .. }) => return Err("permission denied by the runtime".to_owned()),
        _ => {}
    }
    Ok(serde_json::from_slice(bytes).map_err(|_| "the runtime sent an invalid reply")?)
}

/// The page with the outcome of a form: its HTTP status and HTML.
pub fn outcome(mount: &Mount, form: &Query, done: &Result<Acted, String>) -> (u16, String) {
    let (title, status) = if done.is_ok() { ("Done", 200) } else { ("Not done", 409) };
    let body = html! {
        section class=(if done.is_ok() { "card" } else { "card trouble" }) aria-labelledby="outcome" {
            h1 #outcome { (title) }
            @match done {
                Ok(acted) => ul.said { @for line in acted.said.iter().take(LINES) { li { (text(line)) } } },
                Err(why) => p { (text(why)) },
            }
            @if let Ok(acted) = done { (broken::messages(mount, form, &acted.broken)) }
            p { a.button href=(back(mount, form)) { "Back" } }
        }
    };
    (status, frame::bare(mount, title, &body).into_string())
}

/// Link to the page that had the form; always a page of the app.
fn back(mount: &Mount, form: &Query) -> String {
    let (path, query) = form.get("back").and_then(|back| back.split_once('?')).unwrap_or_default();
    let view = View::at(path).unwrap_or(View::Overview);
    let query = Query::parse(query);
    mount.link(view.path(), &query.fields().collect::<Vec<_>>())
}

/// A button for an action; empty if the viewer may not act. `sure` is the label of a required confirmation box.
pub(crate) fn button(page: &Page<'_>, deed: &str, word: &str, fields: &[(&str, &str)], sure: Option<&str>) -> Markup {
    let sure = sure.map(|sure| html! { label { input type="checkbox" name="sure" value="yes" required; (sure) } });
    form(page, deed, word, fields, &sure.unwrap_or_default())
}

/// A form for an action, with inputs to fill in; empty if the viewer may not act.
fn form(page: &Page<'_>, deed: &str, word: &str, fields: &[(&str, &str)], inputs: &Markup) -> Markup {
    let back = format!("{}?{}", page.view.path(), crate::query::encoded(page.query.fields()));
    form_at(page.mount, &back, deed, word, fields, inputs)
}

/// The same, with a link back to the page `back`.
pub(crate) fn form_at(
    mount: &Mount,
    back: &str,
    deed: &str,
    word: &str,
    fields: &[(&str, &str)],
    inputs: &Markup,
) -> Markup {
    let Some(token) = mount.token() else { return html! {} };
    html! {
        form.act method="post" action=(mount.page(&format!("act/{deed}"))) {
            @if !token.is_empty() { input type="hidden" name="_token" value=(text(token)); }
            @for (name, value) in fields { input type="hidden" name=(name) value=(text(value)); }
            input type="hidden" name="back" value=(back);
            (inputs)
            button { (word) }
        }
    }
}

/// A button that pauses or resumes a queue, or resumes all queues if they were paused together.
pub(crate) fn of_queue(page: &Page<'_>, queue: &str) -> Markup {
    let known = page.answers.snapshot.queues.iter().find(|known| known.name == queue);
    match known {
        Some(known) if !known.paused => button(page, "pause", "Pause", &[("queue", queue)], None),
        Some(known) if known.paused_by.as_ref().is_some_and(is_of_app) => resume_all(page),
        // A pause made by the app is resumed by the app.
        Some(known) if known.paused_by.as_ref().is_none_or(|paused| paused.by == "operator") => {
            button(page, "resume", "Resume", &[("queue", queue)], None)
        }
        _ => html! {},
    }
}

/// A button that pauses or resumes all queues.
pub(crate) fn of_app(page: &Page<'_>) -> Markup {
    let mut pauses = page.answers.snapshot.queues.iter().filter_map(|queue| queue.paused_by.as_ref());
    html! {
        div #app-acts {
            @if pauses.any(is_of_app) { (resume_all(page)) }
            @else { (button(page, "pause", "Pause all", &[("every", "yes")], Some("all queues of this app"))) }
        }
    }
}

fn resume_all(page: &Page<'_>) -> Markup {
    button(page, "resume", "Resume all", &[("every", "yes")], None)
}

/// Whether an operator has paused the whole app.
fn is_of_app(paused: &Paused) -> bool {
    paused.by == "operator" && paused.every
}

/// Buttons that move or cancel a job which has not ended.
pub(crate) fn of_waiting(page: &Page<'_>, uuid: &str, state: JobState) -> Markup {
    let (first, word) = if state == JobState::Delayed { ("now", "Run now") } else { ("front", "To the front") };
    html! {
        @if state != JobState::Running {
            (button(page, "move", word, &[("id", uuid), (first, "yes")], None))
            (form(page, "move", "Move", &[("id", uuid)], &to_queue(page)))
        }
        (button(page, "cancel", "Cancel", &[("id", uuid)], None))
    }
}

/// An input for the name of a queue, with the app's queues as suggestions.
fn to_queue(page: &Page<'_>) -> Markup {
    html! {
        label { "to queue " input type="text" name="to" list="queues" required maxlength="200"; }
        datalist #queues { @for queue in &page.answers.snapshot.queues { option value=(text(&queue.name)) {} } }
    }
}

/// Buttons that pause or resume a class, move, cancel, retry or forget its jobs, and lift its quarantine.
pub(crate) fn of_class_page(page: &Page<'_>, class: &str, quarantined: bool) -> Markup {
    let (deed, word) = if classes::pause_of(page, class).is_some() { ("resume", "Resume") } else { ("pause", "Pause") };
    let fields = [("class", class)];
    html! {
        (button(page, deed, word, &fields, None))
        @if quarantined { (button(page, "lift", "Lift quarantine", &fields, None)) }
        (form(page, "move", "Move jobs", &fields, &html! {
            (to_queue(page))
            label { input type="checkbox" name="sure" value="yes" required; "all queued jobs of this class" }
        }))
        (button(page, "cancel", "Cancel jobs", &fields, Some("all queued and running jobs of this class")))
        (button(page, "retry", "Retry failed jobs", &fields, Some("all failed jobs of this class")))
        (button(page, "forget", "Forget failed jobs", &fields, Some("all failed jobs of this class")))
    }
}

/// Forms that limit the pool's size, for some time or for good, and that return to the settings.
pub(crate) fn of_pool(page: &Page<'_>) -> Markup {
    let snapshot = &page.answers.snapshot;
    let most = snapshot.settings.get("pool_max_size").and_then(serde_json::Value::as_u64);
    let inputs = html! {
        label { "workers " input type="number" name="size" min="1" max=[most] required; }
        label { "minutes " input type="number" name="minutes" min="1" placeholder="until reset"; }
    };
    html! {
        div #pool-acts {
            (form(page, "pool", "Limit the pool", &[], &inputs))
            @if snapshot.pool.is_some() { (button(page, "pool", "Use the configured size", &[("usual", "yes")], None)) }
        }
    }
}
