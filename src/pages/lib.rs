//! The dashboard of kqueue: the web pages on an app, and on all apps of a host.
//!
//! Pure: a path and a query become a [`View`], the view names the requests it needs from a runtime ([`View::needs`]),
//! the answers are put into [`Answers`], and the view renders them. No clock, no I/O, no thread: the server of the
//! pages makes the requests, waits and sends. There are two servers with the same pages: `kqueue-web` for all apps of a
//! host, and the runtime of one app, for the door in the app itself ([`Mount`] tells them apart).
//!
//! Answers contain texts of the app's user, which are untrusted. All are escaped by maud, reduced to one sanitized line
//! by [`format::text`], and bounded in number. No page contains a script or a style: they are files ([`statics`]), so
//! that [`headers`] can forbid all others.

pub mod acts;
mod answers;
mod broken;
mod chart;
mod class;
mod classes;
mod events;
pub mod format;
mod frame;
mod headers;
mod host;
mod job;
mod jobs;
mod marks;
mod mount;
mod overview;
mod parts;
mod query;
mod queue;
pub mod statics;
#[cfg(test)]
mod tests;
mod trouble;
mod view;
mod window;

pub use answers::{Answers, Need, Slot};
pub use headers::{POLICY, headers};
pub use host::{AppCard, host};
pub use mount::{Live, Mount};
pub use query::Query;
pub use trouble::trouble;
pub use view::View;
pub use window::Window;

/// The time at which a page is rendered, and its time zone.
#[derive(Clone, Debug)]
pub struct Moment {
    /// Milliseconds since 1970.
    pub now: u64,
    /// The zone in which times are shown: the host's, as in its journal.
    pub zone: jiff::tz::TimeZone,
}
