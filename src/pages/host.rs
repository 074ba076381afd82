//! The page of all apps of a host.

use kqueue_control::{Series, Snapshot, State};
use maud::{Markup, html};

use crate::chart::{Values, spark};
use crate::format::{number, percent, rate, seconds, short};
use crate::parts::{empty, per_minute, pill, scrolling};
use crate::{Moment, Mount, frame};

/// Maximum apps listed.
const MOST: usize = 500;

/// The state of one app.
#[derive(Clone, Debug, Default)]
pub struct AppCard {
    /// Its name.
    pub app: String,
    /// Its snapshot; `None` if it does not run or does not answer.
    pub snapshot: Option<Snapshot>,
    /// Its last hour; without points if unknown.
    pub hour: Series,
    /// Its state as text, if it has no snapshot.
    pub words: String,
    /// It should run and answer, and does not.
    pub is_bad: bool,
}

impl AppCard {
    fn state(&self) -> &'static str {
        match &self.snapshot {
            Some(snapshot) => snapshot.state.as_str(),
            None if self.is_bad => "down",
            None => "stopped",
        }
    }

    /// Its urgency; 0 is the highest.
    fn weight(&self) -> u8 {
        match (&self.snapshot, self.is_bad) {
            (None, true) => 0,
            (Some(Snapshot { state: State::Degraded, .. }), _) => 1,
            (Some(Snapshot { state: State::Running, .. }), _) => 3,
            (Some(_), _) => 2,
            (None, false) => 4,
        }
    }
}

/// The page of all apps, those in trouble first.
pub fn host(mount: &Mount, _moment: &Moment, cards: &[AppCard]) -> String {
    let mut cards: Vec<&AppCard> = cards.iter().collect();
    cards.sort_by_key(|card| (card.weight(), card.app.as_str()));
    let bad = cards.iter().filter(|card| card.weight() < 2).count();
    let body = html! {
        section aria-labelledby="apps" {
            h1 #apps { "Apps" }
            p.lead #state data-live role="status" {
                (cards.len()) @if cards.len() == 1 { " app, " } @else { " apps, " }
                @if bad == 0 { "none in trouble" } @else { strong.bad { (bad) " in trouble" } }
            }
            div #app-list data-live {
                @if cards.is_empty() { (empty("There is no app: create one with kqueue init.")) } @else { (list(mount, &cards)) }
            }
        }
    };
    frame::host(mount, &body).into_string()
}

fn list(mount: &Mount, cards: &[&AppCard]) -> Markup {
    let table = html! {
        table.apps {
            caption.sr { "Apps, those in trouble first" }
            thead {
                tr {
                    th scope="col" { "App" } th scope="col" { "State" } th.num scope="col" { "Waiting" } th.num scope="col" { "Oldest wait" }
                    th.num scope="col" { "Running" } th.num scope="col" { "Per second" } th.num scope="col" { "Failed in 1 h" } th scope="col" { "Last hour" }
                }
            }
            tbody { @for card in cards.iter().take(MOST) { (row(mount, card)) } }
        }
    };
    scrolling("Apps", table)
}

fn row(mount: &Mount, card: &AppCard) -> Markup {
    let name = short(&card.app, 60);
    let snapshot = card.snapshot.as_ref();
    let count = |of: fn(&Snapshot) -> u64| snapshot.map_or_else(crate::format::none, |snapshot| number(of(snapshot)));
    let sum = |of: fn(&kqueue_control::Figures) -> u64| {
        card.hour.points.iter().map(|point| of(&point.figures)).fold(0, u64::saturating_add)
    };
    let (runs, failed) = (sum(kqueue_control::Figures::runs), sum(crate::parts::failed));
    let oldest = snapshot.filter(|snapshot| snapshot.waiting > 0).and_then(crate::overview::oldest);
    let why = snapshot
        .and_then(|snapshot| snapshot.reason.as_deref())
        .or((!card.words.is_empty()).then_some(card.words.as_str()));
    html! {
        tr {
            th scope="row" {
                a.plain href=(mount.root(&format!("app/{name}/"))) { (name) }
                @if let Some(why) = why { span class=(if card.weight() < 2 { "cause" } else { "of" }) { (short(why, 200)) } }
            }
            td { (pill(card.state())) }
            td.num { (count(|snapshot| snapshot.waiting)) }
            td.num { (oldest.map_or_else(crate::format::none, seconds)) }
            td.num { (count(|snapshot| snapshot.running as u64)) }
            td.num { (snapshot.map_or_else(crate::format::none, |snapshot| rate(snapshot.rate))) }
            td.num class=[(failed > 0).then_some("bad")] { @if card.hour.points.is_empty() { "–" } @else { (number(failed)) @if failed > 0 { span.of { " " (percent(failed, runs)) } } } }
            td.spark { (spark(&Values::of("jobs", "done", &card.hour, |point| Some(per_minute(point.figures.runs(), &card.hour))))) }
        }
    }
}
