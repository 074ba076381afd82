//! Human-readable log: one aligned line for each job, lines such as `warning: …` for other events.
//!
//! ```text
//! 14:02:11  App\Jobs\SendMail               inline      12 ms  done
//! 14:02:12  App\Jobs\Import                 isolated   4.1 s   failed: oom-kill at 512 MB (attempt 2)
//! 14:02:13  warning: redis at 127.0.0.1:6379: connection refused
//! ```
//! A terminal gets the time of day and colours (unless `NO_COLOR` is set); anything else gets a full date.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use jiff::Zoned;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::PHP_TARGET;
use super::lines::Lines;
use super::record::JOB_TARGET;
use crate::harmless;

/// Columns for a class at first; they grow with the longest class seen, up to a bound.
const CLASS_LEAST: usize = 30;
const CLASS_MOST: usize = 60;

/// The tracing layer. Writes each line with one call, so that lines of several processes do not mix.
#[derive(Debug)]
pub struct Human<W> {
    out: Mutex<W>,
    terminal: bool,
    colour: bool,
    clock: fn() -> Zoned,
    class_width: AtomicUsize,
}

impl Human<Box<dyn Write + Send>> {
    /// Logs to stderr, formatted for a terminal or a file. Also returns the queue of lines, to be flushed at exit;
    /// `None` if its thread cannot be started.
    pub fn on_stderr() -> (Self, Option<Lines>) {
        let terminal = io::stderr().is_terminal();
        let lines = Lines::to(io::stderr(), if terminal { dropped::<true> } else { dropped::<false> }).ok();
        // Without the thread, blocking on a stalled reader is better than losing log lines.
        let out: Box<dyn Write + Send> = match &lines {
            Some(lines) => Box::new(lines.clone()),
            None => Box::new(io::stderr()),
        };
        (Self::new(out, terminal, super::has_colour(&io::stderr()), Zoned::now), lines)
    }
}

/// Timestamp at the start of a line.
fn stamp(terminal: bool, now: &Zoned) -> String {
    let format = if terminal { "%H:%M:%S" } else { "%Y-%m-%dT%H:%M:%S%:z" };
    format!("{}  ", now.strftime(format))
}

fn dropped<const TERMINAL: bool>(lines: u64) -> String {
    let stamp = stamp(TERMINAL, &Zoned::now());
    format!("{stamp}warning: {lines} log lines before this one were dropped: stderr was not read")
}

impl<W: Write> Human<W> {
    fn new(out: W, terminal: bool, colour: bool, clock: fn() -> Zoned) -> Self {
        Self { out: Mutex::new(out), terminal, colour, clock, class_width: AtomicUsize::new(CLASS_LEAST) }
    }

    fn line(&self, event: &Event<'_>) -> String {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut line = stamp(self.terminal, &(self.clock)());
        // Writing to a String cannot fail.
        let _ = match (event.metadata().target(), &fields.outcome) {
            (JOB_TARGET, Some(outcome)) => self.job(&mut line, &fields, outcome),
            // A terminal gets only what was printed; a file gets the fields too, so that it can be searched.
            (PHP_TARGET, _) if self.terminal => self.other(&mut line, &fields, "", *event.metadata().level()),
            (PHP_TARGET, _) if !fields.tier.is_empty() => {
                let rest = format!("{} tier={}", fields.rest, fields.tier);
                self.other(&mut line, &fields, &rest, *event.metadata().level())
            }
            _ => self.other(&mut line, &fields, &fields.rest, *event.metadata().level()),
        };
        line.push('\n');
        line
    }

    fn job(&self, line: &mut String, fields: &Fields, outcome: &str) -> fmt::Result {
        let class = if fields.class.is_empty() { "(unknown class)" } else { &fields.class };
        let own = class.chars().count().min(CLASS_MOST);
        let width = self.class_width.fetch_max(own, Ordering::Relaxed).max(own);
        write!(line, "{class:<width$}  {:<8}  {:>9}  ", fields.tier, took(fields.ms))?;
        let colour = match outcome {
            "done" => "32",
            "released" | "left" | "lost" => "33",
            _ => "1;31",
        };
        self.coloured(line, colour, outcome)?;
        if !fields.cause.is_empty() {
            write!(line, ": {}", fields.cause)?;
        }
        if fields.attempt > 1 {
            write!(line, " (attempt {})", fields.attempt)?;
        }
        Ok(())
    }

