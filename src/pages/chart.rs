//! Charts as SVG: bars and lines over time, with events marked.
//!
//! No library offers what is needed here: a plot that stretches with the page while its labels remain text of the page,
//! classes in place of colours (the stylesheet handles dark and light), a name for screen readers, and a title on each
//! column. [`table`] has the same figures in an accessible form.

use std::fmt::Write as _;

use kqueue_control::{Point, Series};
use maud::{Markup, PreEscaped, html};

use crate::Moment;
use crate::format::clock;
use crate::marks::Mark;

/// Width of the drawing, in units that scale with the page.
const WIDTH: f64 = 1_000.0;
/// Height of the drawing.
const HEIGHT: f64 = 100.0;
/// Maximum points drawn.
const POINTS: usize = 200;
/// Intervals between the labels below a chart.
const LABELS: u64 = 4;

/// The time that a chart spans, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    pub since: u64,
    pub until: u64,
    pub step: u64,
}

impl Axis {
    /// The axis of a series; `None` if that has no points or overflows.
    pub fn of(series: &Series) -> Option<Self> {
        let first = series.points.first()?.at.checked_mul(1000)?;
        let step = series.step.max(1).checked_mul(1000)?;
        let count = series.points.len().min(POINTS) as u64;
        Some(Self { since: first, until: first.checked_add(step.checked_mul(count)?)?, step })
    }

    fn x(&self, at: u64) -> f64 {
        let share = at.saturating_sub(self.since) as f64 / self.until.saturating_sub(self.since).max(1) as f64;
        share.clamp(0.0, 1.0) * WIDTH
    }
}

/// Formats a value as text.
pub type Say = fn(f64) -> String;

/// How values are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Stacked.
    Bars,
    /// Independent lines; the first one filled.
    Lines,
}

/// Values over time, one for each point; `None` if unknown.
#[derive(Debug)]
pub struct Values {
    /// Their name, for readers.
    pub name: &'static str,
    /// Their class in the stylesheet.
    pub class: &'static str,
    /// The values.
    pub values: Vec<Option<f64>>,
}

impl Values {
    /// One for each point of a series.
    pub fn of(name: &'static str, class: &'static str, series: &Series, value: impl Fn(&Point) -> Option<f64>) -> Self {
        Self::each(name, class, series.points.iter().map(value))
    }

    /// One for each of these.
    pub fn each(name: &'static str, class: &'static str, values: impl Iterator<Item = Option<f64>>) -> Self {
        Self { name, class, values: values.take(POINTS).collect() }
    }

    fn at(&self, index: usize) -> Option<f64> {
        self.values.get(index).copied().flatten().filter(|value| value.is_finite() && *value >= 0.0)
    }
}

/// A chart.
#[derive(Debug)]
pub struct Chart<'a> {
    /// What it shows.
    pub title: &'static str,
    /// How it is drawn.
    pub kind: Kind,
    /// The time that it spans.
    pub axis: Axis,
    /// Its values.
    pub all: &'a [Values],
    /// Formats a value as text.
    pub say: Say,
    /// Events to mark.
    pub marks: &'a [Mark],
}

