//! A Redis connection of the app, as PHP resolved it and printed it in JSON. Pure.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

use crate::backend::settings::{Names, all, number, number_or_zero, optional_number};

/// Redis servers and how Laravel uses them.
#[derive(Clone, Default, Deserialize, PartialEq, Eq)]
pub struct RedisSettings {
    /// The single server: a host name, an address, `tcp://HOST`, `tls://HOST`, `/path/to.sock` or
    /// `unix:///path/to.sock`.
    #[serde(default)]
    pub host: String,
    /// Its TCP port; ignored for a socket.
    #[serde(default = "default_port", deserialize_with = "port")]
    pub port: u16,
    /// Seed nodes of a Redis Cluster; empty without one.
    #[serde(default)]
    pub cluster: Vec<NodeSettings>,
    /// Sentinels to ask for the master; `None` without them.
    #[serde(default)]
    pub sentinel: Option<SentinelSettings>,
    /// TLS options for the servers; `None` is plain text, unless a host has the scheme `tls://`.
    #[serde(default)]
    pub tls: Option<TlsSettings>,
    /// User of Redis's ACL.
    #[serde(default)]
    pub username: Option<String>,
    /// Its password.
    #[serde(default)]
    pub password: Option<String>,
    /// Number of the database.
    #[serde(default, deserialize_with = "number_or_zero")]
    pub database: i64,
    /// Prefix that the app's Redis client puts before every key.
    #[serde(default)]
    pub prefix: String,
    /// Seconds after which a reservation ends; `None` is never.
    #[serde(default, deserialize_with = "optional_number")]
    pub retry_after: Option<i64>,
    /// Due jobs that one poll moves to the queue; -1 is all.
    #[serde(default = "all", deserialize_with = "number")]
    pub migration_batch_size: i64,
    /// Stored names of its queues.
    #[serde(default)]
    pub names: Names,
}

/// One of several servers.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct NodeSettings {
    /// As [`RedisSettings::host`].
    pub host: String,
    /// Its TCP port.
    #[serde(default = "default_port", deserialize_with = "port")]
    pub port: u16,
}

/// Redis Sentinel.
#[derive(Clone, Default, Deserialize, PartialEq, Eq)]
pub struct SentinelSettings {
    /// The sentinels' name of the master.
    pub service: String,
    /// The sentinels.
    pub nodes: Vec<NodeSettings>,
    /// User for the sentinels themselves.
    #[serde(default)]
    pub username: Option<String>,
    /// Password for the sentinels themselves.
    #[serde(default)]
    pub password: Option<String>,
    /// TLS options for the sentinels.
    #[serde(default)]
    pub tls: Option<TlsSettings>,
}

/// The `ssl` options of a PHP stream, by their PHP names.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct TlsSettings {
    /// File of trusted certificates; without `cafile` and `capath`, those that the system trusts.
    pub cafile: Option<PathBuf>,
    /// Directory of such files.
    pub capath: Option<PathBuf>,
    /// The client's certificate chain; its key too, without `local_pk`.
    pub local_cert: Option<PathBuf>,
    /// The client's key.
    pub local_pk: Option<PathBuf>,
    /// Passphrase of the client's key.
    pub passphrase: Option<String>,
    /// Whether the server's certificate must be trusted.
    pub verify_peer: bool,
    /// Whether the certificate must have the name of the server.
    pub verify_peer_name: bool,
    /// Expected name, if it is not the host.
    pub peer_name: Option<String>,
    /// Whether a self-signed certificate is accepted.
    pub allow_self_signed: bool,
    /// Digest that the certificate must have, in hexadecimal.
    pub peer_fingerprint: Option<String>,
    /// Whether the expected name is sent to the server (SNI).
    #[serde(rename = "SNI_enabled")]
    pub sni: bool,
}

impl Default for TlsSettings {
    /// PHP's defaults.
    fn default() -> Self {
        Self {
            cafile: None,
            capath: None,
            local_cert: None,
            local_pk: None,
            passphrase: None,
            verify_peer: true,
            verify_peer_name: true,
            peer_name: None,
            allow_self_signed: false,
            peer_fingerprint: None,
            sni: true,
        }
    }
}

/// Placeholder for a secret in logs.
fn hidden(secret: &Option<String>) -> Option<&'static str> {
    secret.as_ref().map(|_| "…")
}

impl std::fmt::Debug for RedisSettings {
    /// As derived, without the password: settings end up in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisSettings")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("cluster", &self.cluster)
            .field("sentinel", &self.sentinel)
            .field("tls", &self.tls)
            .field("username", &self.username)
            .field("password", &hidden(&self.password))
            .field("database", &self.database)
            .field("prefix", &self.prefix)
            .field("retry_after", &self.retry_after)
            .field("migration_batch_size", &self.migration_batch_size)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for SentinelSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SentinelSettings")
            .field("service", &self.service)
            .field("nodes", &self.nodes)
            .field("username", &self.username)
            .field("password", &hidden(&self.password))
            .field("tls", &self.tls)
            .finish()
    }
}

impl std::fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsSettings")
            .field("cafile", &self.cafile)
            .field("local_cert", &self.local_cert)
            .field("passphrase", &hidden(&self.passphrase))
            .field("verify_peer", &self.verify_peer)
            .field("verify_peer_name", &self.verify_peer_name)
            .field("peer_name", &self.peer_name)
            .field("allow_self_signed", &self.allow_self_signed)
            .finish_non_exhaustive()
    }
}

fn default_port() -> u16 {
    6379
}

fn port<'de, D: Deserializer<'de>>(from: D) -> Result<u16, D::Error> {
    let port = optional_number(from)?.unwrap_or(6379);
    // PHP gives 0 or -1 if the host is a socket.
    u16::try_from(port.max(0)).map_err(|_| serde::de::Error::custom(format!("invalid port: {port}")))
}
