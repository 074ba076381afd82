//! Errors of calls to the service manager.

use kqueue_core::wire::coordinator::Refusal;

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SystemdError {
    /// An error reply of the service manager.
    #[error("{text}")]
    Said {
        /// The error's name on the bus.
        name: String,
        /// The error's text.
        text: String,
    },
    /// A job did not succeed.
    #[error("{unit}: {result}")]
    Job {
        /// The unit.
        unit: String,
        /// The job's result, or how the unit ended.
        result: String,
    },
    /// No reply or result in time, nor by asking again.
    #[error("{0}: systemd did not reply in time")]
    Timeout(String),
    /// There is no such process, or it is not where it should be.
    #[error("{0}")]
    Process(String),
    /// The bus cannot be reached, or the connection is closed.
    #[error("D-Bus: {0}")]
    Bus(String),
}

impl SystemdError {
    /// Whether the last component of the error's D-Bus name is `short`.
    pub fn is(&self, short: &str) -> bool {
        matches!(self, Self::Said { name, .. } if name.rsplit('.').next() == Some(short))
    }

    /// Whether this version of systemd does not know a property.
    pub fn is_unknown_property(&self) -> bool {
        // systemd replies PropertyReadOnly for an unknown name.
        self.is("PropertyReadOnly") || self.is("UnknownProperty")
    }

    /// The kind of error that the client gets.
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
            // Errors of properties come as this variant, with their names parsed.
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
