//! The journal: fields under their own names (`kqueue_job` becomes `KQUEUE_JOB`), with `KQUEUE_APP` on every record of
//! a process that serves one app.

use std::os::fd::AsFd;

use nix::sys::stat::fstat;
use tracing_journald::{Layer, Priority, PriorityMappings};

/// A layer for the journal if stderr is connected to it. `None` elsewhere, and if the journal's socket does not answer:
/// stderr still works.
pub fn layer(identifier: &str, app: Option<&str>) -> Option<Layer> {
    let stream = std::env::var("JOURNAL_STREAM").ok()?;
    let stderr = fstat(std::io::stderr().as_fd()).ok()?;
    if !is_same(&stream, stderr.st_dev, stderr.st_ino) {
        return None;
    }
    let layer = tracing_journald::layer().ok()?;
    Some(
        layer
            .with_field_prefix(None)
            .with_syslog_identifier(identifier.into())
            .with_custom_fields(app.map(|app| ("KQUEUE_APP", app)))
            // The crate's default logs each finished job as a notice, which journalctl prints in bold.
            .with_priority_mappings(PriorityMappings {
                info: Priority::Informational,
                debug: Priority::Debug,
                ..PriorityMappings::new()
            }),
    )
}

/// Whether `JOURNAL_STREAM` names this file. The variable is inherited, also by a child whose stderr is redirected.
fn is_same(stream: &str, dev: u64, ino: u64) -> bool {
    let named = stream.split_once(':').map(|(dev, ino)| (dev.parse(), ino.parse()));
    matches!(named, Some((Ok(d), Ok(i))) if (d, i) == (dev, ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn journal_stream() {
        assert!(is_same("10:555", 10, 555));
        for other in ["10:556", "11:555", "", ":", "10", "a:b", "10:555:1"] {
            assert!(!is_same(other, 10, 555), "{other}");
        }
    }
}
