//! `kqueue-web`: the dashboard, the metrics and the health of all apps of a host, over HTTP.
//!
//! It asks the runtimes of the apps on their control sockets, as a member of group `kqueue`, and renders what they answer
//! with `kqueue-pages`. It has no privilege and no state. What it changes it changes by a request to a
//! runtime, which decides whether its user may: a form of a page (`POST`), for those whom [`auth`] lets act.
//!
//! What it takes no one's word for:
//! - **a runtime** belongs to its app's user, who may say anything: what it says is data, escaped and bounded, never HTML
//!   ([`kqueue_pages`]); it has a few seconds to say it, and while it does not, all other apps are shown;
//! - **who asks** comes through a Unix socket whose file says who may, or through TCP with a token or a password, which only
//!   the loopback interface may do without, and only where somebody said so in many words ([`auth`]);
//! - **a browser** that is sent by another site: the name that it asked for must be one of ours, or a page of a stranger's
//!   name that leads here could be read by the stranger; and no other page may frame, load or read ours ([`guard`]).

mod apps;
mod ask;
mod auth;
mod guard;
mod health;
mod live;
mod metrics;
mod options;
mod routes;
mod serve;

use std::process::ExitCode;

use clap::Parser;

/// Settings that cannot work.
const CONFIG: u8 = 78;

/// The `kqueue-web` command: all of it.
pub fn main() -> ExitCode {
    let options = options::Options::parse();
    let log = kqueue_system::log::init_host("kqueue-web");
    let ended = serve::run(options);
    drop(log);
    let (line, code) = match ended {
        Ok(()) => return ExitCode::SUCCESS,
        Err(serve::Ended::Settings(line)) => (line, CONFIG),
        Err(serve::Ended::Io(line)) => (line, 1),
    };
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "kqueue-web: {}", kqueue_system::harmless::line(&line, 600));
    ExitCode::from(code)
}
