//! The signals that an app keeps in its cache: `queue:restart`, and whether they can be read.

/// The signals as last read.
#[derive(Debug, Default)]
pub struct AppSignals {
    /// Value of the restart signal, once known.
    restart: Option<Option<String>>,
    /// When the app woke (seconds since 1970), until the first read after that.
    woke: Option<u64>,
    fault: Option<String>,
}

/// The meaning of the restart signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Nothing.
    None,
    /// Every process is to be replaced.
    Now,
    /// It was given while the app slept: all processes have been started since.
    Slept,
}

/// Seconds by which the clock of the signal's sender may differ from ours.
const CLOCKS: u64 = 2;

impl AppSignals {
    /// Handles a read of the signals, or its error. Returns whether a restart was requested since the last read.
    pub fn read(&mut self, restart: Option<String>, error: Option<String>) -> Restart {
        if let Some(error) = error.as_ref().filter(|error| self.fault.as_ref() != Some(*error)) {
            tracing::warn!("cannot read the app's restart and pause signals from its cache: {error}");
        }
        self.fault = error;
        if self.fault.is_some() {
            return Restart::None;
        }
        let known = self.restart.replace(restart);
        let woke = self.woke.take();
        if known.is_none() || known == self.restart {
            return Restart::None;
        }
        // The value of Laravel's signal is the time at which it was given.
        let given = self.restart.as_ref().and_then(|value| value.as_deref()?.parse::<u64>().ok());
        match (given, woke) {
            (Some(given), Some(woke)) if given.saturating_add(CLOCKS) < woke => Restart::Slept,
            _ => Restart::Now,
        }
    }

    /// Notes that the app wakes at this time (seconds since 1970), booting its current code.
    pub fn woke(&mut self, epoch: u64) {
        self.woke = Some(epoch);
    }

    /// Takes the next value as the known one, since its request is being carried out.
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
        assert_eq!(signals.read(value("1"), None), Restart::None, "it was before our time");
        assert_eq!(signals.read(value("1"), None), Restart::None);
        // A failed read is no signal.
        assert_eq!(signals.read(None, value("no cache")), Restart::None);
        assert_eq!(signals.fault(), Some("no cache"));
        assert_eq!(signals.read(value("1"), None), Restart::None);
        assert_eq!(signals.fault(), None);
        assert_eq!([2, 2].map(|at| signals.read(value(&at.to_string()), None)), [Restart::Now, Restart::None]);
        assert_eq!(signals.read(None, None), Restart::Now, "it was cleared");
        signals.forget_restart();
        assert_eq!(signals.read(value("3"), None), Restart::None);
    }

    #[test]
    fn one_that_was_given_while_the_app_slept_replaces_nobody() {
        let value = |at: u64| Some(at.to_string());
        let mut signals = AppSignals::default();
        signals.read(value(100), None);
        signals.woke(200);
        assert_eq!(signals.read(value(150), None), Restart::Slept);
        assert_eq!(signals.read(value(160), None), Restart::Now, "it has woken by then");
        for given in [value(199), value(210), Some("soon".to_owned()), None] {
            signals.woke(200);
            assert_eq!(signals.read(given, None), Restart::Now, "what boots may be what was there before");
        }
    }
}
