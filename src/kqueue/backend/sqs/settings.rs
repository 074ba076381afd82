//! What PHP prints of a connection to SQS.

use serde::Deserialize;

use crate::backend::settings::Names;

/// Queues of SQS, and who asks for them.
#[derive(Clone, Default, Deserialize, PartialEq, Eq)]
pub struct SqsSettings {
    /// The region by which requests are signed.
    #[serde(default)]
    pub region: String,
    /// Where requests go for a queue without a URL of its own.
    #[serde(default)]
    pub endpoint: String,
    /// The access key, where the app names one.
    #[serde(default)]
    pub key: Option<String>,
    /// Its secret.
    #[serde(default)]
    pub secret: Option<String>,
    /// The session token of temporary keys.
    #[serde(default)]
    pub token: Option<String>,
    /// Where keys come from instead: `ecs`, `instance`, or `own` for code of the app's.
    #[serde(default)]
    pub provider: Option<String>,
    /// The profile of the shared configuration files.
    #[serde(default)]
    pub profile: Option<String>,
    /// What comes before the name of a queue in its URL.
    #[serde(default)]
    pub prefix: String,
    /// What its name ends in.
    #[serde(default)]
    pub suffix: String,
    /// What its queues are called.
    #[serde(default)]
    pub names: Names,
}

impl std::fmt::Debug for SqsSettings {
    /// As derived, without the secrets: settings end up in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqsSettings")
            .field("region", &self.region)
            .field("endpoint", &self.endpoint)
            .field("key", &self.key)
            .field("secret", &self.secret.as_ref().map(|_| "…"))
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("provider", &self.provider)
            .field("profile", &self.profile)
            .field("prefix", &self.prefix)
            .field("suffix", &self.suffix)
            .finish_non_exhaustive()
    }
}
