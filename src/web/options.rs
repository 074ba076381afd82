//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

/// The dashboard, metrics and health of all apps of this host, over HTTP
///
/// Usually kqueue-web.socket starts it, which listens on /run/kqueue/web.sock.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "kqueue-web", version)]
pub struct Options {
    /// Listen on this Unix socket, which the members of its group may use
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Listen on this address and port, for whoever has the token or a password
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Vec<SocketAddr>,
    /// The file with the token; without it the credential kqueue-web.token
    #[arg(long, value_name = "FILE")]
    pub token: Option<PathBuf>,
    /// The file with users and passwords, as `htpasswd -B` makes it; without it the credential kqueue-web.htpasswd
    #[arg(long, value_name = "FILE")]
    pub htpasswd: Option<PathBuf>,
    /// Ask for no password of whoever connects from this machine by TCP: each of its users may
    #[arg(long)]
    pub loopback_without_password: bool,
    /// A name by which browsers reach it, besides localhost and addresses; may be given again
    #[arg(long, value_name = "NAME")]
    pub host: Vec<String>,
    /// End after so many seconds without a connection; the socket's unit starts it again
    #[arg(long, value_name = "SECONDS")]
    pub idle_exit: Option<u64>,
}
