//! Helpers for tests of the runtime's components.

use std::path::Path;

use kqueue_config::{Loaded, Request, Settings, Surroundings, load};
use kqueue_core::schedule::Config;

use super::start::schedule_config;

/// Settings of an app in this directory, which must have an `artisan`.
pub fn settings(path: &Path, flags: &[(&'static str, &str)]) -> Settings {
    loaded(path, flags).settings
}

/// The same, with the origin of each.
pub fn loaded(path: &Path, flags: &[(&'static str, &str)]) -> Loaded {
    let here = Surroundings::read().unwrap();
    let mut request = Request { app: Some("shop".to_owned()), ..Request::default() };
    // Any program serves as PHP: nothing is run.
    request.flags = vec![("path", path.to_str().unwrap().to_owned()), ("php", "/bin/sh".to_owned())];
    request.flags.extend(flags.iter().map(|(key, value)| (*key, (*value).to_owned())));
    load(&request, &here).unwrap()
}

/// The schedule's configuration for these settings.
pub fn config(app: &Path, flags: &[(&'static str, &str)]) -> Config {
    schedule_config(&settings(app, flags), &[], true, false, true)
}
