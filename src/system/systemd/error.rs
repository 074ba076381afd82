//! What may go wrong between us and the service manager.

use kqueue_core::wire::coordinator::Refusal;

/// Why something was not done.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SystemdError {
    /// The service manager said no.
    #[error("{text}")]
    Said {
        /// The error's name on the bus.
        name: String,
        /// What it says.
        text: String,
    },
    /// A job did not end well.
    #[error("{unit}: {result}")]
    Job {
        /// The unit.
        unit: String,
        /// The job's result, or how the unit ended.
        result: String,
    },
    /// Nothing came back in time, and asking again did not help.
    #[error("{0}: no answer from systemd in time")]
    Timeout(String),
    /// There is no such process, or it is not where it should be.
    #[error("{0}")]
    Process(String),
    /// The bus cannot be reached, or broke off.
    #[error("D-Bus: {0}")]
    Bus(String),
}

impl SystemdError {
    /// Whether the error's name on the bus ends so.
    pub fn is(&self, short: &str) -> bool {
        matches!(self, Self::Said { name, .. } if name.rsplit('.').next() == Some(short))
    }

    /// Whether the error is that a property is not known to this version.
    pub fn is_unknown_property(&self) -> bool {
        // systemd says PropertyReadOnly of a name that it does not know.
        self.is("PropertyReadOnly") || self.is("UnknownProperty")
    }

    /// Of which kind it is, for the one who asked.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Said { .. } if self.is("NoSuchUnit") || self.is("NoSuchProcess") => Refusal::Absent,
            Self::Process(_) => Refusal::Absent,
            Self::Said { .. } | Self::Job { .. } => Refusal::Failed,
            Self::Timeout(_) | Self::Bus(_) => Refusal::Timeout,
        }
    }
}

impl From<zbus::Error> for SystemdError {
    fn from(error: zbus::Error) -> Self {
        match error {
            zbus::Error::MethodError(name, text, _) => {
                Self::Said { name: name.to_string(), text: text.unwrap_or_else(|| name.to_string()) }
            }
            // Properties come with this one, which has the names already read.
            zbus::Error::FDO(error) => match *error {
                zbus::fdo::Error::ZBus(error) => error.into(),
                error => {
                    use zbus::DBusError as _;
                    Self::Said {
                        name: error.name().to_string(),
                        text: error.description().unwrap_or("no reason given").to_owned(),
                    }
                }
            },
            error => Self::Bus(error.to_string()),
        }
    }
}
