//! The new settings that a running runtime can take over. Pure.

use super::key::{Key, Reader};
use super::keys::{KEYS, Settings};

impl Settings {
    /// `new` with the current values of all keys that are not read on a reload, and the keys whose new values are held
    /// back.
    pub fn reloaded(&self, new: &Settings) -> (Settings, Vec<&'static Key>) {
        let mut settings = Settings { app: self.app.clone(), limits: self.limits, ..new.clone() };
        let held = KEYS.iter().filter(|key| !key.is_read_by(Reader::Live) && key.differs(self, new));
        let held = held.inspect(|key| (key.keep)(&mut settings, self)).collect();
        (settings, held)
    }
}