    fn other(&self, line: &mut String, fields: &Fields, rest: &str, level: Level) -> fmt::Result {
        match level {
            Level::ERROR => self.coloured(line, "1;31", "error: ")?,
            Level::WARN => self.coloured(line, "33", "warning: ")?,
            // Info is the usual level and needs no label.
            Level::INFO => {}
            Level::DEBUG => line.push_str("debug: "),
            Level::TRACE => line.push_str("trace: "),
        }
        write!(line, "{}{rest}", fields.message)
    }

    fn coloured(&self, line: &mut String, code: &str, text: &str) -> fmt::Result {
        if self.colour { write!(line, "\x1b[{code}m{text}\x1b[0m") } else { line.write_str(text) }
    }
}

impl<S, W> Layer<S> for Human<W>
where
    S: Subscriber,
    W: Write + 'static,
{
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = self.line(event);
        // A closed stderr must not end the runtime, and there is nowhere to report the error.
        let _ = self.out.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
    }
}

/// `3.2 ms`, `12 ms`, `14.0 s`, `7.5 min`: few digits, and the unit tells slow from fast at a glance.
fn took(ms: Option<f64>) -> String {
    match ms {
        None => String::new(),
        Some(ms) if ms < 9.95 => format!("{ms:.1} ms"),
        Some(ms) if ms < 9_999.5 => format!("{ms:.0} ms"),
        Some(ms) if ms < 600_000.0 => format!("{:.1} s", ms / 1000.0),
        Some(ms) => format!("{:.1} min", ms / 60_000.0),
    }
}

#[derive(Default)]
struct Fields {
    class: String,
    tier: String,
    ms: Option<f64>,
    outcome: Option<String>,
    attempt: u64,
    cause: String,
    message: String,
    rest: String,
}

