//! A Redis connection of the app, as PHP resolved it and printed it in JSON. Pure.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

use crate::backend::settings::{Names, all, number, number_or_zero, optional_number};

/// Redis servers and how Laravel uses them.
#[derive(Clone, Default, Deserialize, PartialEq, Eq)]
pub struct RedisSettings {
    /// Of a single server: a host name, an address, `tcp://HOST`, `tls://HOST`, `/path/to.sock` or `unix:///path/to.sock`.
    #[serde(default)]
    pub host: String,
    /// Its TCP port; of no meaning for a socket.
    #[serde(default = "default_port", deserialize_with = "port")]
    pub port: u16,
    /// Nodes of a Redis Cluster to begin with; empty where there is none.
    #[serde(default)]
    pub cluster: Vec<NodeSettings>,
    /// Who knows which server is the master.
    #[serde(default)]
    pub sentinel: Option<SentinelSettings>,
    /// How to speak TLS to the servers; `None` is plain text, unless a host says `tls://`.
    #[serde(default)]
    pub tls: Option<TlsSettings>,
    /// User of Redis' ACL.
    #[serde(default)]
    pub username: Option<String>,
    /// Its password.
    #[serde(default)]
    pub password: Option<String>,
    /// Number of the database.
    #[serde(default, deserialize_with = "number_or_zero")]
    pub database: i64,
    /// What the app's Redis client puts before every key.
    #[serde(default)]
    pub prefix: String,
    /// Seconds after which a reservation ends; `None` is never.
    #[serde(default, deserialize_with = "optional_number")]
    pub retry_after: Option<i64>,
    /// Due jobs that one poll moves to the queue; -1 is all.
    #[serde(default = "all", deserialize_with = "number")]
    pub migration_batch_size: i64,
    /// What its queues are called.
    #[serde(default)]
    pub names: Names,
}

/// A server among several.
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
    /// What it calls the master.
    pub service: String,
    /// The sentinels.
    pub nodes: Vec<NodeSettings>,
    /// Their own user.
    #[serde(default)]
    pub username: Option<String>,
    /// Their own password.
    #[serde(default)]
    pub password: Option<String>,
    /// How to speak TLS to them.
    #[serde(default)]
    pub tls: Option<TlsSettings>,
}

/// What PHP calls the `ssl` options of a stream, by their names there.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct TlsSettings {
    /// Certificates to trust; else those that the system trusts.
    pub cafile: Option<PathBuf>,
    /// A directory of such.
    pub capath: Option<PathBuf>,
    /// The client's certificate and those behind it; its key too, without `local_pk`.
    pub local_cert: Option<PathBuf>,
    /// The client's key.
    pub local_pk: Option<PathBuf>,
    /// What its key is encrypted with.
    pub passphrase: Option<String>,
    /// Whether the certificate must be one that is trusted.
    pub verify_peer: bool,
    /// Whether it must have the name of the server.
    pub verify_peer_name: bool,
    /// That name, where it is not the host.
    pub peer_name: Option<String>,
    /// Whether one that only vouches for itself is good enough.
    pub allow_self_signed: bool,
    /// Digest that the certificate must have, in hexadecimal.
    pub peer_fingerprint: Option<String>,
    /// Whether the server is told which name is meant.
    #[serde(rename = "SNI_enabled")]
    pub sni: bool,
}

impl Default for TlsSettings {
    /// As PHP's own.
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

/// Stands for a secret in what is logged.
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
    // PHP says 0 or -1 where the host is a socket.
    u16::try_from(port.max(0)).map_err(|_| serde::de::Error::custom(format!("no port: {port}")))
}
