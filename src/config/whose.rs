//! The settings that decide an app's user, from its file and the command line alone: needed before anything of the app
//! is read.

use std::path::PathBuf;

use super::error::Error;
use super::load::{Request, merge};
use super::paths;
use super::resolve::no_path;
use super::root::{accounts, exposed};
use super::surroundings::Surroundings;

/// The settings that decide an app's user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whose {
    /// The app's name.
    pub app: String,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// `user`; `None` is the owner of `path`.
    pub user: Option<String>,
    /// `group`; `None` is the user's own.
    pub group: Option<String>,
    /// `path`, not checked.
    pub path: PathBuf,
    /// Whether `state_dir` is the default.
    pub default_state: bool,
    /// Whether `runtime_dir` is the default.
    pub default_runtime: bool,
}

/// Reads the settings that decide an app's user.
///
/// # Errors
/// As [`load`](super::load()) for the file and the command line, and a file that users other than root may write to.
pub fn whose(request: &Request, here: &Surroundings) -> Result<Whose, Error> {
    let (app, file, merged) = merge(request, here, &exposed)?;
    accounts(&merged)?;
    let path = merged.path.ok_or_else(|| no_path(file.as_deref()))?;
    Ok(Whose {
        app,
        file,
        user: merged.user.map(|given| given.value),
        group: merged.group.map(|given| given.value),
        path: paths::absolute(&path.value, &path.origin, here),
        default_state: merged.state_dir.is_none(),
        default_runtime: merged.runtime_dir.is_none(),
    })
}
