//! The origin of the settings, for reloads.

use std::fmt;

use serde_json::{Map, Value};

use kqueue_config::{self as config, Key, Loaded, Settings, Surroundings};

/// Reads the settings again from their origin.
pub type Reread = Box<dyn Fn() -> anyhow::Result<Loaded>>;

/// See the module.
pub struct SettingsSource {
    reread: Reread,
    /// The settings as last read, without the app's own.
    loaded: Loaded,
    /// The app's own settings.
    app: Map<String, Value>,
}

/// Settings that can be applied.
pub struct Proposal {
    pub settings: Settings,
    /// Keys whose new values take effect after a restart only.
    pub late: Vec<&'static Key>,
    pub loaded: Option<Loaded>,
}

impl fmt::Debug for SettingsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SettingsSource").field("app", &self.app).finish_non_exhaustive()
    }
}

impl SettingsSource {
    pub fn new(reread: Reread, loaded: Loaded, app: Map<String, Value>) -> Self {
        Self { reread, loaded, app }
    }

    /// Reads the current settings from their origin.
    ///
    /// # Errors
    /// When they cannot be read, or cannot work.
    pub fn read_again(&self, current: &Settings) -> anyhow::Result<Proposal> {
        let loaded = (self.reread)()?;
        let whole = with_app(&loaded, &self.app)?;
        let (settings, late) = current.reloaded(&whole.settings);
        Ok(Proposal { settings, late, loaded: Some(loaded) })
    }

    /// The settings with the app's current ones; `None` if those are unchanged.
    pub fn with_app(&mut self, said: Map<String, Value>, current: &Settings) -> Option<anyhow::Result<Proposal>> {
        if said == self.app {
            return None;
        }
        let whole = with_app(&self.loaded, &said);
        self.app = said;
        Some(whole.map(|whole| {
            let (settings, late) = current.reloaded(&whole.settings);
            Proposal { settings, late, loaded: None }
        }))
    }

    /// Notes that a proposal was applied.
    pub fn accepted(&mut self, loaded: Option<Loaded>) {
        if let Some(loaded) = loaded {
            self.loaded = loaded;
        }
    }
}

/// The settings with the app's own; those that are refused are logged.
pub fn with_app(loaded: &Loaded, said: &Map<String, Value>) -> anyhow::Result<Loaded> {
    let (whole, refused) = config::with_app(loaded, said, &Surroundings::read()?);
    for line in refused {
        tracing::warn!("{line}");
    }
    Ok(whole)
}
