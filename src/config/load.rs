//! Loads settings: finds the file and the app's name, merges, resolves.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{At, Error};
use super::key::Key;
use super::keys::{Merged, Settings, key};
use super::raw::{Given, Origin, Raw};
use super::settings::Limits;
use super::shapes::{Shape, Time, Whole};
use super::surroundings::Surroundings;
use super::tables::{Said, Table, TableKey};
use super::written::Unread;
use super::{app, paths, resolve, written};

/// What a command asks for, as text of the command line.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The app's name. Where it is given, `/etc/kqueue/APP.toml` is read if there is one.
    pub app: Option<String>,
    /// A file to read in place of that one.
    pub config: Option<PathBuf>,
    /// Options: name of the key and value.
    pub flags: Vec<(&'static str, String)>,
    /// `--stop-when-empty`.
    pub stop_when_empty: bool,
    /// `--max-jobs`.
    pub max_jobs: Option<String>,
    /// `--max-time`.
    pub max_time: Option<String>,
}

/// Settings, and where they come from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// The merged values before they were resolved, with their origins.
    pub(crate) merged: Merged,
}

impl Loaded {
    /// Where the value of a key was written; `None` where there is no value.
    pub fn origin(&self, key: &Key) -> Option<&Origin> {
        (key.origin)(&self.merged)
    }

    /// Where the value of a table's key was written.
    pub fn origin_in(&self, table: &Table, name: &str, key: &TableKey) -> Option<&Origin> {
        let is_it = |said: &&Said| said.table.name == table.name && said.name == name && said.key.name == key.name;
        self.merged.tables.1.iter().find(is_it).map(|said| &said.origin)
    }
}

/// Loads settings: the command line overrides the file, and the file overrides the defaults.
///
/// Without a name and without a file, no file is read: `--path` is the app then, and names it.
///
/// # Errors
/// The first error, in one line.
pub fn load(request: &Request, here: &Surroundings) -> Result<Loaded, Error> {
    let (app, file, merged) = merge(request, here, &|_, _| Ok(()))?;
    let limits = Limits {
        stop_when_empty: request.stop_when_empty,
        max_jobs: limit::<Whole>("max_jobs", request.max_jobs.as_deref(), "1000")?.unwrap_or(0),
        max_time: limit::<Time<0>>("max_time", request.max_time.as_deref(), "1h")?.unwrap_or(Duration::ZERO),
    };
    let settings = resolve::resolve(app, merged.clone(), file.as_deref(), limits, here)?;
    Ok(Loaded { settings, file, merged })
}

/// Reads the file and the command line. Returns the app's name, the file that was read, and the values before they are
/// worked out. `judge` can refuse the file before it is read.
pub(super) fn merge(
    request: &Request,
    here: &Surroundings,
    judge: &dyn Fn(&Path, &Metadata) -> Result<(), Error>,
) -> Result<(String, Option<PathBuf>, Merged), Error> {
    let named = request.app.as_deref().map(app::check).transpose()?;
    let wanted = match (&request.config, &named) {
        (Some(file), _) => Some(paths::absolute(file, &Origin::Flag, here)),
        (None, Some(app)) => Some(here.etc.join(format!("{app}.toml"))),
        (None, None) => None,
    };
    let mut merged = Merged::defaults()?;
    let has_path = request.flags.iter().any(|(name, _)| *name == "path");
    let mut file = None;
    if let Some(wanted) = wanted {
        match written::read_judged(&wanted, judge) {
            Ok(written) => {
                written.merge_into(&mut merged)?;
                file = Some(wanted);
            }
            // `--path` can take the place of the default file, so without `--config` that file need not exist then.
            Err(Unread::Absent) if request.config.is_none() && has_path => {}
            Err(Unread::Absent) => {
                let fix = match &named {
                    Some(app) if request.config.is_none() => {
                        format!("`kqueue init {app} --path DIR` writes one; or give --path DIR")
                    }
                    _ => "write one with `kqueue config example`, or leave --config out".into(),
                };
                return Err(Error::NoFile { file: wanted, fix });
            }
            Err(Unread::Bad(error)) => return Err(error),
        }
    }
    set_flags(&mut merged, request)?;
    stand_in(&mut merged, request, here);
    let app = match named {
        Some(app) => app,
        None => derived_name(request, &merged, here)?,
    };
    Ok((app, file, merged))
}

/// Loads settings from `text` as if it were the content of `file`, to check it before it is written.
///
/// # Errors
/// As [`load`] with that file.
pub fn load_text(app: &str, file: &Path, text: &str, here: &Surroundings) -> Result<Loaded, Error> {
    let app = app::check(app)?;
    let mut merged = Merged::defaults()?;
    written::parse(file, text.into())?.merge_into(&mut merged)?;
    let settings = resolve::resolve(app, merged.clone(), Some(file), Limits::default(), here)?;
    Ok(Loaded { settings, file: Some(file.to_owned()), merged })
}

/// Sets the options of the command line.
pub(super) fn set_flags(merged: &mut Merged, request: &Request) -> Result<(), Error> {
    for (name, text) in &request.flags {
        let Some(key) = key(name) else { continue };
        key.set(merged, &(key.literal)(text), Origin::Flag)?;
    }
    Ok(())
}

/// Uses the working directory as `path` if nothing names an app and it contains `artisan`.
pub(super) fn stand_in(merged: &mut Merged, request: &Request, here: &Surroundings) {
    let unnamed = request.app.is_none() && request.config.is_none() && merged.path.is_none();
    if unnamed && here.cwd.join("artisan").is_file() {
        merged.path = Some(Given { value: here.cwd.clone(), origin: Origin::Default });
    }
}

/// The app's name where none was given: from the name of the file, else from that of the app's directory.
pub(super) fn derived_name(request: &Request, merged: &Merged, here: &Surroundings) -> Result<String, Error> {
    if let Some(config) = &request.config {
        return app::from_path(config);
    }
    let Some(path) = &merged.path else {
        return Err(resolve::no_path(None));
    };
    let path = paths::absolute(&path.value, &path.origin, here);
    app::from_path(&path)
}

fn limit<T: Shape>(key: &'static str, text: Option<&str>, example: &str) -> Result<Option<T::Value>, Error> {
    let Some(text) = text else { return Ok(None) };
    let raw: Raw = T::literal(text);
    let at = At { key, origin: Origin::Flag };
    match T::read(&raw) {
        Some(value) => Ok(Some(value)),
        None => {
            let fix = at.spell(example);
            Err(Error::Value { at, what: format!("expected {}, got {raw}", T::want()), fix })
        }
    }
}
