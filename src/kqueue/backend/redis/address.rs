//! Addresses of servers. Pure.

use std::fmt;
use std::path::PathBuf;

use crate::backend::BackendError;

/// An address to connect to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Address {
    Unix(PathBuf),
    Tcp(String, u16),
}

/// TLS as requested by the scheme of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// No TLS.
    Plain,
    /// TLS in any supported version.
    Tls,
    /// TLS 1.2 only.
    Tls12,
    /// TLS 1.3 only.
    Tls13,
}

impl Address {
    /// Parses a host as PHP's clients do.
    pub(super) fn parse(host: &str, port: u16) -> Result<(Self, Scheme), BackendError> {
        let (scheme, rest) = host.split_once("://").unwrap_or(("", host));
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "" if rest.starts_with('/') => return Ok((Self::Unix(rest.into()), Scheme::Plain)),
            "unix" => return Ok((Self::Unix(rest.into()), Scheme::Plain)),
            "" | "tcp" | "redis" => Scheme::Plain,
            "tls" | "ssl" | "rediss" => Scheme::Tls,
            "tlsv1.2" => Scheme::Tls12,
            "tlsv1.3" => Scheme::Tls13,
            old @ ("sslv2" | "sslv3" | "tlsv1.0" | "tlsv1.1") => {
                return Err(BackendError::Settings(format!(
                    "redis host `{host}`: `{old}` is insecure and not supported; use `tls://`"
                )));
            }
            _ => return Err(Self::none(host)),
        };
        let name = rest.trim_start_matches('[').trim_end_matches(']');
        if name.is_empty() {
            return Err(Self::none(host));
        }
        Ok((Self::Tcp(name.to_owned(), port), scheme))
    }

    fn none(host: &str) -> BackendError {
        BackendError::Settings(format!("redis host `{host}`: neither a host name nor a socket"))
    }

    /// Parses `HOST:PORT` as reported by the cluster node `from`. If the node does not know its own host, it is that of
    /// `from`.
    pub(super) fn told(text: &str, from: &Self) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Some(Self::at(host, port.parse().ok()?, from))
    }

    /// As [`Self::told`], from host and port.
    pub(super) fn at(host: &str, port: u16, from: &Self) -> Self {
        match (host, from) {
            ("" | "?", Self::Tcp(same, _)) => Self::Tcp(same.clone(), port),
            _ => Self::Tcp(host.trim_start_matches('[').trim_end_matches(']').to_owned(), port),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
        }
    }
}
