//! The journal: fields as they are named (`kqueue_job` becomes `KQUEUE_JOB`), `KQUEUE_APP` on every record of a
//! process that serves one app.
//!
//! Records are sent by the thread of an [`Outlet`]: the journal's socket blocks whoever writes to it while the journal
//! hangs.

use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixDatagram;
use std::sync::OnceLock;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use nix::sys::stat::fstat;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::outlet::{Outlet, Sink};

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// The journal of this process, once it logs there.
static JOURNAL: OnceLock<Journal> = OnceLock::new();

/// A layer for the journal.
#[derive(Clone, Debug)]
pub struct Journal {
    outlet: Outlet,
    /// What is on every record.
    constant: Vec<u8>,
}

/// A layer for the journal where stderr is connected to it. `None` elsewhere, and where the journal's own
/// socket does not answer: stderr still does.
pub fn layer(identifier: &str, app: Option<&str>) -> Option<Journal> {
    let stream = std::env::var("JOURNAL_STREAM").ok()?;
    let stderr = fstat(io::stderr().as_fd()).ok()?;
    if !is_same(&stream, stderr.st_dev, stderr.st_ino) {
        return None;
    }
    let socket = UnixDatagram::unbound().ok()?;
    // Nothing, which the journal ignores, says whether it is there.
    socket.send_to(&[], SOCKET).ok()?;
    let journal = Journal::to(Datagrams(socket), identifier, app)?;
    let _ = JOURNAL.set(journal.clone());
    Some(journal)
}

/// Sends a record with fields whose names are not known beforehand. False where this process does not log to the
/// journal.
pub fn send(priority: u8, message: &str, fields: impl IntoIterator<Item = (String, String)>) -> bool {
    let Some(journal) = JOURNAL.get() else { return false };
    let mut record = journal.constant.clone();
    put(&mut record, "PRIORITY", &priority.to_string());
    put(&mut record, "MESSAGE", message);
    fields.into_iter().for_each(|(name, value)| put(&mut record, &name, &value));
    journal.outlet.send(record);
    true
}

impl Journal {
    fn to(sink: impl Sink, identifier: &str, app: Option<&str>) -> Option<Self> {
        let mut constant = Vec::new();
        put(&mut constant, "SYSLOG_IDENTIFIER", identifier);
        if let Some(app) = app {
            put(&mut constant, "KQUEUE_APP", app);
        }
        Some(Self { outlet: Outlet::to(sink).ok()?, constant })
    }

    /// What is on its way there.
    pub(super) fn outlet(&self) -> Outlet {
        self.outlet.clone()
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut record = self.constant.clone();
        put(&mut record, "PRIORITY", priority(metadata.level()));
        put(&mut record, "TARGET", metadata.target());
        if let Some(file) = metadata.file() {
            put(&mut record, "CODE_FILE", file);
        }
        if let Some(line) = metadata.line() {
            put(&mut record, "CODE_LINE", &line.to_string());
        }
        event.record(&mut Fields(&mut record));
        self.outlet.send(record);
    }
}

/// A finished job is no notice: journalctl prints those in bold.
fn priority(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    }
}

struct Fields<'a>(&'a mut Vec<u8>);

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        put(self.0, field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        put(self.0, field.name(), &format!("{value:?}"));
    }
}

/// Adds a field. The journal's names are capitals, digits and underscores, and begin with a capital.
fn put(record: &mut Vec<u8>, name: &str, value: &str) {
    let plain = |byte: u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_uppercase() } else { b'_' };
    let name: Vec<u8> = name.bytes().map(plain).skip_while(|byte| !byte.is_ascii_uppercase()).take(64).collect();
    if name.is_empty() {
        return;
    }
    record.extend_from_slice(&name);
    record.push(b'\n');
    record.extend_from_slice(&(value.len() as u64).to_le_bytes());
    record.extend_from_slice(value.as_bytes());
    record.push(b'\n');
}

/// The journal's socket. A record that is too long for a datagram goes in a sealed file.
struct Datagrams(UnixDatagram);

impl Datagrams {
    fn send(&self, record: &[u8]) -> io::Result<()> {
        match self.0.send_to(record, SOCKET) {
            Err(error) if error.raw_os_error() == Some(nix::errno::Errno::EMSGSIZE as i32) => self.send_file(record),
            sent => sent.map(drop),
        }
    }

