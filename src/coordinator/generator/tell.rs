//! Error output of the generator: the journal, else the kernel's log, which the journal reads later, else stderr.
//!
//! At boot there is no journal yet, and systemd discards the output of generators.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;

use super::Fault;
use kqueue_system::harmless;
use kqueue_system::log::message_id;

const JOURNAL: &str = "/run/systemd/journal/socket";
const KERNEL: &str = "/dev/kmsg";
const IDENTIFIER: &str = "kqueue-generator";

/// Logs an error once, to the first destination that accepts it.
pub fn fault(fault: &Fault) {
    let line = harmless::whole_line(&fault.line);
    if journal(&fault.app, &line).or_else(|_| kernel(&line)).is_err() {
        stderr(&format!("{IDENTIFIER}: {line}"));
    }
}

/// Writes a line to stderr.
pub fn stderr(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn journal(app: &str, line: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    // systemd waits for the generator: it must not block.
    socket.set_nonblocking(true)?;
    socket.send_to(record(app, line).as_bytes(), JOURNAL)?;
    Ok(())
}

/// A record in the journal's native protocol, one field per line. 3 is the priority "error" and the facility "daemon".
fn record(app: &str, line: &str) -> String {
    let mut text = format!("MESSAGE={line}\nPRIORITY=3\nSYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER={IDENTIFIER}\n");
    text += &format!("MESSAGE_ID={}\n", message_id::SETTINGS);
    if !app.is_empty() {
        text += &format!("KQUEUE_APP={}\n", harmless::whole_line(app));
    }
    text
}

fn kernel(line: &str) -> io::Result<()> {
    // Without `create`: if there is no such device, no file is created.
    let mut log = OpenOptions::new().write(true).open(KERNEL)?;
    // One write is one record, of about a thousand bytes at most; 27 encodes priority "error" and facility "daemon".
    let line = harmless::line(line, 900);
    log.write_all(format!("<27>{IDENTIFIER}[{}]: {line}\n", std::process::id()).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let text = record("sh\nop", "a = b");
        assert!(text.starts_with("MESSAGE=a = b\nPRIORITY=3\n"), "{text}");
        assert!(text.ends_with("KQUEUE_APP=sh op\n"), "{text}");
    }
}
