//! An SQS connection of the app, as PHP resolved it and printed it in JSON. Pure.

use serde::Deserialize;

use crate::backend::settings::Names;

/// Queues of SQS, and the credentials for them.
#[derive(Clone, Default, Deserialize, PartialEq, Eq)]
pub struct SqsSettings {
    /// The region for which requests are signed.
    #[serde(default)]
    pub region: String,
    /// Server of queues without a URL of their own.
    #[serde(default)]
    pub endpoint: String,
    /// The access key, if the app sets one.
    #[serde(default)]
    pub key: Option<String>,
    /// Its secret.
    #[serde(default)]
    pub secret: Option<String>,
    /// The session token of temporary keys.
    #[serde(default)]
    pub token: Option<String>,
    /// Source of credentials instead: `ecs`, `instance`, or `own` for the app's own code.
    #[serde(default)]
    pub provider: Option<String>,
    /// The profile of the shared configuration files.
    #[serde(default)]
    pub profile: Option<String>,
    /// What precedes the name of a queue in its URL.
    #[serde(default)]
    pub prefix: String,
    /// Suffix of the names of queues.
    #[serde(default)]
    pub suffix: String,
    /// URLs of the queues that PHP was asked about.
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
