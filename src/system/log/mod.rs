//! Where log lines go: to the journal, with fields, if stderr is the journal; else to stderr as text.
//!
//! `KQUEUE_LOG` (or `RUST_LOG`) filters, as in `KQUEUE_LOG=debug` or `kqueue::backend=trace`; targets that it does not
//! name are at `info`. Job outcomes are logged with [`JobRecord`], so that all parts use the same field names. Touches
//! stderr and the journal's socket, and nothing else.

mod act;
mod human;
mod journal;
mod lines;
mod record;

use std::io::IsTerminal;
use std::time::Duration;

use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use act::{act, user};
use lines::Lines;
pub use record::{Fault, JOB_TARGET, JobRecord, message_id};

/// Whether to write colours to `stream`: a terminal that can show them, unless `NO_COLOR` is set.
pub fn has_colour(stream: &impl IsTerminal) -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    stream.is_terminal() && set("NO_COLOR").is_none() && set("TERM").is_some_and(|term| term != "dumb")
}

/// Target of what PHP prints: `KQUEUE_LOG=info,kqueue::php=off` hides it.
pub const PHP_TARGET: &str = "kqueue::php";

/// How long the end of the program waits for a stderr that is not read.
const FLUSH: Duration = Duration::from_secs(1);

/// Flushes the log at the end of the program: to be dropped last.
#[derive(Debug)]
#[must_use]
pub struct Log(Option<Lines>);

impl Drop for Log {
    fn drop(&mut self) {
        if let Some(lines) = &self.0 {
            lines.flush(FLUSH);
        }
    }
}

/// Sets up logging for the process, for the app called `app`. A second call changes nothing.
pub fn init(app: &str) -> Log {
    set_up(journal::layer("kqueue", Some(app)))
}

/// Sets up logging for a process that serves every app of the host, known in the journal as `identifier`. Each of its
/// records has the app's name itself.
pub fn init_host(identifier: &str) -> Log {
    set_up(journal::layer(identifier, None))
}

fn set_up(journal: Option<tracing_journald::Layer>) -> Log {
    let (filter, complaint) = filter(|name| std::env::var(name).ok());
    // Boxed would be simpler, but an absent layer costs nothing as it is.
    let (human, lines) = journal.is_none().then(human::Human::on_stderr).unzip();
    let lines = lines.flatten();
    let set = tracing_subscriber::registry().with(filter).with(journal).with(human).try_init();
    if let (Ok(()), Some(complaint)) = (set, complaint) {
        tracing::warn!("{complaint}");
    }
    if let Some(lines) = lines.clone() {
        flush_on_panic(lines);
    }
    Log(lines)
}

/// A panic ends the process at once.
fn flush_on_panic(lines: Lines) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        lines.flush(FLUSH);
        before(panic);
    }));
}

/// The filter from the environment, and a warning if it is invalid.
fn filter(var: impl Fn(&str) -> Option<String>) -> (EnvFilter, Option<String>) {
    let set = ["KQUEUE_LOG", "RUST_LOG"]
        .into_iter()
        .find_map(|name| Some((name, var(name).filter(|value| !value.is_empty())?)));
    let Some((name, value)) = set else {
        return (EnvFilter::new("info"), None);
    };
    match checked(&value) {
        Ok(filter) => (filter, None),
        Err(why) => (EnvFilter::new("info"), Some(format!("{name}={value:?}: {why}; using \"info\""))),
    }
}

/// Parses a filter of levels and `TARGET=LEVEL`. Targets without an entry stay at `info`, so that no filter silences
/// errors by mistake: the parser takes a lone word that is no level for a target, and turns all others off.
fn checked(value: &str) -> Result<EnvFilter, String> {
    let parts: Vec<&str> = value.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    let is_level = |part: &str| part.parse::<LevelFilter>().is_ok();
    if let Some(part) = parts.iter().find(|part| !part.contains(['=', '[']) && !is_level(part)) {
        return Err(format!("{part:?} is neither a level (off, error, warn, info, debug, trace) nor TARGET=LEVEL"));
    }
    let base = if parts.iter().any(|part| is_level(part)) { "" } else { "info," };
    EnvFilter::try_new(format!("{base}{value}")).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// A slow writer.
    struct Slow(Arc<AtomicBool>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            std::thread::sleep(Duration::from_millis(50));
            self.0.store(true, Ordering::SeqCst);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn slow() -> (Lines, Arc<AtomicBool>) {
        let written = Arc::<AtomicBool>::default();
        let lines = Lines::to(Slow(written.clone()), |_| String::new()).unwrap();
        (lines, written)
    }

    #[test]
    fn the_end_waits_for_the_last_line() {
        let (mut lines, written) = slow();
        let log = Log(Some(lines.clone()));
        lines.write_all(b"last\n").unwrap();
        drop(log);
        assert!(written.load(Ordering::SeqCst));
    }

    #[test]
    fn a_panic_waits_for_the_last_line() {
        let (mut lines, written) = slow();
        flush_on_panic(lines.clone());
        lines.write_all(b"last\n").unwrap();
        let ended = std::panic::catch_unwind(|| assert!(std::hint::black_box(false), "a panic that is meant"));
        assert!(ended.is_err() && written.load(Ordering::SeqCst));
    }

    #[test]
    fn filters() {
        let with = |pairs: &'static [(&str, &str)]| {
            let (filter, complaint) =
                filter(|name| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.to_owned()));
            (filter.to_string(), complaint)
        };
        assert_eq!(with(&[]).0, "info");
        assert_eq!(with(&[("KQUEUE_LOG", "")]).0, "info");
        assert_eq!(with(&[("RUST_LOG", "debug")]).0, "debug");
        assert_eq!(with(&[("RUST_LOG", "debug"), ("KQUEUE_LOG", "warn")]).0, "warn");
        let (used, complaint) = with(&[("KQUEUE_LOG", "kqueue=loud")]);
        assert_eq!(used, "info");
        assert!(complaint.unwrap().starts_with("KQUEUE_LOG=\"kqueue=loud\": "));
        // The parser would take it for a target, and turn everything else off.
        let (used, complaint) = with(&[("KQUEUE_LOG", "loud")]);
        assert_eq!(used, "info");
        assert!(complaint.unwrap().contains("\"loud\" is neither a level"));
        assert_eq!(with(&[("KQUEUE_LOG", "kqueue::backend=trace")]).0, "kqueue::backend=trace,info");
        assert_eq!(with(&[("KQUEUE_LOG", "error,kqueue::php=off")]).0, "kqueue::php=off,error");
    }
}