impl Fields {
    fn text(&mut self, name: &str, value: &str) {
        // Names and messages come from the app and its users: control characters are replaced, so that no escape
        // sequence reaches a terminal and no line break forges a record.
        let clean = harmless::whole_line(value);
        match name {
            "kqueue_class" => self.class = clean,
            "kqueue_tier" => self.tier = clean,
            "kqueue_outcome" => self.outcome = Some(clean),
            "kqueue_cause" => self.cause = clean,
            "kqueue_attempt" => self.attempt = clean.parse().unwrap_or_default(),
            "kqueue_ms" => self.ms = clean.parse().ok(),
            "message" => self.message = clean,
            // Only for the journal.
            "kqueue_app" | "message_id" => {}
            _ => {
                let name = name.strip_prefix("kqueue_").unwrap_or(name);
                let space = if clean.is_empty() || clean.contains(' ') { "\"" } else { "" };
                let _ = write!(self.rest, " {name}={space}{clean}{space}");
            }
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.text(field.name(), &value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field.name(), &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tracing_subscriber::layer::SubscriberExt;

    use super::super::record::JobRecord;
    use super::*;
    use kqueue_core::schedule::Outcome;
    use kqueue_core::schedule::{Cause, Reason};

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn clock() -> Zoned {
        "2025-11-22T14:02:11+01:00[+01:00]".parse().unwrap()
    }

    fn capture(terminal: bool, colour: bool, log: impl FnOnce()) -> String {
        let out = Captured::default();
        let layer = Human::new(out.clone(), terminal, colour, clock);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let bytes = out.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    const JOB: JobRecord<'_> = JobRecord {
        job: "0191d1a4-0000-7000-8000-000000000000",
        class: r"App\Jobs\SendMail",
        queue: "default",
        tier: "inline",
        attempt: 1,
        took: Duration::from_millis(12),
        outcome: Outcome::Done,
        fault: None,
        memory_peak: None,
        cpu_usec: None,
        cause: None,
    };

    #[test]
    fn jobs_on_a_terminal_are_aligned() {
        let text = capture(true, false, || {
            JOB.emit();
            JobRecord {
                class: r"App\Jobs\Import",
                tier: "isolated",
                took: Duration::from_millis(14_100),
                outcome: Outcome::Failed,
                cause: Some(&Cause::OutOfMemory { limit: 512, peak: None }.into()),
                attempt: 2,
                ..JOB
            }
            .emit();
            JobRecord { class: &"x".repeat(40), took: Duration::from_micros(3210), outcome: Outcome::Left, ..JOB }
                .emit();
            JOB.emit();
        });
        let x = "x".repeat(40);
        let lines = [
            r"14:02:11  App\Jobs\SendMail               inline        12 ms  done".to_owned(),
            r"14:02:11  App\Jobs\Import                 isolated     14.1 s  failed: oom-kill at 512 MB (attempt 2)"
                .to_owned(),
            format!("14:02:11  {x}  inline       3.2 ms  left"),
            format!("14:02:11  {:<40}  inline        12 ms  done", r"App\Jobs\SendMail"),
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), lines);
    }

    #[test]
    fn colour_tells_the_outcome() {
        for (outcome, code) in [
            (Outcome::Done, "32"),
            (Outcome::Released, "33"),
            (Outcome::Left, "33"),
            (Outcome::Failed, "1;31"),
            (Outcome::Lost, "33"),
        ] {
            let text = capture(true, true, || JobRecord { outcome, ..JOB }.emit());
            assert!(text.contains(&format!("  \x1b[{code}m{}\x1b[0m", outcome.as_str())), "{text:?}");
        }
    }

    #[test]
    fn a_file_gets_the_date_and_no_colour() {
        let text = capture(false, false, || JOB.emit());
        assert!(text.starts_with(r"2025-11-22T14:02:11+01:00  App\Jobs\SendMail"), "{text}");
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn other_events() {
        let text = capture(true, false, || {
            tracing::warn!("redis is gone");
            tracing::error!(kqueue_queue = "high", reason = "two words", "no luck");
            tracing::info!(kqueue_app = "shop", message_id = "0", workers = 2, "started");
            tracing::info!(target: "kqueue::job", "no record");
        });
        let lines = [
            "14:02:11  warning: redis is gone",
            "14:02:11  error: no luck queue=high reason=\"two words\"",
            "14:02:11  started workers=2",
            "14:02:11  no record",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), lines);
    }

    #[test]
    fn what_php_prints_is_bare_on_a_terminal_and_complete_in_a_file() {
        let log = || {
            tracing::info!(target: PHP_TARGET, kqueue_job = "u", kqueue_class = "A", kqueue_tier = "inline",
                kqueue_worker = 3u64, kqueue_attempt = 2u64, "A: text");
            tracing::info!(target: PHP_TARGET, kqueue_tier = None::<&str>, kqueue_worker = None::<u64>, "text");
        };
        assert_eq!(capture(true, false, log), "14:02:11  A: text\n14:02:11  text\n");
        let file = capture(false, false, log);
        assert!(file.contains("  A: text job=u worker=3 tier=inline\n"), "{file}");
        assert!(file.ends_with("  text\n"), "{file}");
    }

    #[test]
    fn fields_from_elsewhere() {
        let text = capture(true, false, || {
            tracing::info!(target: "kqueue::job", kqueue_class = "A", kqueue_ms = 7u64, kqueue_tier = %"pooled",
                kqueue_attempt = 3u64, kqueue_outcome = "released");
            tracing::info!(target: "kqueue::job", kqueue_outcome = "done");
        });
        assert!(text.contains("pooled       7.0 ms  released (attempt 3)"), "{text}");
        assert!(text.contains("(unknown class)"), "{text}");
    }

    #[test]
    fn no_control_character_gets_through() {
        let text = capture(true, false, || {
            JobRecord {
                class: "A\x1b[2J",
                cause: Some(&Reason::Laravel("x\ny".to_owned())),
                outcome: Outcome::Failed,
                ..JOB
            }
            .emit();
            tracing::warn!("a\r\nb\x07");
        });
        assert_eq!(text.lines().count(), 2);
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    }

    #[test]
    fn a_broken_pipe_is_no_panic() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let layer = Human::new(Broken, false, false, clock);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || JOB.emit());
    }
}