    fn send_file(&self, record: &[u8]) -> io::Result<()> {
        let mut file = File::from(memfd_create(c"kqueue-log", MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_CLOEXEC)?);
        file.write_all(record)?;
        fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::all()))?;
        let (descriptors, address) = ([file.as_raw_fd()], UnixAddr::new(SOCKET)?);
        let rights = [ControlMessage::ScmRights(&descriptors)];
        sendmsg(self.0.as_raw_fd(), &[IoSlice::new(&[])], &rights, MsgFlags::empty(), Some(&address))?;
        Ok(())
    }
}

impl Sink for Datagrams {
    fn write(&mut self, records: &[Vec<u8>]) {
        for record in records {
            let _ = self.send(record);
        }
    }

    fn dropped(&self, records: u64) -> Vec<u8> {
        let mut record = Vec::new();
        put(&mut record, "PRIORITY", "4");
        put(&mut record, "MESSAGE", &format!("{records} log records before this one are lost: the journal took none"));
        record
    }
}

/// Whether `JOURNAL_STREAM` names this file. It is inherited: a child with stderr elsewhere has it too.
fn is_same(stream: &str, dev: u64, ino: u64) -> bool {
    let named = stream.split_once(':').map(|(dev, ino)| (dev.parse(), ino.parse()));
    matches!(named, Some((Ok(d), Ok(i))) if (d, i) == (dev, ino))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn journal_stream() {
        assert!(is_same("10:555", 10, 555));
        for other in ["10:556", "11:555", "", ":", "10", "a:b", "10:555:1"] {
            assert!(!is_same(other, 10, 555), "{other}");
        }
    }

    /// Passes on what it is to write, once it may.
    struct Held(mpsc::Receiver<()>, mpsc::Sender<Vec<u8>>);

    impl Sink for Held {
        fn write(&mut self, records: &[Vec<u8>]) {
            let _ = self.0.recv();
            records.iter().for_each(|record| drop(self.1.send(record.clone())));
        }

        fn dropped(&self, records: u64) -> Vec<u8> {
            records.to_string().into()
        }
    }

    /// The fields of a record.
    fn fields(mut record: &[u8]) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        while let Some(end) = record.iter().position(|byte| *byte == b'\n') {
            let length = u64::from_le_bytes(record[end + 1..end + 9].try_into().unwrap()) as usize;
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            fields.push((text(&record[..end]), text(&record[end + 9..end + 9 + length])));
            record = &record[end + 10 + length..];
        }
        fields
    }

    #[test]
    fn a_journal_that_hangs_blocks_nobody_and_gets_fields_by_name() {
        let (go, wait) = mpsc::channel();
        let (written, records) = mpsc::channel();
        let journal = Journal::to(Held(wait, written), "kqueue", Some("shop")).unwrap();
        let outlet = journal.outlet();
        let began = Instant::now();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(journal), || {
            tracing::warn!(kqueue_job = "u-1", kqueue_attempt = 2, none = None::<&str>, "two\nlines");
            let long = "x".repeat(1000);
            (0..3000).for_each(|_| tracing::info!("{long}"));
        });
        assert!(began.elapsed() < Duration::from_secs(5));
        assert!(!outlet.flush(Duration::from_millis(10)));
        drop(go);
        assert!(outlet.flush(Duration::from_secs(10)));
        let first = fields(&records.recv().unwrap());
        for (name, value) in [
            ("SYSLOG_IDENTIFIER", "kqueue"),
            ("KQUEUE_APP", "shop"),
            ("PRIORITY", "4"),
            ("MESSAGE", "two\nlines"),
            ("KQUEUE_JOB", "u-1"),
            ("KQUEUE_ATTEMPT", "2"),
        ] {
            assert!(first.contains(&(name.to_owned(), value.to_owned())), "{name}: {first:?}");
        }
        assert!(first.iter().all(|(name, _)| name != "NONE"));
        let rest: Vec<Vec<u8>> = records.try_iter().collect();
        let dropped: usize = rest.iter().find_map(|record| std::str::from_utf8(record).ok()?.parse().ok()).unwrap();
        assert_eq!(rest.len() - 1 + dropped, 3000);
    }

    #[test]
    fn names_are_the_journals() {
        let name = |name| {
            let mut record = Vec::new();
            put(&mut record, name, "");
            fields(&record).pop().map(|(name, _)| name)
        };
        assert_eq!(name("kqueue_job").as_deref(), Some("KQUEUE_JOB"));
        assert_eq!(name("log.file").as_deref(), Some("LOG_FILE"));
        assert_eq!(name("_1x").as_deref(), Some("X"));
        assert_eq!(name("_1"), None);
    }
}