impl Chart<'_> {
    fn count(&self) -> usize {
        self.all.iter().map(|values| values.values.len()).max().unwrap_or_default()
    }

    /// The highest value; of stacked bars, the highest sum.
    fn peak(&self) -> f64 {
        let at = |index| {
            let values = self.all.iter().filter_map(move |values| values.at(index));
            if self.kind == Kind::Bars { values.sum() } else { values.fold(0.0, f64::max) }
        };
        (0..self.count()).map(at).fold(0.0, f64::max)
    }

    /// Renders the figure with its title, drawing and labels.
    pub fn render(&self, moment: &Moment) -> Markup {
        let peak = self.peak();
        let top = nice(peak);
        let label = match peak {
            0.0 => format!("{}: nothing in this time range", self.title),
            peak => format!("{}: peak {}", self.title, (self.say)(peak)),
        };
        let span = self.axis.until.saturating_sub(self.axis.since);
        let labels = (0..=LABELS).map(|part| clock(self.axis.since + span / LABELS * part, span, &moment.zone));
        html! {
            figure.chart {
                figcaption {
                    span.title { (self.title) }
                    span.peak { @if peak > 0.0 { "peak " ((self.say)(peak)) } @else { "nothing" } }
                    span.legend {
                        @for values in self.all { span { i class=(format!("swatch {}", values.class)) {} (values.name) } }
                    }
                }
                div.plot {
                    div.y aria-hidden="true" { span { ((self.say)(top)) } span { ((self.say)(top / 2.0)) } span { "0" } }
                    svg role="img" aria-label=(label) viewBox="0 0 1000 100" preserveAspectRatio="none" {
                        (PreEscaped(r#"<path class="grid" d="M0 0H1000M0 50H1000M0 100H1000"/>"#))
                        @for mark in self.marks.iter().filter(|mark| mark.ended.is_some()) { (self.band(mark)) }
                        @match self.kind { Kind::Bars => (self.bars(top, moment)), Kind::Lines => (self.lines(top, moment)) }
                        @for mark in self.marks.iter().filter(|mark| mark.ended.is_none()) { (self.line(mark)) }
                    }
                }
                div.x aria-hidden="true" { @for label in labels { span { (label) } } }
            }
        }
    }

    fn band(&self, mark: &Mark) -> Markup {
        let (from, to) = (self.axis.x(mark.at), self.axis.x(mark.ended.unwrap_or(mark.at)));
        let (x, width) = (units(from), units((to - from).max(2.0)));
        html! { rect class=(format!("band {}", mark.class)) x=(x) y="0" width=(width) height="100" { title { (mark.said) } } }
    }

    fn line(&self, mark: &Mark) -> Markup {
        let x = units(self.axis.x(mark.at));
        html! { path class=(format!("mark {}", mark.class)) d=(format!("M{x} 0V100")) { title { (mark.said) } } }
    }

    /// The tooltip of a column.
    fn said(&self, index: usize, moment: &Moment) -> String {
        let from = self.axis.since + self.axis.step * index as u64;
        let span = self.axis.until.saturating_sub(self.axis.since);
        let mut said = clock(from, span, &moment.zone);
        for values in self.all {
            if let Some(value) = values.at(index) {
                // Writing to a String cannot fail.
                let _ = write!(said, "\n{}: {}", values.name, (self.say)(value));
            }
        }
        said
    }

    fn bars(&self, top: f64, moment: &Moment) -> Markup {
        let wide = WIDTH / self.count().max(1) as f64;
        let gap = (wide * 0.16).min(3.0);
        let rects = |index: usize| {
            let mut below = HEIGHT;
            let mut rects = Vec::new();
            for values in self.all {
                let height = values.at(index).unwrap_or_default() / top * HEIGHT;
                if height > 0.0 {
                    // Keeps a single failure among thousands visible.
                    let height = height.max(1.2).min(below);
                    below -= height;
                    rects.push((values.class, below, height));
                }
            }
            rects
        };
        html! {
            @for index in 0..self.count() {
                @let x = wide * index as f64;
                g.column {
                    title { (self.said(index, moment)) }
                    rect.hit x=(units(x)) y="0" width=(units(wide)) height="100" {}
                    @for (class, y, height) in rects(index) {
                        rect class=(class) x=(units(x + gap / 2.0)) y=(units(y)) width=(units(wide - gap)) height=(units(height)) {}
                    }
                }
            }
        }
    }

    fn lines(&self, top: f64, moment: &Moment) -> Markup {
        let wide = WIDTH / self.count().max(1) as f64;
        html! {
            @for (number, values) in self.all.iter().enumerate() {
                @if number == 0 { path class=(format!("area {}", values.class)) d=(path(values, wide, top, true)) {} }
                path class=(format!("line {}", values.class)) d=(path(values, wide, top, false)) {}
            }
            @for index in 0..self.count() {
                g.column {
                    title { (self.said(index, moment)) }
                    rect.hit x=(units(wide * index as f64)) y="0" width=(units(wide)) height="100" {}
                }
            }
        }
    }
}

/// A path through the middles of the columns, broken where a value is unknown.
fn path(values: &Values, wide: f64, top: f64, closed: bool) -> String {
    let mut path = String::new();
    let mut last: Option<f64> = None;
    for index in 0..values.values.len() {
        let x = wide * (index as f64 + 0.5);
        let Some(value) = values.at(index) else {
            if let Some(last) = last.take().filter(|_| closed) {
                let _ = write!(path, "L{} 100Z", units(last));
            }
            continue;
        };
        let y = units(HEIGHT - value / top * HEIGHT);
        let x_said = units(x);
        let _ = match last {
            Some(_) => write!(path, "L{x_said} {y}"),
            None if closed => write!(path, "M{x_said} 100L{x_said} {y}"),
            // An isolated point is a line of almost no length, visible by its round ends.
            None => write!(path, "M{x_said} {y}h.1"),
        };
        last = Some(x);
    }
    if let Some(last) = last.filter(|_| closed) {
        let _ = write!(path, "L{} 100Z", units(last));
    }
    path
}

/// A small line without labels, beside a number with the same meaning.
pub fn spark(values: &Values) -> Markup {
    let top = values.values.iter().flatten().copied().fold(0.0, f64::max).max(1.0);
    let wide = WIDTH / values.values.len().max(1) as f64;
    html! {
        svg.spark aria-hidden="true" viewBox="0 -4 1000 108" preserveAspectRatio="none" {
            path class=(format!("area {}", values.class)) d=(path(values, wide, top, true)) {}
            path class=(format!("line {}", values.class)) d=(path(values, wide, top, false)) {}
        }
    }
}

/// The figures of charts as a table, the latest first.
pub fn table(axis: &Axis, charts: &[(&[Values], Say)], moment: &Moment) -> Markup {
    let all: Vec<(&Values, Say)> =
        charts.iter().flat_map(|(all, say)| all.iter().map(|values| (values, *say))).collect();
    let count = all.iter().map(|(values, _)| values.values.len()).max().unwrap_or_default();
    let span = axis.until.saturating_sub(axis.since);
    html! {
        details.figures id="figures" {
            summary { "Charts as a table" }
            div.scroll role="region" aria-label="Figures over time" tabindex="0" {
                table {
                    caption.sr { "Figures over time, the latest first" }
                    thead { tr { th scope="col" { "From" } @for (values, _) in &all { th.num scope="col" { (values.name) } } } }
                    tbody {
                        @for index in (0..count).rev() {
                            tr {
                                th scope="row" { (clock(axis.since + axis.step * index as u64, span, &moment.zone)) }
                                @for (values, say) in &all { td.num { @match values.at(index) { Some(value) => (say(value)), None => "–" } } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A round number not below this one: 1, 2, 4, 5 or 8 times a power of ten.
fn nice(value: f64) -> f64 {
    if !value.is_finite() || value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 4.0, 5.0, 8.0, 10.0];
    steps.into_iter().map(|step| step * power).find(|step| *step >= value).unwrap_or(value)
}

/// A length in the drawing, with at most one decimal.
fn units(length: f64) -> String {
    let text = format!("{length:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    fn series(values: &[u64]) -> Series {
        let point = |(at, backlog): (usize, &u64)| Point {
            at: 6_000 + at as u64 * 60,
            backlog: Some(*backlog),
            ..Point::default()
        };
        Series { step: 60, points: values.iter().enumerate().map(point).collect(), ..Series::default() }
    }

    fn backlog(series: &Series) -> Values {
        Values::of("waiting", "backlog", series, |point| {
            point.backlog.filter(|jobs| *jobs != 404).map(|jobs| jobs as f64)
        })
    }

    #[test]
    fn bars_and_lines_stay_in_the_drawing() {
        let series = series(&[1, 0, 404, 5, u64::MAX]);
        let all = [backlog(&series)];
        let moment = Moment { now: 0, zone: TimeZone::UTC };
        for kind in [Kind::Bars, Kind::Lines] {
            let chart = Chart {
                title: "Backlog",
                kind,
                axis: Axis::of(&series).unwrap(),
                all: &all,
                say: |value| value.to_string(),
                marks: &[],
            };
            let shown = chart.render(&moment).into_string();
            assert!(shown.contains("Backlog: peak") && !shown.contains("NaN") && !shown.contains("=\"-"), "{shown}");
        }
    }

    #[test]
    fn what_is_not_known_parts_a_line() {
        let values = backlog(&series(&[1, 404, 2]));
        assert_eq!(path(&values, 100.0, 2.0, false), "M50 50h.1M250 0h.1");
        assert_eq!(path(&values, 100.0, 2.0, true), "M50 100L50 50L50 100ZM250 100L250 0L250 100Z");
    }

    #[test]
    fn a_series_of_nonsense_is_no_panic() {
        assert_eq!(Axis::of(&Series::default()), None);
        let far = Series { step: u64::MAX, points: vec![Point { at: 1, ..Point::default() }], ..Series::default() };
        assert_eq!(Axis::of(&far), None);
        let late = Series { step: 1, points: vec![Point { at: u64::MAX, ..Point::default() }], ..Series::default() };
        assert_eq!(Axis::of(&late), None);
        assert_eq!((nice(0.0), nice(f64::INFINITY), nice(37.0), nice(0.3)), (1.0, 1.0, 40.0, 0.4));
    }
}
