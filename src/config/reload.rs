//! What of new settings a runtime that works can take over. Pure.

use super::key::{Key, Reader};
use super::keys::{KEYS, Settings};

impl Settings {
    /// `new` in which every key that is not read on a reload is as it is here, and the keys that are held back so.
    pub fn reloaded(&self, new: &Settings) -> (Settings, Vec<&'static Key>) {
        let mut settings = Settings { app: self.app.clone(), limits: self.limits, ..new.clone() };
        let held = KEYS.iter().filter(|key| !key.is_read_by(Reader::Live) && key.differs(self, new));
        let held = held.inspect(|key| (key.keep)(&mut settings, self)).collect();
        (settings, held)
    }
}
