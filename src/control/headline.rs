//! The state of a runtime in one line: `STATUS=` for the service manager, and the first line of `kqueue status`. Pure.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::{Snapshot, State};
use kqueue_system::harmless;

/// Maximum length of each list of paused queues or classes, in bytes.
const NAMES: usize = 200;

impl Snapshot {
    /// Computes `waiting`, `delayed`, `state`, `remedy` and `status` from the other fields, which must be set before.
    pub fn conclude(&mut self) {
        let sizes = || self.queues.iter().filter_map(|queue| queue.sizes.as_ref());
        let here = self.held.saturating_sub(self.running) as u64;
        let (pending, delayed) = sizes().fold((0, 0), |(pending, delayed), sizes| {
            (sizes.pending.saturating_add(pending), sizes.delayed.saturating_add(delayed))
        });
        self.waiting = pending.saturating_add(here);
        self.delayed = delayed;
        let may_degrade = matches!(self.state, State::Running | State::Maintenance | State::Paused);
        if may_degrade && self.reason.is_some() {
            self.state = State::Degraded;
        }
        self.remedy = self.remedy.take().or_else(|| match self.state {
            State::Maintenance => Some("php artisan up".to_owned()),
            State::Paused => {
                let queue = self.queues.iter().find(|queue| queue.paused)?;
                let by = queue.paused_by.clone().unwrap_or_default();
                Some(by.remedy(&self.app, &self.connection, &queue.name))
            }
            _ => None,
        });
        self.status = self.headline();
    }

    fn headline(&self) -> String {
        let Self { app, state, running, waiting, .. } = self;
        let mut line = format!("{app}: ");
        // Writing to a String cannot fail.
        let _ = match state {
            State::Starting | State::Unknown => write!(line, "{}", state.as_str()),
            State::Draining | State::Stopping => write!(line, "{}: {running} running", state.as_str()),
            State::Maintenance => write!(line, "maintenance mode, {running} running{}", self.held_up()),
            State::Paused => write!(line, "paused, {running} running{}", self.held_up()),
            State::Degraded => {
                let reason = self.reason.as_deref().unwrap_or("no reason known");
                write!(line, "degraded: {reason}; {running} running, {waiting} waiting{}", self.flow())
            }
            State::Running if self.asleep.is_some() => {
                let since = moment(self.asleep.unwrap_or_default());
                write!(line, "asleep since {since}, {waiting} waiting{}", self.flow())
            }
            State::Running => write!(line, "{running} running, {waiting} waiting{}", self.flow()),
        };
        if matches!(state, State::Running | State::Degraded | State::Maintenance) {
            let paused: Vec<&str> =
                self.queues.iter().filter(|queue| queue.paused).map(|queue| queue.name.as_str()).collect();
            if !paused.is_empty() {
                let _ = write!(line, ", paused: {}", harmless::line(&paused.join(","), NAMES));
            }
        }
        if !self.paused_classes.is_empty() && !matches!(state, State::Draining | State::Stopping) {
            let short = |name: &str| name.rsplit('\\').next().unwrap_or(name).to_owned();
            let classes: Vec<String> = self.paused_classes.iter().map(|paused| short(&paused.class)).collect();
            let _ = write!(line, ", paused classes: {}", harmless::line(&classes.join(","), NAMES));
        }
        if matches!(state, State::Running | State::Maintenance | State::Paused) {
            let _ = write!(line, ", {} ok", self.connection);
        }
        line
    }

    /// The number of jobs that wait for a command, and the command.
    fn held_up(&self) -> String {
        let remedy = self.remedy.as_deref().unwrap_or_default();
        match self.waiting {
            0 => String::new(),
            1 => format!(", 1 job waits: {remedy}"),
            jobs => format!(", {jobs} jobs wait: {remedy}"),
        }
    }

    fn flow(&self) -> String {
        let oldest = self.oldest().filter(|seconds| *seconds >= 1.0);
        let oldest = oldest.map(|seconds| format!(" (the oldest for {})", age(seconds))).unwrap_or_default();
        let delayed = if self.delayed > 0 { format!(", {} delayed", self.delayed) } else { String::new() };
        let failed = if self.failed_hour > 0 { format!(", {} failed in 1 h", self.failed_hour) } else { String::new() };
        format!("{oldest}{delayed}, {}/s{failed}", rate(self.rate))
    }

    /// How long the oldest due job of all queues has waited, in seconds.
    pub fn oldest(&self) -> Option<f64> {
        self.queues.iter().filter_map(|queue| queue.oldest).max_by(f64::total_cmp)
    }
}

/// A time in the local time zone, `2026-11-30 14:55:18`.
fn moment(epoch: u64) -> String {
    let moment = i64::try_from(epoch).ok().and_then(|epoch| Timestamp::from_second(epoch).ok()).unwrap_or_default();
    moment.to_zoned(TimeZone::system()).strftime("%F %T").to_string()
}

/// A readable age, in one unit.
fn age(seconds: f64) -> String {
    match seconds as u64 {
        whole @ 0..120 => format!("{whole} s"),
        whole @ 120..7_200 => format!("{} min", whole / 60),
        whole @ 7_200..172_800 => format!("{} h", whole / 3_600),
        whole => format!("{} d", whole / 86_400),
    }
}

