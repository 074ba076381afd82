//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

/// The dashboard, metrics and health of all apps of this host, over HTTP
///
/// Usually started by kqueue-web.socket, which listens on /run/kqueue/web.sock.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "kqueue-web", version)]
pub struct Options {
    /// Listen on this Unix socket, open to members of its group
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Listen on this address and port, for clients that have the token or a password; can be repeated
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Vec<SocketAddr>,
    /// File with the token; by default the credential kqueue-web.token
    #[arg(long, value_name = "FILE")]
    pub token: Option<PathBuf>,
    /// File with users and passwords, as written by `htpasswd -B`; by default the credential kqueue-web.htpasswd
    #[arg(long, value_name = "FILE")]
    pub htpasswd: Option<PathBuf>,
    /// Require no authentication on loopback addresses: every user of this machine has access
    #[arg(long)]
    pub loopback_without_password: bool,
    /// Host name by which browsers reach it, besides localhost and addresses; can be repeated
    #[arg(long, value_name = "NAME")]
    pub host: Vec<String>,
    /// Exit after this many seconds without a connection; the socket unit starts it again
    #[arg(long, value_name = "SECONDS")]
    pub idle_exit: Option<u64>,
}
