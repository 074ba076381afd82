//! Clients of the SDK: one for each server of the queues, created on demand.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use aws_config::provider_config::ProviderConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::{
    Credentials, ProvideCredentials, SharedCredentialsProvider, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use tokio::sync::OnceCell;

use super::settings::SqsSettings;

/// Timeout of connecting.
const CONNECT: Duration = Duration::from_secs(5);
/// Timeout of one attempt of a call, including a long poll.
pub(super) const ANSWER: Duration = Duration::from_secs(15);
/// Attempts of a call. The second is for a connection that the server has closed meanwhile; after that, the runtime
/// retries with backoff.
const TRIES: u32 = 2;

/// See the module.
pub(super) struct Clients {
    region: Region,
    keys: Keys,
    profile: Option<String>,
    /// Configuration that all clients share: connections, and credentials that are renewed as they expire.
    common: OnceCell<SdkConfig>,
    of: RefCell<HashMap<String, Client>>,
}

/// Source of the credentials.
enum Keys {
    Fixed(Credentials),
    /// The container's role.
    Container,
    /// The machine's role.
    Machine,
    /// The default chain of all SDKs: environment, files, web identity, container, machine.
    Found,
}

impl Clients {
    /// Creates no client yet.
    pub(super) fn new(settings: &SqsSettings) -> Self {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let keys = match (settings.provider.as_deref(), given(&settings.key), given(&settings.secret)) {
            (Some("ecs"), ..) => Keys::Container,
            (Some("instance"), ..) => Keys::Machine,
            (_, Some(key), Some(secret)) => {
                Keys::Fixed(Credentials::new(key, secret, given(&settings.token), None, "config/queue.php"))
            }
            _ => Keys::Found,
        };
        Self {
            region: Region::new(settings.region.clone()),
            keys,
            profile: given(&settings.profile),
            common: OnceCell::new(),
            of: RefCell::default(),
        }
    }

    /// The client of a server.
    pub(super) async fn of(&self, server: &str) -> Client {
        if let Some(client) = self.of.borrow().get(server) {
            return client.clone();
        }
        let common = self.common.get_or_init(|| self.common()).await;
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(ANSWER).build();
        let config = aws_sdk_sqs::config::Builder::from(common)
            .endpoint_url(server)
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(TRIES))
            // A long poll is silent for seconds.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        let client = Client::from_conf(config);
        self.of.borrow_mut().insert(server.to_owned(), client.clone());
        client
    }

    async fn common(&self) -> SdkConfig {
        let http = http();
        let version = BehaviorVersion::v2026_01_12();
        let fixed = |provider: SharedCredentialsProvider, http: SharedHttpClient| {
            SdkConfig::builder()
                .behavior_version(version)
                .region(self.region.clone())
                .http_client(http)
                .credentials_provider(provider)
                .build()
        };
        let asking =
            || ProviderConfig::without_region().with_http_client(http.clone()).with_region(Some(self.region.clone()));
        match &self.keys {
            Keys::Fixed(credentials) => fixed(SharedCredentialsProvider::new(credentials.clone()), http),
            Keys::Container => {
                let provider = aws_config::ecs::EcsCredentialsProvider::builder().configure(&asking()).build();
                fixed(SharedCredentialsProvider::new(provider), http)
            }
            Keys::Machine => {
                let provider = aws_config::imds::credentials::ImdsCredentialsProvider::builder();
                fixed(SharedCredentialsProvider::new(provider.configure(&asking()).build()), http)
            }
            Keys::Found => {
                let mut loader = aws_config::defaults(version).region(self.region.clone()).http_client(http);
                if let Some(profile) = &self.profile {
                    loader = loader.profile_name(profile);
                }
                loader.load().await
            }
        }
    }

    /// Why there are no credentials; `None` if there are some.
    pub(super) async fn no_credentials(&self) -> Option<String> {
        let provider = self.common.get()?.credentials_provider()?;
        let error = provider.provide_credentials().await.err()?;
        Some(super::error::causes(&error))
    }
}

fn http() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}
