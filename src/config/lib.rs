//! Settings of one app: the config file as written, merged with the command line, and what the runtime uses.
//!
//! Three stages, each with its own type: `written` (a file, with the line of each key) → `Merged`
//! (default, then the app's own, then file, then command line; the later wins) → [`Settings`]. Every key is declared
//! once, in [`KEYS`]; the two types, the file's parser, the command line's options, the man page, the example file and
//! `kqueue config check` are all made from that table.
//!
//! May read files and the environment; knows nothing of the queue, of PHP or of systemd.
#![doc = include_str!("README.md")]

mod alerts;
mod app;
mod dirs;
mod draft;
mod error;
mod example;
mod from_app;
mod idle;
mod key;
mod keys;
mod load;
mod paths;
mod place;
mod rate;
mod raw;
mod reload;
mod resolve;
mod root;
mod settings;
mod shapes;
mod surroundings;
mod tables;
#[cfg(test)]
mod tests;
mod units;
mod weights;
mod whose;
mod written;

pub use alerts::Alerts;
pub use app::{check as check_name, from_path as name_of};
pub use dirs::{CONTROL_SOCKET, WORKER_SOCKET, unit_socket};
pub use draft::Draft;
pub use error::{At, Error};
pub use example::VALUES;
pub use from_app::with_app;
pub use key::{DefaultValue, Key, Reader, SetBy};
pub use keys::{KEYS, Settings};
pub use load::{Loaded, Request, load, load_text};
pub use place::{Claim, Place, claim, configured, known_apps, known_places, place};
pub use rate::Rate;
pub use raw::Origin;
pub use root::{IsolatedCaps, RootSettings, root};
pub use settings::{Ack, Crash, DefaultTier, LauncherKind, Limits, Pop, Start};
pub use surroundings::Surroundings;
pub use tables::{Bounds, TABLES, Table, TableKey, Tables, differences};
pub use units::duration;
pub use whose::{Whose, whose};
