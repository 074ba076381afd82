//! Writes to stdout and stderr without the panic of `println!` on a closed pipe.

use std::io::{self, ErrorKind, Write};

use kqueue_system::harmless;

/// Writes all of `text` to stdout. A closed pipe (`| head`) is not an error.
///
/// # Errors
/// Other failures to write, such as a full disk.
pub fn out(text: &str) -> io::Result<()> {
    is_read(text).map(|_| ())
}

/// Writes all of `text` to stdout; false if the pipe is closed.
///
/// # Errors
/// As [`out`].
pub fn is_read(text: &str) -> io::Result<bool> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        result => result.map(|()| true),
    }
}

/// Writes one line to stderr. Errors are ignored, as there is nowhere to report them.
pub fn err(line: &str) {
    // One line per error, whatever a path or reason contains; one write, so that lines do not mix.
    let mut text = harmless::whole_line(line);
    text.push('\n');
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
