//! The signals that an app keeps in its cache: `queue:restart`, and whether they can be read at all.

/// As they were read last.
#[derive(Debug, Default)]
pub struct AppSignals {
    /// Value of the restart signal, once known.
    restart: Option<Option<String>>,
    fault: Option<String>,
}

impl AppSignals {
    /// The signals have been read, or could not be. True where the app has been restarted since the last time.
    pub fn read(&mut self, restart: Option<String>, error: Option<String>) -> bool {
        if let Some(error) = error.as_ref().filter(|error| self.fault.as_ref() != Some(*error)) {
            tracing::warn!("cannot read the app's restart and pause signals from its cache: {error}");
        }
        self.fault = error;
        if self.fault.is_some() {
            return false;
        }
        let known = self.restart.replace(restart);
        known.is_some() && known != self.restart
    }

    /// The value that is read next is the one that counts: what it asks for is being done.
    pub fn forget_restart(&mut self) {
        self.restart = None;
    }

    /// Why they cannot be read.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_is_a_value_that_has_changed() {
        let value = |text: &str| Some(text.to_owned());
        let mut signals = AppSignals::default();
        assert!(!signals.read(value("1"), None), "it was before our time");
        assert!(!signals.read(value("1"), None));
        // What cannot be read says nothing.
        assert!(!signals.read(None, value("no cache")) && signals.fault() == Some("no cache"));
        assert!(!signals.read(value("1"), None) && signals.fault().is_none());
        assert!(signals.read(value("2"), None) && !signals.read(value("2"), None));
        assert!(signals.read(None, None), "it was cleared");
        signals.forget_restart();
        assert!(!signals.read(value("3"), None));
    }
}
