//! The pages of kqueue: what an operator sees of an app, and of all apps of a host, in a browser.
//!
//! Pure: a path and a query become a [`View`], the view names what is to be asked of a runtime ([`View::needs`]), the
//! answers are put into [`Answers`], and the view renders them. No clock, no I/O, no thread: whoever serves the pages asks,
//! waits and sends. There are two of them, with the same pages: `kqueue-web` for all apps of a host, and the runtime of
//! one app, for the door in the app itself ([`Mount`] tells them apart).
//!
//! What is in an answer is the word of the app's user, who may say anything. All of it is escaped by maud, made one
//! harmless line by [`format::text`], and bounded in number. No page has a script or a style in it: they are files
//! ([`statics`]), so that [`headers`] can forbid all others.

pub mod acts;
mod answers;
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

/// When a page is rendered, and in whose time.
#[derive(Clone, Debug)]
pub struct Moment {
    /// Milliseconds since 1970.
    pub now: u64,
    /// The zone in which times are shown: the host's, as in its journal.
    pub zone: jiff::tz::TimeZone,
}
