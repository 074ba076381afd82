//! Where log lines go: to the journal with fields where stderr is the journal, else to stderr as text.
//!
//! `KQUEUE_LOG` (or `RUST_LOG`) filters, as in `KQUEUE_LOG=debug` or `kqueue::backend=trace`; the default is
//! `info`. What became of a job is told with [`JobRecord`], so that every part names its fields alike.
//! Touches stderr and the journal's socket, and nothing else.

mod human;
mod journal;
mod record;

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use record::{Fault, JOB_TARGET, JobRecord, message_id};

/// Target of what PHP prints: `KQUEUE_LOG=info,kqueue::php=off` hides it.
pub const PHP_TARGET: &str = "kqueue::php";

/// Sets up logging for the process, for the app called `app`. A second call changes nothing.
pub fn init(app: &str) {
    set_up(journal::layer("kqueue", Some(app)));
}

/// Sets up logging for a process that serves every app of the host, known in the journal as `identifier`. Its
/// records name the app they are about themselves.
pub fn init_host(identifier: &str) {
    set_up(journal::layer(identifier, None));
}

fn set_up(journal: Option<tracing_journald::Layer>) {
    let (filter, complaint) = filter(|name| std::env::var(name).ok());
    // Boxed would be simpler, but an absent layer costs nothing as it is.
    let human = journal.is_none().then(human::Human::on_stderr);
    let set = tracing_subscriber::registry().with(filter).with(journal).with(human).try_init();
    if let (Ok(()), Some(complaint)) = (set, complaint) {
        tracing::warn!("{complaint}");
    }
}

/// The filter that the environment asks for, and what to say where it makes no sense.
fn filter(var: impl Fn(&str) -> Option<String>) -> (EnvFilter, Option<String>) {
    let set = ["KQUEUE_LOG", "RUST_LOG"]
        .into_iter()
        .find_map(|name| Some((name, var(name).filter(|value| !value.is_empty())?)));
    let Some((name, value)) = set else {
        return (EnvFilter::new("info"), None);
    };
    match EnvFilter::try_new(&value) {
        Ok(filter) => (filter, None),
        Err(error) => {
            let complaint = format!("{name}={value:?}: {error}; using \"info\"");
            (EnvFilter::new("info"), Some(complaint))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }
}