/// A readable rate: `41`, `1.5`, `0`.
fn rate(rate: f64) -> String {
    let tenths = (rate * 10.0).round();
    if rate >= 10.0 || tenths == 0.0 { format!("{rate:.0}") } else { format!("{:.1}", tenths / 10.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Queue, Sizes};

    fn queue(name: &str, pending: u64, delayed: u64, paused: bool) -> Queue {
        let sizes = Some(Sizes { pending, delayed, reserved: 3, estimated: false });
        Queue { name: name.to_owned(), paused, sizes, ..Queue::default() }
    }

    fn shop(state: State) -> Snapshot {
        let connection = "redis".to_owned();
        Snapshot { app: "shop".to_owned(), state, connection, running: 3, held: 5, rate: 41.3, ..Snapshot::default() }
    }

    fn status(mut snapshot: Snapshot) -> String {
        snapshot.conclude();
        snapshot.status
    }

    #[test]
    fn the_whole_backlog_counts() {
        let queues = vec![queue("high", 1_700, 0, false), queue("default", 1, 4, false)];
        let mut shop = Snapshot { queues, ..shop(State::Running) };
        shop.conclude();
        assert_eq!(shop.status, "shop: 3 running, 1703 waiting, 4 delayed, 41/s, redis ok");
        assert_eq!((shop.state, shop.waiting, shop.delayed), (State::Running, 1_703, 4));
    }

    #[test]
    fn how_long_the_oldest_waits_and_what_failed() {
        let mut queues = vec![queue("high", 3, 0, false), queue("default", 1, 4, false)];
        let ages = |queues: &mut Vec<Queue>, ages: [f64; 2]| {
            queues.iter_mut().zip(ages).for_each(|(queue, age)| queue.oldest = Some(age));
        };
        ages(&mut queues, [0.2, 725.0]);
        let told = Snapshot { queues: queues.clone(), failed_hour: 2, ..shop(State::Running) };
        assert_eq!(
            status(told),
            "shop: 3 running, 6 waiting (the oldest for 12 min), 4 delayed, 41/s, 2 failed in 1 h, redis ok"
        );
        ages(&mut queues, [0.2, 0.9]);
        let told = Snapshot { queues, failed_hour: 0, ..shop(State::Running) };
        assert_eq!(status(told), "shop: 3 running, 6 waiting, 4 delayed, 41/s, redis ok");
        assert_eq!([5.0, 7_200.0, 200_000.0].map(age), ["5 s", "2 h", "2 d"]);
    }

    #[test]
    fn a_reason_degrades_what_would_work() {
        let reason = Some("redis has not answered for 12 s".to_owned());
        let degraded = Snapshot { reason: reason.clone(), rate: 0.04, ..shop(State::Running) };
        assert_eq!(status(degraded), "shop: degraded: redis has not answered for 12 s; 3 running, 2 waiting, 0/s");
        let mut down = Snapshot { reason: reason.clone(), ..shop(State::Maintenance) };
        down.conclude();
        assert_eq!(down.state, State::Degraded);
        let draining = Snapshot { reason, running: 2, ..shop(State::Draining) };
        assert_eq!(status(draining), "shop: draining: 2 running");
    }

    #[test]
    fn what_waits_for_a_command_names_it() {
        let down = |pending| Snapshot {
            running: 0,
            held: 0,
            queues: vec![queue("default", pending, 9, false)],
            ..shop(State::Maintenance)
        };
        assert_eq!(status(down(0)), "shop: maintenance mode, 0 running, redis ok");
        assert_eq!(status(down(1)), "shop: maintenance mode, 0 running, 1 job waits: php artisan up, redis ok");
        let queues = vec![queue("default", 2, 0, true)];
        let paused = Snapshot { running: 0, held: 0, queues: queues.clone(), ..shop(State::Paused) };
        let resume = "php artisan queue:resume redis:default (or --all)";
        assert_eq!(status(paused), format!("shop: paused, 0 running, 2 jobs wait: {resume}, redis ok"));
        let remedy = Some("php artisan horizon:continue".to_owned());
        let held = Snapshot { running: 1, held: 1, queues, remedy, ..shop(State::Paused) };
        assert_eq!(status(held), "shop: paused, 1 running, 2 jobs wait: php artisan horizon:continue, redis ok");
    }

    #[test]
    fn sleep_is_well() {
        let asleep = Snapshot { running: 0, held: 0, rate: 0.0, asleep: Some(1_000), ..shop(State::Running) };
        let said = status(asleep.clone());
        let words = format!("shop: asleep since {}, 0 waiting, 0/s, redis ok", moment(1_000));
        assert_eq!(said, words);
        let silent = Snapshot { reason: Some("redis does not answer".to_owned()), ..asleep };
        assert!(status(silent).starts_with("shop: degraded: redis"));
    }

    #[test]
    fn some_queues_may_be_paused() {
        let queues = vec![queue("a", 0, 0, true), queue("b", 0, 0, false)];
        let shop = Snapshot { queues, rate: 1.26, ..shop(State::Running) };
        assert_eq!(status(shop), "shop: 3 running, 2 waiting, 1.3/s, paused: a, redis ok");
    }
}
