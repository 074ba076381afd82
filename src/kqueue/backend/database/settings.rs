//! A database over the network and how Laravel uses it, as PHP printed it. Pure.

use serde::Deserialize;

use crate::backend::Names;
use crate::backend::settings::optional_number;

/// Kinds of servers.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub enum Engine {
    /// MySQL, MariaDB and compatible servers.
    #[serde(rename = "mysql", alias = "mariadb")]
    MySql,
    /// PostgreSQL.
    #[serde(rename = "pgsql")]
    Postgres,
}

/// Whether the connection is encrypted, and what is verified; by the names of libpq.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Never.
    Disable,
    /// If the server can.
    #[default]
    #[serde(alias = "allow")]
    Prefer,
    /// Always, with any certificate.
    Require,
    /// Always, with a certificate that a known authority has signed.
    VerifyCa,
    /// As `VerifyCa`, and the certificate must be for this host.
    VerifyFull,
}

/// Encryption of the connection. Files are given by path and read when they are needed.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Tls {
    /// What is required of the server.
    #[serde(default)]
    pub mode: TlsMode,
    /// Certificates of authorities, in PEM.
    #[serde(default)]
    pub ca: Option<String>,
    /// Our own certificate, in PEM.
    #[serde(default)]
    pub cert: Option<String>,
    /// Its key, in PEM.
    #[serde(default)]
    pub key: Option<String>,
}

/// One server, by one of its addresses.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Address {
    /// A name or an address; for PostgreSQL also the directory of a socket. Empty is this host.
    #[serde(default)]
    pub host: String,
    /// TCP port; `None` is the engine's default.
    #[serde(default)]
    pub port: Option<u16>,
    /// Path of a socket, used instead of host and port.
    #[serde(default)]
    pub socket: Option<String>,
}

/// A jobs table in a database over the network.
#[derive(Clone, Deserialize, PartialEq, Eq)]
pub struct DatabaseSettings {
    /// Which protocol and which dialect.
    pub engine: Engine,
    /// Addresses of the server. Several are one database: each connection tries them in turn.
    pub addresses: Vec<Address>,
    /// Addresses of the server itself, if `addresses` are those of a pooler.
    #[serde(default)]
    pub direct: Vec<Address>,
    /// Name of the database.
    #[serde(default)]
    pub database: String,
    /// The user; for PostgreSQL `None` is the user of the operating system.
    #[serde(default)]
    pub username: Option<String>,
    /// Its password.
    #[serde(default)]
    pub password: Option<String>,
    /// How the connection is encrypted.
    #[serde(default)]
    pub tls: Tls,
    /// The jobs table, quoted for use in a statement, with its prefix.
    pub table: String,
    /// Seconds after which a reservation ends. Laravel has no "never" here.
    #[serde(default, deserialize_with = "optional_number")]
    pub retry_after: Option<i64>,
    /// Character set of the connection, for MySQL.
    #[serde(default)]
    pub charset: Option<String>,
    /// Collation of the connection, for MySQL.
    #[serde(default)]
    pub collation: Option<String>,
    /// Schemas in which PostgreSQL looks for the table; empty is the user's own search path.
    #[serde(default)]
    pub search_path: Vec<String>,
    /// The app's package announces jobs with `NOTIFY`.
    #[serde(default)]
    pub notified: bool,
    /// The app's name, by which the session can be identified on the server.
    #[serde(default)]
    pub app: String,
    /// Stored names of its queues.
    #[serde(default)]
    pub names: Names,
}

impl std::fmt::Debug for DatabaseSettings {
    /// As derived, without the password: settings end up in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseSettings")
            .field("engine", &self.engine)
            .field("addresses", &self.addresses)
            .field("database", &self.database)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("tls", &self.tls)
            .field("table", &self.table)
            .field("retry_after", &self.retry_after)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::MySql => "MySQL",
            Self::Postgres => "PostgreSQL",
        })
    }
}

impl Engine {
    /// The default port.
    pub(in crate::backend) const fn port(self) -> u16 {
        match self {
            Self::MySql => 3306,
            Self::Postgres => 5432,
        }
    }
}
