//! Writing to stdout and stderr without the panic of `println!` where nobody reads any more.

use std::io::{self, ErrorKind, Write};

use kqueue_system::harmless;

/// Writes all of `text` to stdout. A reader that went away (`| head`) is no error.
///
/// # Errors
/// A disk that is full, and the like: the output is not what was asked for.
pub fn out(text: &str) -> io::Result<()> {
    is_read(text).map(|_| ())
}

/// Writes all of `text` to stdout, and says whether anybody reads it still.
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

/// Writes one line to stderr. Errors are dropped: there is no other place to tell them.
pub fn err(line: &str) {
    // One line for one error, whatever is in a path or a reason; one write, so that lines do not mix.
    let mut text = harmless::whole_line(line);
    text.push('\n');
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
