//! Settings of one app: the config file as written, merged with the command line, and what the runtime uses.
//!
//! Three stages, each with its own type: `written` (a file, with the line of each key) → [`Merged`]
//! (default, then the app's own, then file, then command line; the later wins) → [`Settings`]. Every key is declared once, in
//! [`KEYS`]; the file's parser, the command line's options, the example file and `kqueue config check`
//! are all made from that table.
//!
//! May read files and the environment; knows nothing of the queue, of PHP or of systemd.

mod app;
mod dirs;
mod draft;
mod error;
mod example;
mod from_app;
mod keys;
mod load;
mod paths;
mod place;
mod raw;
mod resolve;
mod root;
mod settings;
mod shapes;
mod surroundings;
#[cfg(test)]
mod tests;
mod units;
mod whose;
mod written;

pub use app::{check as check_name, from_path as name_of};
pub use dirs::{CONTROL_SOCKET, WORKER_SOCKET, unit_socket};
pub use draft::Draft;
pub use error::{At, Error};
pub use example::VALUES;
pub use from_app::with_app;
pub use keys::{DefaultValue, KEYS, Key, Merged, key};
pub use load::{Loaded, Request, load, load_text};
pub use paths::normal as normal_path;
pub use place::{Claim, Place, claim, configured, known_apps, place};
pub use raw::{Given, Origin, Raw};
pub use root::{RootSettings, root};
pub use settings::*;
pub use surroundings::Surroundings;
pub use whose::{Whose, whose};
