//! Where the settings come from, so that they can be read again.

use std::fmt;

use serde_json::{Map, Value};

use kqueue_config::{self as config, Key, Loaded, Settings, Surroundings};

/// Reads the settings again, from where they were read at the start.
pub type Reread = Box<dyn Fn() -> anyhow::Result<Loaded>>;

/// See the module.
pub struct SettingsSource {
    reread: Reread,
    /// As they were read last, without what the app says.
    loaded: Loaded,
    /// What the app says.
    app: Map<String, Value>,
}

/// Settings that may be put in force.
pub struct Proposal {
    pub settings: Settings,
    /// Keys whose new values count only after a restart.
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

    /// The settings as they are now where they come from.
    ///
    /// # Errors
    /// When they cannot be read, or cannot work.
    pub fn read_again(&self, current: &Settings) -> anyhow::Result<Proposal> {
        let loaded = (self.reread)()?;
        let whole = with_app(&loaded, &self.app)?;
        let (settings, late) = current.reloaded(&whole.settings);
        Ok(Proposal { settings, late, loaded: Some(loaded) })
    }

    /// The settings with what the app says by now; none where it says what it did before.
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

    /// A proposal is in force.
    pub fn accepted(&mut self, loaded: Option<Loaded>) {
        if let Some(loaded) = loaded {
            self.loaded = loaded;
        }
    }
}

/// The settings with what the app says; what does not count of that is logged.
pub fn with_app(loaded: &Loaded, said: &Map<String, Value>) -> anyhow::Result<Loaded> {
    let (whole, refused) = config::with_app(loaded, said, &Surroundings::read()?);
    for line in refused {
        tracing::warn!("{line}");
    }
    Ok(whole)
}
